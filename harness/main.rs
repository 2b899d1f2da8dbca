//! The program `harness`: parse arguments, call one function, print the error with its causes.

use std::process::ExitCode;

use clap::Parser;
use harness::commands::{self, Arguments, Exit};

fn main() -> ExitCode {
    // `harness plan ... | head` ends quietly, as any Unix filter does; Rust ignores SIGPIPE unless told.
    #[cfg(unix)]
    // SAFETY: nothing else runs yet.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    let arguments = Arguments::parse();
    match commands::perform(arguments) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = Exit::of(&error);
            eprintln!("{}", commands::explain(&error));
            exit.into()
        }
    }
}
