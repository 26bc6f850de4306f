//! Programs that are run to their end.

use std::io::Write;
use std::process::{Command, ExitStatus, Stdio};

use crate::error::Error;

/// What a program that has ended said.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// Whether it ended with exit status 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }
}

/// Runs a program to its end, whatever that end is.
///
/// # Errors
/// [`Error::Spawn`] when it cannot be started.
pub fn run(command: &mut Command) -> Result<Output, Error> {
    feed(command, "")
}

/// As [`run`], with `input` on its standard input.
///
/// # Errors
/// [`Error::Spawn`] when it cannot be started.
pub fn feed(command: &mut Command, input: &str) -> Result<Output, Error> {
    let stdin = if input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    let spawned = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(source) => {
            return Err(Error::Spawn {
                program: describe(command),
                source,
            });
        }
    };
    let pipe = child.stdin.take();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that ends without reading its input has its reasons; its status tells them.
            let _ = pipe.map(|mut pipe| pipe.write_all(input.as_bytes()));
        });
        child.wait_with_output()
    })
    .map_err(|source| Error::Spawn {
        program: describe(command),
        source,
    })?;
    Ok(Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a program that must succeed and gives what it printed.
///
/// # Errors
/// [`Error::Spawn`], or [`Error::Failed`] with its complaint.
pub fn text(command: &mut Command) -> Result<String, Error> {
    text_fed(command, "")
}

/// As [`text`], with `input` on its standard input.
///
/// # Errors
/// [`Error::Spawn`], or [`Error::Failed`] with its complaint.
pub fn text_fed(command: &mut Command, input: &str) -> Result<String, Error> {
    let output = feed(command, input)?;
    if output.success() {
        return Ok(output.stdout);
    }
    Err(Error::Failed {
        command: describe(command),
        status: output.status,
        stderr: output.stderr.trim_end().to_owned(),
    })
}

fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
