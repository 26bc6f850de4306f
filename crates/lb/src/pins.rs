//! Where maps and links outlive the process: a folder of ours in a BPF file system.
//!
//! ```text
//!   <root>/v3/maps/FRONTENDS4 …          one for each map of the object
//!   <root>/v3/links/uplink_in-eth0 …     hook and interface
//!   <root>/v3/links/sk_connect4 …        one for each program of sockets
//! ```

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Release;

use lb_abi::{FILTER_WORDS, SCHEMA, map};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::bpf::{self, MapShape, map_shape};
use crate::error::Error;
use crate::maps::Window;
use crate::object::MAPS;

/// Held by whoever uses the folder.
pub(crate) type Lock = Flock<File>;

/// The folder.
#[derive(Debug, Clone)]
pub(crate) struct Pins {
    root: PathBuf,
}

/// What became of the maps that an earlier run left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adoption {
    /// There were none.
    New,
    /// They are in use again, with the sizes they had.
    Adopted,
    /// They were of another layout or not complete, and are replaced by empty ones.
    Replaced {
        /// The first that did not fit.
        map: &'static str,
    },
}

/// What the maps hold of what is pinned.
enum Found {
    Nothing,
    Fitting,
    Unfit,
}

impl Pins {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    fn version(&self) -> PathBuf {
        self.root.join(format!("v{SCHEMA}"))
    }

    pub(crate) fn maps(&self) -> PathBuf {
        self.version().join("maps")
    }

    pub(crate) fn links(&self) -> PathBuf {
        self.version().join("links")
    }

    /// Keeps everybody else from using the folder until dropped, however this process ends.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        let folder = File::open(&self.root).map_err(at(&self.root))?;
        let lock = Flock::lock(folder, FlockArg::LockExclusiveNonblock);
        lock.map_err(|(_, errno)| match errno {
            Errno::EWOULDBLOCK => Error::InUse {
                path: self.root.clone(),
            },
            errno => at(&self.root)(errno.into()),
        })
    }

    /// Makes the folders.
    pub(crate) fn create(&self) -> Result<(), Error> {
        for folder in [self.maps(), self.links()] {
            let made = fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder);
            made.map_err(at(&folder))?;
        }
        let status = nix::sys::statfs::statfs(&self.root).map_err(|errno| Error::Pin {
            path: self.root.clone(),
            source: errno.into(),
        })?;
        if status.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC {
            Ok(())
        } else {
            Err(Error::NotBpffs {
                path: self.root.clone(),
            })
        }
    }

    /// Leaves the pinned maps as they are if all fit the object, and removes them all if any does not: they refer to each other by number. The
    /// number of entries may be another.
    pub(crate) fn check_maps(
        &self,
        shapes: &BTreeMap<&'static str, MapShape>,
    ) -> Result<Adoption, Error> {
        let mut found = Vec::new();
        for name in MAPS {
            let shape = shapes.get(name).ok_or(Error::NoMap { name })?;
            found.push((name, self.check_map(name, shape)?));
        }
        if found
            .iter()
            .all(|(_, found)| matches!(found, Found::Nothing))
        {
            return Ok(Adoption::New);
        }
        let misfit = found
            .iter()
            .find(|(_, found)| !matches!(found, Found::Fitting));
        let Some((map, _)) = misfit else {
            return Ok(Adoption::Adopted);
        };
        for name in MAPS {
            let path = self.maps().join(name);
            unpin(&path).map_err(at(&path))?;
        }
        Ok(Adoption::Replaced { map })
    }

    fn check_map(&self, name: &str, shape: &MapShape) -> Result<Found, Error> {
        let path = self.maps().join(name);
        let map = match bpf::open_pin(&path) {
            Ok(map) => map,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(at(&path)(error)),
        };
        // A program or link under this name has no shape of a map.
        let Ok(pinned) = map_shape(map.as_fd()) else {
            return Ok(Found::Unfit);
        };
        let resized = MapShape {
            entries: pinned.entries,
            ..*shape
        };
        Ok(if pinned == resized {
            Found::Fitting
        } else {
            Found::Unfit
        })
    }

    /// What is in the folder of links, by name.
    pub(crate) fn pinned_links(&self) -> Result<Vec<String>, Error> {
        names(&self.links())
    }

    /// Removes what other versions of the layout left, links first.
    pub(crate) fn remove_other_versions(&self) -> Result<Removed, Error> {
        let ours = format!("v{SCHEMA}");
        let mut removed = Removed::default();
        for name in names(&self.root)? {
            if name != ours && is_version(&name) {
                removed += remove_version(&self.root.join(name))?;
            }
        }
        Ok(removed)
    }

    /// Empties the filters, so that programs pass on all they see: however long it takes to detach them one by one, all of them stop at once.
    /// What cannot be opened is not in use, or goes with the programs.
    pub(crate) fn switch_off(&self) {
        let map = bpf::open_pin(&self.maps().join(map::FILTERS));
        let window = map.and_then(|map| Window::open(map.as_fd(), FILTER_WORDS * 8));
        if let Ok(Some(window)) = window {
            for word in window.words64() {
                word.store(0, Release);
            }
        }
    }

    /// Removes everything of ours, links first, and the folders that are empty then.
    pub(crate) fn remove_all(&self) -> Result<Removed, Error> {
        let mut removed = Removed::default();
        for name in names(&self.root)? {
            if is_version(&name) {
                removed += remove_version(&self.root.join(name))?;
            }
        }
        remove_folder(&self.root)?;
        Ok(removed)
    }
}

/// How much was unpinned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) links: usize,
    pub(crate) maps: usize,
}

impl std::ops::AddAssign for Removed {
    fn add_assign(&mut self, other: Self) {
        self.links += other.links;
        self.maps += other.maps;
    }
}

/// The name of a link's file. A BPF file system keeps dots for itself, and VLANs have them.
pub(crate) fn link_name(hook: &str, interface: &str) -> String {
    let interface = interface.replace('%', "%25").replace('.', "%2e");
    format!("{hook}-{interface}")
}

/// Detaches a link and removes its file, if it is there.
pub(crate) fn remove_link(path: &Path) -> io::Result<()> {
    if let Ok(link) = bpf::open_pin(path) {
        // What is detached already, or was no link, refuses.
        let _ = bpf::detach(link.as_fd());
    }
    unpin(path)
}

/// Removes a link's file, and at a pod's interface leaves the rest to the kernel, which detaches what nobody holds any more. Elsewhere it is
/// detached then.
fn let_go(path: &Path) -> io::Result<()> {
    let name = path.file_name().and_then(OsStr::to_str);
    if name.is_some_and(|name| name.starts_with("pod_")) {
        unpin(path)
    } else {
        remove_link(path)
    }
}

/// Removes a file that may have gone.
pub(crate) fn unpin(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn is_version(name: &str) -> bool {
    name.strip_prefix('v').is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn remove_version(version: &Path) -> Result<Removed, Error> {
    let links = remove_files(&version.join("links"), let_go)?;
    let maps = remove_files(&version.join("maps"), unpin)?;
    remove_folder(version)?;
    Ok(Removed { links, maps })
}

/// How many files there were.
fn remove_files(folder: &Path, remove: impl Fn(&Path) -> io::Result<()>) -> Result<usize, Error> {
    let mut names = names(folder)?;
    // What the kernel does in its own time would keep the others waiting.
    names.sort_by_key(|name| name.starts_with("pod_"));
    for name in &names {
        let path = folder.join(name);
        remove(&path).map_err(at(&path))?;
    }
    remove_folder(folder)?;
    Ok(names.len())
}

/// A folder that has something of somebody else's stays, and so does one that is the mount itself.
fn remove_folder(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir(folder) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty | ErrorKind::ResourceBusy
            ) =>
        {
            Ok(())
        }
        removed => removed.map_err(at(folder)),
    }
}

/// Nothing where there is no folder.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at(folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(at(folder))?.file_name();
        names.extend(name.into_string());
    }
    names.sort();
    Ok(names)
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Pin { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_name_has_no_dot_and_is_unlike_any_other() {
        for (interface, name) in [
            ("eth0", "uplink_in-eth0"),
            ("eth0.100", "uplink_in-eth0%2e100"),
            ("eth0%2e100", "uplink_in-eth0%252e100"),
            ("a-b", "uplink_in-a-b"),
        ] {
            assert_eq!(link_name("uplink_in", interface), name);
        }
    }

    #[test]
    fn only_folders_of_versions_are_ours() {
        for (name, ours) in [
            ("v2", true),
            ("v12", true),
            ("v", false),
            ("v1x", false),
            ("tc", false),
        ] {
            assert_eq!(is_version(name), ours, "{name}");
        }
    }
}
