//! Links: programs at interfaces and at sockets, pinned so that they outlive the process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use lb_abi::program;
use nix::libc::ENODEV;

use crate::bpf::{
    self, CGROUP_ATTACH_TYPES, Link, LinkTarget, TCX_EGRESS, TCX_INGRESS, attach_cgroup,
    attach_tcx, link_target, replace_program,
};
use crate::cgroup::Cgroup;
use crate::error::{Errno, Error};
use crate::interfaces::Role;
use crate::netlink::Requests;
use crate::object::Object;
use crate::pins::{Pins, at, link_name, remove_link, unpin};
use crate::report::Attachment;
use crate::stopgap;

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
    /// What goes out comes first: where a request is translated, the answer must be.
    fn of(role: Role) -> [Self; 2] {
        match role {
            Role::Uplink => [Self::UplinkOut, Self::UplinkIn],
            Role::Pod => [Self::PodOut, Self::PodIn],
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

/// For how long links are made before something else has its turn. One more is always made.
const TURN: Duration = Duration::from_millis(10);
/// Where so many pods wait for links, filters stand in. The links of fewer are there within a fifth of a second, and an interface may lose
/// a packet when its filters go.
const MANY: usize = 8;
/// Links that filters stand in for are made when nothing has been heard of interfaces for so long: while one is made, nobody can make an
/// interface.
const CALM: Duration = Duration::from_millis(100);
/// They wait no longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// The links at interfaces.
///
/// A link takes a grace period of the kernel. So they are made some at a time, uplinks first, and where many pods wait, filters stand in until
/// it is calm.
#[derive(Debug)]
pub(crate) struct Links {
    pins: Pins,
    present: BTreeMap<(u32, Hook), Pinned>,
    /// Interfaces of pods with filters, and since when.
    stopgaps: BTreeMap<u32, Instant>,
    wanted: BTreeMap<u32, Wanted>,
    /// What the kernel said of interfaces that it refused.
    refused: BTreeMap<u32, Errno>,
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
        requests: &mut Requests,
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
        let now = Instant::now();
        let stopgaps = stopgap::find(requests)?.into_iter();
        Ok(Self {
            pins: pins.clone(),
            present,
            stopgaps: stopgaps.map(|index| (index, now)).collect(),
            wanted: BTreeMap::new(),
            refused: BTreeMap::new(),
        })
    }

    /// Begins to make the links those that are wanted, by index of the interface. [`Self::proceed`] goes on with it. What the kernel refused
    /// is tried again.
    pub(crate) fn settle(
        &mut self,
        object: &Object,
        requests: &mut Requests,
        wanted: BTreeMap<u32, Wanted>,
    ) -> Result<(), Error> {
        self.refused.clear();
        self.remove_unwanted(requests, &wanted)?;
        self.rename(&wanted)?;
        self.wanted = wanted;
        self.stand_in(object, requests);
        self.proceed(object, requests, Instant::now());
        Ok(())
    }

    /// Makes some of the links that are missing; those that filters stand in for only where nothing was heard of interfaces since `heard` and it
    /// is calm. An interface that has gone meanwhile is left out.
    pub(crate) fn proceed(&mut self, object: &Object, requests: &mut Requests, heard: Instant) {
        let begin = Instant::now();
        let is_calm = self.calm_at(heard) <= begin;
        while let Some((index, name, role)) = self.next_turn(is_calm) {
            let mut hooks = Hook::of(role).into_iter();
            match hooks.try_for_each(|hook| self.attach(object, index, hook, &name)) {
                Ok(()) => self.end_stopgap(requests, index),
                Err(Errno(ENODEV)) => {
                    self.wanted.remove(&index);
                    self.end_stopgap(requests, index);
                }
                Err(errno) => {
                    self.refused.insert(index, errno);
                }
            }
            if begin.elapsed() >= TURN {
                break;
            }
        }
    }

    /// Whether nothing is left to be done.
    pub(crate) fn is_complete(&self) -> bool {
        self.next_turn(true).is_none()
    }

    /// When to go on, where something of interfaces was last heard at `heard`.
    pub(crate) fn due(&self, now: Instant, heard: Instant) -> Option<Instant> {
        if self.next_turn(false).is_some() {
            return Some(now);
        }
        (!self.is_complete()).then(|| self.calm_at(heard))
    }

    fn calm_at(&self, heard: Instant) -> Instant {
        let calm = heard + CALM;
        let oldest = self.stopgaps.values().min();
        oldest.map_or(calm, |since| calm.min(*since + PATIENCE))
    }

    /// Whether programs run wherever they are wanted.
    pub(crate) fn is_covered(&self) -> bool {
        let mut wanted = self.wanted.iter();
        wanted.all(|(index, wanted)| self.has(*index, wanted.role))
    }

    /// Interfaces with what is attached there. Those whose turn has yet to come are left out.
    pub(crate) fn attachments(&self) -> BTreeMap<String, Attachment> {
        let attached = self.wanted.iter().filter_map(|(index, wanted)| {
            let attachment = match (self.refused.get(index), wanted.role) {
                (Some(errno), _) => Attachment::Refused(errno.to_string()),
                (None, _) if !self.has(*index, wanted.role) => return None,
                (None, Role::Uplink) => Attachment::Uplink,
                (None, Role::Pod) => Attachment::Pod,
            };
            Some((wanted.name.clone(), attachment))
        });
        attached.collect()
    }

    /// Whether the kernel refused an interface its programs.
    pub(crate) fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Whether programs run at the interface.
    fn has(&self, index: u32, role: Role) -> bool {
        self.stopgaps.contains_key(&index) || self.has_links(index, role)
    }

    fn has_links(&self, index: u32, role: Role) -> bool {
        let mut hooks = Hook::of(role).into_iter();
        hooks.all(|hook| self.present.contains_key(&(index, hook)))
    }

    /// Interfaces that lack a link and were not refused one.
    fn missing(&self) -> impl Iterator<Item = (u32, &Wanted)> {
        let wanted = self.wanted.iter().map(|(index, wanted)| (*index, wanted));
        wanted.filter(|(index, wanted)| {
            !self.refused.contains_key(index) && !self.has_links(*index, wanted.role)
        })
    }

    /// The interface whose turn it is: uplinks first, then those without a filter.
    fn next_turn(&self, is_calm: bool) -> Option<(u32, String, Role)> {
        let has_filter = |index: &u32| self.stopgaps.contains_key(index);
        let (index, wanted) = self
            .missing()
            .filter(|(index, _)| is_calm || !has_filter(index))
            .min_by_key(|(index, wanted)| (wanted.role, has_filter(index), *index))?;
        Some((index, wanted.name.clone(), wanted.role))
    }

    /// Puts filters at the interfaces of pods if many wait. Where the kernel refuses, the link is waited for.
    fn stand_in(&mut self, object: &Object, requests: &mut Requests) {
        let pods = self
            .missing()
            .filter(|(_, wanted)| wanted.role == Role::Pod);
        let waiting: Vec<u32> = pods.map(|(index, _)| index).collect();
        if waiting.len() < MANY {
            return;
        }
        for index in waiting {
            if !self.stopgaps.contains_key(&index)
                && let Ok(true) = stopgap::place(requests, index, |name| object.program(name))
            {
                self.stopgaps.insert(index, Instant::now());
            }
        }
    }

    /// What cannot be removed now is found at the next start.
    fn end_stopgap(&mut self, requests: &mut Requests, index: u32) {
        if self.stopgaps.remove(&index).is_some() {
            let _ = stopgap::remove(requests, index);
        }
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
    fn remove_unwanted(
        &mut self,
        requests: &mut Requests,
        wanted: &BTreeMap<u32, Wanted>,
    ) -> Result<(), Error> {
        let is_pod = |index: &u32| wanted.get(index).is_some_and(|it| it.role == Role::Pod);
        for index in self.stopgaps.keys().copied().collect::<Vec<_>>() {
            // Those of an earlier run have its programs, and go as soon as there are links.
            let has_links = self.has_links(index, Role::Pod);
            if !is_pod(&index) || has_links {
                self.end_stopgap(requests, index);
            }
        }
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
