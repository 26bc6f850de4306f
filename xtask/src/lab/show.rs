//! Commands shown as a person would type them, with what they print.

use crate::command::{self, seconds};
use crate::error::Error;
use std::process::Command;
use std::time::Instant;

/// Prints what a person would type.
pub(crate) fn announce(typed: &str) {
    println!("\n  $ {typed}");
}

/// Prints what a person would type, runs it, and prints what it says.
pub(crate) fn show(command: &mut Command, typed: &str) -> Result<(), Error> {
    announce(typed);
    let start = Instant::now();
    let said = command::output(command)?;
    // The notes that helm repeats are in the README.
    let said = said.split("\nNOTES:").next().unwrap_or_default();
    println!("{}", indented(said));
    println!("    ({})", seconds(start.elapsed()));
    Ok(())
}

/// The text, set off from what this program says itself.
pub(crate) fn indented(text: &str) -> String {
    text.trim_end()
        .lines()
        .map(|line| format!("    {line}").trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}
