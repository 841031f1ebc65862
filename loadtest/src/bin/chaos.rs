//! `make chaos`.

use std::process::ExitCode;

fn main() -> ExitCode {
    loadtest::chaos::main()
}
