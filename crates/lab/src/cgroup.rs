//! Control groups: one folder per node at the same place in every hierarchy, so that it works on hosts with
//! version 1, version 2, or both.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;
use crate::wait;

/// The mount points of all hierarchies of this machine.
pub(crate) fn hierarchies() -> Result<Vec<PathBuf>, Error> {
    let path = "/proc/self/mountinfo";
    let text = fs::read_to_string(path).map_err(Error::file(path))?;
    Ok(text.lines().filter_map(mount_point).collect())
}

/// The mount point in a line of mountinfo, if a hierarchy is mounted there; proc_pid_mountinfo(5).
fn mount_point(line: &str) -> Option<PathBuf> {
    let (mount, source) = line.split_once(" - ")?;
    let kind = source.split(' ').next()?;
    matches!(kind, "cgroup" | "cgroup2").then(|| mount.split(' ').nth(4).map(PathBuf::from))?
}

/// Makes the group in every hierarchy, ready to hold groups with limits.
pub(crate) fn create(name: &str) -> Result<(), Error> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(name);
        if hierarchy.join("cgroup.controllers").exists() {
            delegate(&hierarchy)?;
        }
        fs::create_dir_all(&group).map_err(Error::file(&group))?;
        // In version 1 a new group has no CPUs and no memory nodes, and nothing may run in it.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let above = hierarchy.join(file);
            if above.exists() && !hierarchy.join("cgroup.controllers").exists() {
                let value = fs::read_to_string(&above).map_err(Error::file(&above))?;
                let below = group.join(file);
                fs::write(&below, value).map_err(Error::file(below))?;
            }
        }
    }
    Ok(())
}

/// The version 2 controllers without which a kubelet refuses to start, and those that its pods may ask for.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb"];

/// Hands the controllers of a version 2 hierarchy to the groups directly below its root. On hosts with version 1
/// beside it there are none.
fn delegate(hierarchy: &Path) -> Result<(), Error> {
    let read = |name: &str| {
        let path = hierarchy.join(name);
        fs::read_to_string(&path).map_err(Error::file(path))
    };
    let (available, handed) = (read("cgroup.controllers")?, read("cgroup.subtree_control")?);
    let has = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
    for name in CONTROLLERS {
        if has(&available, name) && !has(&handed, name) {
            let path = hierarchy.join("cgroup.subtree_control");
            fs::write(&path, format!("+{name}")).map_err(Error::file(path))?;
        }
    }
    Ok(())
}

/// Where the version 2 hierarchy is mounted.
pub(crate) fn unified() -> Result<Option<PathBuf>, Error> {
    let mut hierarchies = hierarchies()?.into_iter();
    Ok(hierarchies.find(|path| path.join("cgroup.controllers").exists()))
}

/// A group below the named one in the version 2 hierarchy, for processes that are no container's. The group itself may hold none
/// where it hands on controllers (cgroups(7), "no internal processes").
pub(crate) fn daemons(name: &str) -> Result<Option<PathBuf>, Error> {
    let Some(group) = unified()?.map(|hierarchy| hierarchy.join(name).join("daemons")) else {
        return Ok(None);
    };
    fs::create_dir_all(&group).map_err(Error::file(&group))?;
    Ok(Some(group))
}

/// The processes in the group and all groups below it, in any hierarchy.
pub(crate) fn processes(name: &str) -> Result<Vec<u32>, Error> {
    let mut pids = Vec::new();
    for hierarchy in hierarchies()? {
        collect(&hierarchy.join(name), &mut pids);
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// A group may vanish while it is looked at; then it has no processes.
fn collect(group: &Path, pids: &mut Vec<u32>) {
    let own = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    pids.extend(own.lines().filter_map(|line| line.parse::<u32>().ok()));
    for folder in folders(group) {
        collect(&folder, pids);
    }
}

/// The first folder named `name` in any hierarchy below the group `root`: where a container's processes are.
pub(crate) fn find(root: &str, name: &str) -> Result<Option<PathBuf>, Error> {
    fn walk(group: &Path, name: &str) -> Option<PathBuf> {
        folders(group).into_iter().find_map(|folder| {
            if folder.file_name().is_some_and(|own| own == name) {
                return Some(folder);
            }
            walk(&folder, name)
        })
    }
    Ok(hierarchies()?
        .iter()
        .find_map(|hierarchy| walk(&hierarchy.join(root), name)))
}

fn folders(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes the group from every hierarchy, bottom-up. Its processes must have been killed; the kernel may still
/// be burying them, so it is tried for a while.
pub(crate) fn remove(name: &str) -> Result<(), Error> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(name);
        let awaited = format!("{} is gone", group.display());
        wait::until(Duration::from_secs(10), &awaited, || {
            prune(&group);
            (!group.exists()).then_some(())
        })?;
    }
    Ok(())
}

fn prune(group: &Path) {
    for folder in folders(group) {
        prune(&folder);
    }
    // What cannot be removed yet is seen and tried again by the caller.
    let _ = fs::remove_dir(group);
}

#[cfg(test)]
mod tests {
    use super::mount_point;

    #[test]
    fn a_hierarchy_is_known_by_its_file_system_not_by_its_place() {
        let cases = [
            (
                "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu",
                Some("/sys/fs/cgroup/cpu"),
            ),
            (
                "35 24 0:30 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw",
                Some("/sys/fs/cgroup"),
            ),
            (
                "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755",
                None,
            ),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(
                mount_point(line).as_deref(),
                expected.map(std::path::Path::new),
                "{line}"
            );
        }
    }
}
