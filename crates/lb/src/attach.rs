//! Links: programs at interfaces and at sockets, pinned so that they outlive the process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lb_abi::program;

use crate::bpf::{
    self, CGROUP_ATTACH_TYPES, Link, LinkTarget, TCX_EGRESS, TCX_INGRESS, attach_cgroup,
    attach_tcx, link_target, replace_program,
};
use crate::cgroup::Cgroup;
use crate::error::{Errno, Error};
use crate::interfaces::Role;
use crate::object::Object;
use crate::pins::{Pins, at, link_name, remove_link, unpin};
use crate::report::Attachment;

/// A place at an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hook {
    UplinkIn,
    UplinkOut,
    PodIn,
    PodOut,
}

const HOOKS: [Hook; 4] = [Hook::UplinkIn, Hook::UplinkOut, Hook::PodIn, Hook::PodOut];

impl Hook {
    fn of(role: Role) -> [Self; 2] {
        match role {
            Role::Uplink => [Self::UplinkIn, Self::UplinkOut],
            Role::Pod => [Self::PodIn, Self::PodOut],
        }
    }

    /// Part of a link's file name.
    fn label(self) -> &'static str {
        match self {
            Self::UplinkIn => "uplink_in",
            Self::UplinkOut => "uplink_out",
            Self::PodIn => "pod_in",
            Self::PodOut => "pod_out",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::UplinkIn => program::UPLINK_IN,
            Self::UplinkOut => program::UPLINK_OUT,
            Self::PodIn => program::POD_IN,
            Self::PodOut => program::POD_OUT,
        }
    }

    fn attach_type(self) -> u32 {
        match self {
            Self::UplinkIn | Self::PodIn => TCX_INGRESS,
            Self::UplinkOut | Self::PodOut => TCX_EGRESS,
        }
    }
}

/// The links at interfaces.
#[derive(Debug)]
pub(crate) struct Links {
    pins: Pins,
    present: BTreeMap<(u32, Hook), Pinned>,
}

#[derive(Debug)]
struct Pinned {
    link: OwnedFd,
    /// The file's name.
    name: String,
}

/// An interface that shall have programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) role: Role,
}

impl Links {
    /// Takes over what an earlier run left at interfaces that are there, with the new programs, and removes what is stale.
    pub(crate) fn adopt(
        pins: &Pins,
        object: &Object,
        interfaces: impl Iterator<Item = u32>,
    ) -> Result<Self, Error> {
        let interfaces: BTreeSet<u32> = interfaces.collect();
        let folder = pins.links();
        let mut present = BTreeMap::new();
        for name in pins.pinned_links()? {
            let hook = HOOKS.into_iter().find(|hook| {
                let rest = name.strip_prefix(hook.label());
                rest.is_some_and(|rest| rest.starts_with('-'))
            });
            let Some(hook) = hook else {
                continue;
            };
            let path = folder.join(&name);
            let link = bpf::open_pin(&path).map_err(at(&path))?;
            let place = match link_target(&link) {
                Ok(Link {
                    target: LinkTarget::Interface(index),
                    attach_type,
                }) if attach_type == hook.attach_type() && interfaces.contains(&index) => {
                    Some((index, hook)).filter(|place| !present.contains_key(place))
                }
                Ok(_) | Err(_) => None,
            };
            let replaced = |_: &(u32, Hook)| {
                let program = descriptor(object, hook.program());
                program.is_ok_and(|program| replace_program(link.as_fd(), program).is_ok())
            };
            match place.filter(replaced) {
                Some(place) => {
                    present.insert(place, Pinned { link, name });
                }
                None => remove_link(&path).map_err(at(&path))?,
            }
        }
        Ok(Self {
            pins: pins.clone(),
            present,
        })
    }

    /// Makes the links those that are wanted, by index of the interface, and says what is attached. What the kernel refuses is tried again the next
    /// time. An interface that has gone meanwhile is left out.
    pub(crate) fn settle(
        &mut self,
        object: &Object,
        wanted: &BTreeMap<u32, Wanted>,
    ) -> Result<BTreeMap<String, Attachment>, Error> {
        self.remove_unwanted(wanted)?;
        self.rename(wanted)?;
        let mut attachments = BTreeMap::new();
        // Uplinks first: the kernel waits for a grace period at each.
        let mut wanted: Vec<_> = wanted.iter().collect();
        wanted.sort_by_key(|(_, wanted)| wanted.role);
        for (index, Wanted { name, role }) in wanted {
            let hooks = Hook::of(*role).into_iter();
            let attached = hooks.map(|hook| self.attach(object, *index, hook, name));
            let attachment = match attached.collect::<Result<(), Errno>>() {
                Ok(()) => match role {
                    Role::Uplink => Attachment::Uplink,
                    Role::Pod => Attachment::Pod,
                },
                Err(Errno(nix::libc::ENODEV)) => continue,
                Err(errno) => Attachment::Refused(errno.to_string()),
            };
            attachments.insert(name.clone(), attachment);
        }
        Ok(attachments)
    }

    fn attach(
        &mut self,
        object: &Object,
        index: u32,
        hook: Hook,
        interface: &str,
    ) -> Result<(), Errno> {
        if self.present.contains_key(&(index, hook)) {
            return Ok(());
        }
        let errno = |error: std::io::Error| Errno::of(&error);
        let program = descriptor(object, hook.program()).map_err(|_| Errno(nix::libc::ENOENT))?;
        let link = attach_tcx(program, index, hook.attach_type()).map_err(errno)?;
        let name = link_name(hook.label(), interface);
        let path = self.pins.links().join(&name);
        // A file of that name is of an interface that has gone: those that are there have been renamed.
        unpin(&path).map_err(errno)?;
        bpf::pin(link.as_fd(), &path).map_err(errno)?;
        self.present.insert((index, hook), Pinned { link, name });
        Ok(())
    }

    /// Links of interfaces that have gone, or that are not ours any more.
    fn remove_unwanted(&mut self, wanted: &BTreeMap<u32, Wanted>) -> Result<(), Error> {
        let folder = self.pins.links();
        let is_wanted = |(index, hook): &(u32, Hook)| {
            let wanted = wanted.get(index);
            wanted.is_some_and(|wanted| Hook::of(wanted.role).contains(hook))
        };
        let unwanted = self.present.extract_if(.., |place, _| !is_wanted(place));
        for (_, pinned) in unwanted {
            let path = folder.join(&pinned.name);
            remove_link(&path).map_err(at(&path))?;
        }
        Ok(())
    }

    /// In two steps, because interfaces may have exchanged their names. A start finds its way with the names of the first step, too: it goes by the
    /// hook and by what the kernel says of the link.
    fn rename(&mut self, wanted: &BTreeMap<u32, Wanted>) -> Result<(), Error> {
        let folder = self.pins.links();
        let move_file = |pinned: &Pinned, name: &str| {
            let to = folder.join(name);
            match fs::rename(folder.join(&pinned.name), &to) {
                // Somebody removed the file. The link lives on in this process.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    bpf::pin(pinned.link.as_fd(), &to)
                }
                moved => moved,
            }
            .map_err(at(&to))
        };
        let mut moved = Vec::new();
        for (place @ (index, hook), pinned) in &mut self.present {
            let Some(wanted) = wanted.get(index) else {
                continue;
            };
            let name = link_name(hook.label(), &wanted.name);
            if name != pinned.name {
                let between = format!("{}-%{index}", hook.label());
                move_file(pinned, &between)?;
                pinned.name = between;
                moved.push((*place, name));
            }
        }
        for (place, name) in moved {
            if let Some(pinned) = self.present.get_mut(&place) {
                move_file(pinned, &name)?;
                pinned.name = name;
            }
        }
        Ok(())
    }
}

/// Attaches the programs of sockets, or puts them in the place of those that an earlier run left there.
pub(crate) fn attach_sockets(pins: &Pins, object: &Object, cgroup: &Cgroup) -> Result<(), Error> {
    for (name, attach_type) in program::SOCKET.into_iter().zip(CGROUP_ATTACH_TYPES) {
        let program = descriptor(object, name)?;
        let path = pins.links().join(name);
        let place = Link {
            target: LinkTarget::Cgroup(cgroup.id),
            attach_type,
        };
        let earlier = bpf::open_pin(&path).ok();
        let is_replaced = earlier.is_some_and(|link| {
            link_target(&link).is_ok_and(|target| target == place)
                && replace_program(link.as_fd(), program).is_ok()
        });
        if is_replaced {
            continue;
        }
        // The new one first: for a moment both translate, and the second finds nothing left to translate.
        let link = attach_cgroup(program, cgroup.folder.as_fd(), attach_type);
        let link = link.map_err(|source| Error::Attach { name, source })?;
        remove_link(&path).map_err(at(&path))?;
        bpf::pin(link.as_fd(), &path).map_err(at(&path))?;
    }
    Ok(())
}

/// Takes the programs of sockets away.
pub(crate) fn detach_sockets(pins: &Pins) -> Result<(), Error> {
    for name in program::SOCKET {
        let path = pins.links().join(name);
        remove_link(&path).map_err(at(&path))?;
    }
    Ok(())
}

fn descriptor<'a>(object: &'a Object, name: &'static str) -> Result<BorrowedFd<'a>, Error> {
    object.program(name).ok_or(Error::NoProgram { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hooks_label_is_anothers_with_the_dash() {
        for hook in HOOKS {
            for other in HOOKS {
                let name = link_name(other.label(), "x");
                let found = name
                    .strip_prefix(hook.label())
                    .is_some_and(|rest| rest.starts_with('-'));
                assert_eq!(found, hook == other);
            }
        }
    }
}
