//! Where the hierarchy of control groups is that all processes are in.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Errno, Error};

/// The number of the top of the hierarchy (`kernfs_create_root`).
const TOP: u64 = 1;

/// Why there is no control group to attach to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// No hierarchy of version 2 is mounted.
    NoneMounted,
    /// The top of the hierarchy cannot be seen: this is in a container that sees its own part of it only.
    PartOnly {
        /// What it sees.
        path: PathBuf,
    },
    /// The folder cannot be opened.
    Closed {
        /// The folder.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoneMounted => formatter.write_str("no cgroup2 file system is mounted"),
            Self::PartOnly { path } => write!(
                formatter,
                "{} is only a part of the host's cgroup2 hierarchy",
                path.display()
            ),
            Self::Closed { path, errno } => write!(formatter, "{}: {errno}", path.display()),
        }
    }
}

/// An open control group.
#[derive(Debug)]
pub(crate) struct Cgroup {
    pub(crate) folder: File,
    /// Its number, as links have it.
    pub(crate) id: u64,
}

/// Opens the folder that was named, or the top of the hierarchy: `/sys/fs/cgroup` on most hosts, `/sys/fs/cgroup/unified` on those that have
/// version 1 too. In a container the host's must be mounted somewhere.
pub(crate) fn open(named: Option<&Path>) -> Result<Cgroup, Unfit> {
    let Some(path) = named else {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
        let path = top(&mounts).ok_or(Unfit::NoneMounted)?;
        let cgroup = open_folder(&path)?;
        return if cgroup.id == TOP {
            Ok(cgroup)
        } else {
            Err(Unfit::PartOnly { path })
        };
    };
    open_folder(path)
}

fn open_folder(path: &Path) -> Result<Cgroup, Unfit> {
    let open = || -> io::Result<Cgroup> {
        let folder = File::open(path)?;
        let id = folder.metadata()?.ino();
        Ok(Cgroup { folder, id })
    };
    open().map_err(|error| Unfit::Closed {
        path: path.to_owned(),
        errno: Errno::of(&error),
    })
}

impl From<Unfit> for Error {
    fn from(unfit: Unfit) -> Self {
        Self::Cgroup(unfit)
    }
}

/// The mount of version 2 that shows most of the hierarchy. Its fourth word is what is mounted, as seen from this process: `/..` for each
/// level above its own top in a namespace of control groups.
fn top(mountinfo: &str) -> Option<PathBuf> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        let mut words = mount.split(' ').skip(3);
        let (root, point) = (words.next()?, words.next()?);
        let is_version_2 = system.split(' ').next() == Some("cgroup2");
        is_version_2.then_some((root, point))
    });
    let widest = mounts.min_by_key(|(root, _)| {
        let steps = root.split('/').filter(|step| !step.is_empty());
        let (up, down): (Vec<&str>, Vec<&str>) = steps.partition(|step| *step == "..");
        (usize::MAX - up.len(), down.len())
    });
    // A blank is written as an octal number.
    widest.map(|(_, point)| PathBuf::from(point.replace("\\040", " ")))
}

#[cfg(test)]
mod tests {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    use nix::sched::{CloneFlags, unshare};

    use super::*;

    const HYBRID: &str = "\
31 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
41 31 0:36 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
    const PURE: &str =
        "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
";
    /// A container with a namespace of its own and the host's hierarchy mounted beside.
    const CONTAINER: &str = "\
901 900 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw
915 900 0:26 /../../../.. /host/sys/fs/cgroup rw - cgroup2 cgroup2 rw
";
    /// The same in the host's namespace of control groups.
    const HOST_NAMESPACE: &str = "\
901 900 0:26 /kubepods/pod1/c2 /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw
915 900 0:26 / /host/with\\040blank rw - cgroup2 cgroup2 rw
";

    #[test]
    fn the_widest_view_of_the_hierarchy_is_found() {
        for (mounts, path) in [
            (HYBRID, Some("/sys/fs/cgroup/unified")),
            (PURE, Some("/sys/fs/cgroup")),
            (CONTAINER, Some("/host/sys/fs/cgroup")),
            (HOST_NAMESPACE, Some("/host/with blank")),
            ("31 25 0:26 / / rw - ext4 /dev/sda1 rw\n", None),
            ("", None),
        ] {
            assert_eq!(top(mounts).as_deref(), path.map(Path::new));
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = open(Some(Path::new("/nowhere"))).expect_err("nothing there");
        assert_eq!(error.to_string(), "/nowhere: ENOENT");
    }

    /// The initial namespace of control groups (`PROC_CGROUP_INIT_INO`).
    const INITIAL: &str = "cgroup:[4026531835]";
    const MOUNTS: &str = "/sys/fs/cgroup";

    fn mount_at(system: &str, path: &str) {
        let none = None::<&str>;
        mount(none, path, Some(system), MsFlags::empty(), none).expect("a mount");
    }

    /// Every mount of control groups goes, in the mount namespace of this thread.
    fn start_from_nothing() {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private");
        while umount2(MOUNTS, MntFlags::MNT_DETACH).is_ok() {}
        let others = fs::read_to_string("/proc/thread-self/mountinfo").expect("mounts");
        let others = others.lines().filter(|line| line.contains(" - cgroup"));
        for point in others.filter_map(|line| line.split(' ').nth(4)) {
            umount2(point, MntFlags::MNT_DETACH).expect("a mount less");
        }
    }

    #[test]
    fn the_kernel_s_own_hierarchy_is_found_on_hosts_of_either_kind() {
        let namespace = fs::read_link("/proc/self/ns/cgroup").expect("a namespace");
        if !nix::unistd::geteuid().is_root() || namespace.as_os_str() != INITIAL {
            eprintln!("skipped: this needs root and the whole hierarchy");
            return;
        }
        let thread = std::thread::spawn(|| {
            start_from_nothing();
            assert_eq!(open(None).err(), Some(Unfit::NoneMounted));

            mount_at("cgroup2", MOUNTS);
            assert_eq!(open(None).expect("version 2 alone").id, TOP);
            umount2(MOUNTS, MntFlags::MNT_DETACH).expect("a mount less");

            mount_at("tmpfs", MOUNTS);
            let unified = format!("{MOUNTS}/unified");
            fs::create_dir(&unified).expect("a folder");
            mount_at("cgroup2", &unified);
            let found = open(None).expect("beside version 1");
            assert_eq!(found.id, TOP);
            let there = fs::metadata(&unified).expect("the folder").ino();
            assert_eq!(there, TOP, "{unified}");
        });
        thread.join().expect("the claims hold");
    }
}
