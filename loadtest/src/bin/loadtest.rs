//! `make loadtest`.

use std::process::ExitCode;

fn main() -> ExitCode {
    loadtest::measure::main()
}
