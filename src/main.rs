//! The operator's program; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    configmapsync_operator::cli::run()
}
