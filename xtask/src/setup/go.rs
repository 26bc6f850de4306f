//! The lab's programs: taken from the machine where new enough, else built from their Go modules.

use super::packages::find;
use super::tools::{Accept, GO, ask_version, linker_flags, pinned};
use super::version::Version;
use crate::command;
use crate::error::{Error, InFile};
use crate::workspace::Workspace;
use ::lab::binaries::{Binary, Tool};
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

/// How often a build tells how far it is when nobody watches a terminal.
const NEWS: Duration = Duration::from_secs(30);

/// Brings every program of these tools that the machine cache lacks.
pub(crate) fn install(workspace: &Workspace, tools: &'static [Tool]) -> Result<(), Error> {
    let mut missing = Vec::new();
    for tool in tools {
        for program in tool.binaries {
            if !tool.folder().join(program.file).exists() && !adopt(tool, program)? {
                missing.push((tool, program));
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    require_go()?;
    println!(
        "setup: {} to build from Go modules (all that a lab needs: about 8 minutes on two cores)",
        missing.len()
    );
    for (done, (tool, program)) in missing.iter().enumerate() {
        build(
            workspace,
            tool,
            program,
            &format!("[{}/{}]", done + 1, missing.len()),
        )?;
    }
    Ok(())
}

/// Links a program that the machine has, new enough, into the cache.
fn adopt(tool: &Tool, program: &Binary) -> Result<bool, Error> {
    let Some(ask) = ask_version(program.file) else {
        return Ok(false);
    };
    let Some((found, version)) = candidates(program).into_iter().find_map(|candidate| {
        let said = command::output(Command::new(&candidate).args(ask)).ok()?;
        let version = Version::first_in(&said)?;
        Accept::of(tool)
            .serves(version, pinned(tool))
            .then_some((candidate, version))
    }) else {
        return Ok(false);
    };
    let folder = tool.folder();
    std::fs::create_dir_all(&folder).in_file(&folder)?;
    let link = folder.join(program.file);
    // A link that points nowhere is left from a program since removed.
    if link.is_symlink() {
        std::fs::remove_file(&link).in_file(&link)?;
    }
    std::os::unix::fs::symlink(&found, &link).in_file(&link)?;
    println!(
        "setup: {} {version} taken from {}",
        program.file,
        found.display()
    );
    Ok(true)
}

/// Where the machine may have it: KUBEBUILDER_ASSETS first, then PATH.
fn candidates(program: &Binary) -> Vec<PathBuf> {
    let assets =
        std::env::var_os("KUBEBUILDER_ASSETS").map(|folder| Path::new(&folder).join(program.file));
    assets
        .into_iter()
        .filter(|path| path.is_file())
        .chain(find(program.file))
        .collect()
}

fn require_go() -> Result<(), Error> {
    let Ok(said) = command::output(Command::new("go").args(["env", "GOVERSION"])) else {
        return Err(Error::GoMissing { wanted: GO });
    };
    if Version::first_in(&said) < Version::first_in(GO) {
        return Err(Error::GoTooOld {
            found: said.trim().to_owned(),
            wanted: GO,
        });
    }
    Ok(())
}

/// Builds under another name and renames: a program in the cache is whole.
fn build(workspace: &Workspace, tool: &Tool, program: &Binary, count: &str) -> Result<(), Error> {
    let start = Instant::now();
    println!("setup: {count} building {} {}", program.file, tool.version);
    let folder = tool.folder();
    std::fs::create_dir_all(&folder).in_file(&folder)?;
    let partial = folder.join(format!(".{}.partial", program.file));
    let mut go = Command::new("go");
    go.current_dir(workspace.root.join("xtask/tools").join(tool.name));
    go.env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off");
    go.args(["build", "-v", "-trimpath", "-ldflags", &linker_flags(tool)]);
    if !tool.tags.is_empty() {
        go.args(["-tags", &tool.tags.join(",")]);
    }
    go.arg("-o").arg(&partial).arg(program.package);
    go.stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = go
        .spawn()
        .map_err(|source| command::cannot_start(&go, source))?;
    let said = child
        .stderr
        .take()
        .map(|stderr| follow(stderr, start))
        .unwrap_or_default();
    let status = child
        .wait()
        .map_err(|source| command::cannot_start(&go, source))?;
    if !status.success() {
        return Err(Error::FailedSaying {
            command: command::words(&go),
            status,
            tail: command::last_lines(&said, 40),
        });
    }
    let whole = folder.join(program.file);
    std::fs::rename(&partial, &whole).in_file(&whole)?;
    println!(
        "setup: {count} {} built ({})",
        program.file,
        command::seconds(start.elapsed())
    );
    Ok(())
}

/// Reads what `go build -v` says, a line per compiled package, and tells now and then how far it is. Gives back all that was said.
fn follow(stderr: ChildStderr, start: Instant) -> String {
    let terminal = std::io::stdout().is_terminal();
    let mut said = String::new();
    let mut told = start;
    for (count, line) in BufReader::new(stderr)
        .lines()
        .map_while(Result::ok)
        .enumerate()
    {
        if terminal {
            print!(
                "\r\x1b[2K  {} packages, {}",
                count + 1,
                command::seconds(start.elapsed())
            );
            let _ = std::io::stdout().flush();
        } else if told.elapsed() >= NEWS {
            told = Instant::now();
            println!(
                "  {} packages, {}",
                count + 1,
                command::seconds(start.elapsed())
            );
        }
        said.push_str(&line);
        said.push('\n');
    }
    if terminal {
        print!("\r\x1b[2K");
    }
    said
}
