//! What a listener pays for an event.

use std::process::ExitCode;

fn main() -> ExitCode {
    loadtest::events::main()
}
