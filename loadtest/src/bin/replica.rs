//! The operator as it is, with a wall clock that the chaos run can move.

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(file) = env::var_os(loadtest::chaos::CLOCK)
        && let Err(error) = movable_clock::follow(file.into())
    {
        eprintln!("error: the wall clock cannot be moved: {error}");
        return ExitCode::FAILURE;
    }
    configmapsync_operator::cli::run()
}
