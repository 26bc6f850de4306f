//! Running other programs: what was run is named in each failure.

use crate::error::Error;
use std::ffi::OsStr;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// Runs to the end with this terminal as its own.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    let status = command
        .status()
        .map_err(|source| cannot_start(command, source))?;
    require(command, status)
}

/// Runs to the end and gives what it wrote to standard output. On failure the error carries the last lines it wrote.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    let output = capture(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Error::FailedSaying {
        command: words(command),
        status: output.status,
        tail: last_lines(&String::from_utf8_lossy(&said), 60),
    })
}

/// Runs to the end, whatever its verdict.
pub(crate) fn capture(command: &mut Command) -> Result<Output, Error> {
    command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| cannot_start(command, source))
}

/// The error of a command that could not be started.
pub(crate) fn cannot_start(command: &Command, source: std::io::Error) -> Error {
    Error::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    }
}

/// An error unless `status` is success.
pub(crate) fn require(command: &Command, status: ExitStatus) -> Result<(), Error> {
    if status.success() {
        Ok(())
    } else {
        Err(Error::Failed {
            command: words(command),
            status,
        })
    }
}

/// The command as a person would type it.
pub(crate) fn words(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The last `count` lines of `text`.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A duration for a person: `0.3 s`, `42 s`, `3 min 20 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        whole @ 10..120 => format!("{whole} s"),
        whole => format!("{} min {} s", whole / 60, whole % 60),
    }
}

/// A heading that a person finds again in a long log.
pub(crate) fn section(title: &str) {
    println!("\n━━━ {title} ━━━");
}
