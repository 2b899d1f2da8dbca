//! `harness lint`: what the printed numbers of a paper say about each other.

use super::{Exit, print_json};
use crate::lint::{lint as audit, render};
use crate::suite::Suite;

pub fn lint(suites: &[Suite], json: bool) -> anyhow::Result<Exit> {
    let found = audit(suites);
    match json {
        true => print_json(&found)?,
        false if found.is_empty() => println!("nothing found"),
        false => print!("{}", render(&found)),
    }
    Ok(match found.is_empty() {
        true => Exit::Success,
        false => Exit::Findings,
    })
}
