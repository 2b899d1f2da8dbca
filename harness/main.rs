//! The program `harness`: parse arguments, call one function, print the error with its causes.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use harness::commands::{self, Arguments, Exit};
use harness::schedule::Guard;

fn main() -> ExitCode {
    // `harness plan ... | head` ends quietly, as any Unix filter does; Rust ignores SIGPIPE unless told. And whoever started
    // us may have us ignore the ends of children, which then could not be waited for.
    #[cfg(unix)]
    // SAFETY: nothing else runs yet.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
    if let Some(guard) = Guard::called() {
        guard.watch();
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::parse();
    match commands::perform(arguments) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = Exit::of(&error);
            // Whether anybody reads it changes nothing.
            let _ = writeln!(std::io::stderr(), "{}", commands::explain(&error));
            exit.into()
        }
    }
}
