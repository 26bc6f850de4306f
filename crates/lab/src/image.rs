//! The images that labs run and the image of this project, written as OCI layouts.
//!
//! | Reference | What it is |
//! |---|---|
//! | `lab/pause:1` | the process that holds a pod's namespaces |
//! | `traefik/whoami:latest` | a web server that tells who it is and who asked |
//! | `nicolaka/netshoot:latest` | a toolbox: shell, curl, ping, ip, tcpdump and the usual small tools |
//!
//! The last two carry the names under which published manifests ask for images of that kind, so that those
//! manifests run verbatim. Nothing of the originals is in them.
//!
//! A layout is kept in the machine cache under the fingerprint of what it is made from: the second lab that
//! needs it only pushes it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::binaries;
use crate::command;
use crate::error::Error;
use crate::oci::{Digest, Image, Owner, Packing, ROOT};
use crate::registry::Registry;

/// The user that runs the project's own programs; the number that images without a shell have agreed on.
pub const NON_ROOT: Owner = Owner {
    user: 65532,
    group: 65532,
};

/// The reference of the pod sandbox image.
pub const PAUSE: &str = "lab/pause:1";
/// The reference of the web server image.
pub const WHOAMI: &str = "traefik/whoami:latest";
/// The reference of the toolbox image.
pub const TOOLBOX: &str = "nicolaka/netshoot:latest";

/// Programs of this machine that go into the toolbox, beside busybox.
const TOOLS: [&str; 4] = ["curl", "ping", "ip", "tcpdump"];

/// How long a layout stays in the machine cache after it was written, at least.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Writes the project's image to the folder `destination`: `binaries` as `/usr/bin/<name>` with the libraries
/// they need, a user without privileges who runs them, and nothing else. It has no entrypoint, because which
/// of its programs runs is the manifest's choice.
///
/// # Errors
/// When a binary cannot be read or needs a library that this machine lacks, or `destination` cannot be written.
pub fn project(binaries: &[(&str, &Path)], destination: &Path) -> Result<Digest, Error> {
    project_image(binaries)?.write(destination, Packing::Gzip)
}

/// As [`project`], for a lab: kept in the machine cache, uncompressed because it does not travel.
///
/// # Errors
/// As [`project`].
pub fn project_for_lab(binaries: &[(&str, &Path)]) -> Result<PathBuf, Error> {
    cached("tombolo", &project_image(binaries)?)
}

fn project_image(binaries: &[(&str, &Path)]) -> Result<Image, Error> {
    let mut image = Image::new()
        .text(
            "/etc/passwd",
            "tombolo:x:65532:65532:tombolo:/nonexistent:/nonexistent\n",
            0o644,
            ROOT,
        )
        .text("/etc/group", "tombolo:x:65532:\n", 0o644, ROOT)
        .user(NON_ROOT)
        .env("PATH", "/usr/bin")
        .workdir("/")
        .label("org.opencontainers.image.title", "tombolo")
        .label("org.opencontainers.image.licenses", "Apache-2.0");
    for (name, host) in binaries {
        image = image.program(&format!("/usr/bin/{name}"), host)?;
    }
    Ok(image)
}

/// Puts the lab's own images into its registry, making those that are not in the machine cache.
///
/// # Errors
/// When a program that belongs into an image is missing (the error says how to get it), or the registry
/// refuses.
pub fn push_lab_images(registry: &Registry) -> Result<(), Error> {
    let images = [
        (PAUSE, pause as fn() -> Result<Image, Error>),
        (WHOAMI, whoami),
        (TOOLBOX, toolbox),
    ];
    std::thread::scope(|scope| {
        let pushes = images.map(|(reference, make)| {
            scope.spawn(move || {
                let name = reference.split([':', '/']).nth(1).unwrap_or(reference);
                push(registry, &cached(name, &make()?)?, reference)
            })
        });
        pushes.into_iter().try_for_each(|push| match push.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// Puts the layout in `folder` into a lab's registry as `reference` (without a host: `tombolo/tombolo:dev`).
///
/// # Errors
/// When the registry refuses it.
pub fn push(registry: &Registry, folder: &Path, reference: &str) -> Result<(), Error> {
    let target = format!("{}/{reference}", registry.address());
    command::text(
        registry
            .crane()?
            .args(["push", "--insecure"])
            .arg(folder)
            .arg(target),
    )
    .map(|_| ())
}

/// The image of the pod sandbox.
///
/// # Errors
/// [`Error::OwnProgramMissing`] when `lab-pause` has not been built.
pub fn pause() -> Result<Image, Error> {
    Ok(Image::new()
        .program("/pause", &binaries::own("lab-pause")?)?
        .entrypoint(&["/pause"]))
}

/// The image of the web server.
///
/// # Errors
/// [`Error::OwnProgramMissing`] when `lab-whoami` has not been built.
pub fn whoami() -> Result<Image, Error> {
    Ok(Image::new()
        .program("/whoami", &binaries::own("lab-whoami")?)?
        .entrypoint(&["/whoami"]))
}

/// The image of the toolbox: busybox under each of its names, and the real curl, ping, ip and tcpdump.
///
/// # Errors
/// [`Error::NotSetUp`] when a program is not installed on this machine.
pub fn toolbox() -> Result<Image, Error> {
    let busybox = installed("busybox")?;
    let applets = command::text(std::process::Command::new(&busybox).arg("--list"))?;
    let mut image = Image::new()
        .program("/bin/busybox", &busybox)?
        .folder("/root", 0o700, ROOT)
        .folder("/tmp", 0o1777, ROOT)
        .text(
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\n",
            0o644,
            ROOT,
        )
        .text("/etc/group", "root:x:0:\n", 0o644, ROOT)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .workdir("/root")
        .command(&["/bin/sh"]);
    for tool in TOOLS {
        // Before the applets in the PATH: busybox has a ping and an ip too, and they can do less.
        image = image.program(&format!("/usr/bin/{tool}"), &installed(tool)?)?;
    }
    for applet in applets.lines() {
        image = image.link(&format!("/bin/{applet}"), "busybox");
    }
    Ok(image)
}

/// The layout of an image in the machine cache, written now if it is not there.
fn cached(name: &str, image: &Image) -> Result<PathBuf, Error> {
    let folder = binaries::cache().join("images");
    let layout = folder.join(format!("{name}-{}", &image.fingerprint()?.hex()[..16]));
    if layout.join("index.json").is_file() {
        return Ok(layout);
    }
    fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
    // Beside its place first: two labs may write it at once, and one may die over it.
    let unfinished = tempfile::tempdir_in(&folder).map_err(Error::file(&folder))?;
    let written = unfinished.path().join("layout");
    image.write(&written, Packing::Plain)?;
    forget_old(&folder, name);
    match fs::rename(&written, &layout) {
        Ok(()) => Ok(layout),
        Err(_) if layout.join("index.json").is_file() => Ok(layout),
        Err(source) => Err(Error::File {
            path: layout,
            source,
        }),
    }
}

/// Removes layouts of that name that nobody has made for a day: each build of a program leaves one. What
/// cannot be removed stays; the next build tries again.
fn forget_old(folder: &Path, name: &str) {
    let old = |entry: &fs::DirEntry| {
        let file = entry.file_name();
        let of_this_name = file
            .to_string_lossy()
            .rsplit_once('-')
            .is_some_and(|(image, _)| image == name);
        let modified = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok();
        of_this_name
            && modified
                .and_then(|time| time.elapsed().ok())
                .is_some_and(|age| age > KEPT)
    };
    for entry in fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(old)
    {
        let _ = fs::remove_dir_all(entry.path());
    }
}

/// A program of this machine, by the `PATH` and the folders that root's has and others' lacks.
fn installed(program: &str) -> Result<PathBuf, Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Error::NotSetUp {
            program: program.to_owned(),
            folder: "/usr/bin".into(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Every path of a layout's only layer.
    fn paths(layout: &Path) -> BTreeSet<String> {
        let blobs = layout.join("blobs/sha256");
        let largest = fs::read_dir(blobs)
            .unwrap()
            .map(|entry| entry.unwrap())
            .max_by_key(|entry| entry.metadata().unwrap().len())
            .expect("a layer");
        let mut archive = tar::Archive::new(fs::File::open(largest.path()).unwrap());
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    }

    #[test]
    fn the_projects_image_holds_its_programs_and_no_shell() {
        let folder = tempfile::tempdir().unwrap();
        let layout = folder.path().join("layout");
        let program = env::current_exe().unwrap();
        let binaries = [
            ("tombolo-agent", program.as_path()),
            ("tombolo-operator", program.as_path()),
        ];
        let image = project_image(&binaries).unwrap();
        image.write(&layout, Packing::Plain).unwrap();
        let paths = paths(&layout);
        for expected in [
            "usr/bin/tombolo-agent",
            "usr/bin/tombolo-operator",
            "etc/passwd",
        ] {
            assert!(paths.contains(expected), "{expected} is in {paths:?}");
        }
        assert!(
            !paths
                .iter()
                .any(|path| path.ends_with("/sh") || path.contains("busybox")),
            "{paths:?}"
        );
    }

    #[test]
    fn the_toolbox_holds_what_people_type() {
        let folder = tempfile::tempdir().unwrap();
        let layout = folder.path().join("layout");
        toolbox().unwrap().write(&layout, Packing::Plain).unwrap();
        let paths = paths(&layout);
        for expected in [
            "bin/sh",
            "bin/tail",
            "bin/sleep",
            "usr/bin/curl",
            "usr/bin/ping",
            "usr/bin/ip",
            "usr/bin/tcpdump",
        ] {
            assert!(paths.contains(expected), "{expected} is missing");
        }
    }
}
