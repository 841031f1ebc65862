//! `make demo`.

use std::process::ExitCode;

fn main() -> ExitCode {
    loadtest::demo::main()
}
