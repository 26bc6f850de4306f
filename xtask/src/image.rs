//! `cargo xtask image`: the release binaries as an OCI image, made without a daemon.

use crate::command::{self, seconds};
use crate::error::{Error, InFile};
use crate::workspace::Workspace;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The name of a program.
type Name = &'static str;

/// The programs of the image, each with its package.
const PROGRAMS: [(&str, Name); 2] = [("agent", "tombolo-agent"), ("operator", "tombolo-operator")];

/// Writes the image to `target/image`, an OCI layout that `crane push`, `skopeo copy oci:` and `podman load` take.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Error> {
    let start = Instant::now();
    let programs = programs(workspace)?;
    let folder = workspace.target()?.join("image");
    let digest = ::lab::image::project(&borrowed(&programs), &folder)?;
    println!(
        "image: {} {digest} ({})",
        folder.display(),
        seconds(start.elapsed())
    );
    for (name, path) in &programs {
        let size = path.metadata().in_file(path)?.len();
        println!("  {name:<18} {:>6.1} MB", size as f64 / 1e6);
    }
    Ok(())
}

/// Builds the image for the lab and gives the folder of its layout.
pub(crate) fn for_lab(workspace: &Workspace) -> Result<PathBuf, Error> {
    let programs = programs(workspace)?;
    Ok(::lab::image::project_for_lab(&borrowed(&programs))?)
}

fn borrowed(programs: &[(Name, PathBuf)]) -> Vec<(Name, &Path)> {
    programs
        .iter()
        .map(|(name, path)| (*name, path.as_path()))
        .collect()
}

/// Builds the programs and strips them of symbols.
fn programs(workspace: &Workspace) -> Result<Vec<(Name, PathBuf)>, Error> {
    let mut cargo = workspace.cargo(["build", "--quiet", "--release", "--locked"]);
    for (package, program) in PROGRAMS {
        cargo.args(["--package", package, "--bin", program]);
    }
    command::run(&mut cargo)?;
    let target = workspace.target()?;
    let stripped = target.join("stripped");
    std::fs::create_dir_all(&stripped).in_file(&stripped)?;
    let strip = |(_, program): (&str, Name)| {
        let into = stripped.join(program);
        // Dates are kept: the lab knows by them that it has pushed this image before.
        let mut strip = Command::new("strip");
        strip
            .args(["--strip-all", "--preserve-dates", "-o"])
            .arg(&into)
            .arg(target.join("release").join(program));
        command::output(&mut strip).map(|_| (program, into))
    };
    PROGRAMS.into_iter().map(strip).collect()
}
