//! All that is in the kernel, and the way there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Instant;

use lb_abi::NodeAddressKind;

use crate::attach::{Links, Wanted, attach_sockets, detach_sockets};
use crate::capabilities;
use crate::cgroup;
use crate::configuration::{Host, configuration};
use crate::error::{Errno, Error};
use crate::interfaces::{Interfaces, Role, role};
use crate::maps::Maps;
use crate::netlink::Requests;
use crate::object::{self, Object};
use crate::op::{Capacity, Contents};
use crate::options::{Options, Uplinks};
use crate::pins::{Adoption, Lock, Pins};
use crate::report::{Attachment, Sockets};
use crate::settings::Settings;

/// Programs, maps and links.
pub(crate) struct Kernel {
    object: Object,
    pins: Pins,
    _lock: Lock,
    adoption: Adoption,
    requests: Requests,
    interfaces: Interfaces,
    node_addresses: BTreeSet<IpAddr>,
    host: Host,
    uplinks: Uplinks,
    pod_interfaces: Vec<String>,
    /// `None`: sockets are not translated.
    sockets: Option<CgroupChoice>,
    settings: Settings,
    /// What is attached. `None` until programs may be.
    attached: Option<Attached>,
}

/// The control group that was named, or the top of the hierarchy.
struct CgroupChoice(Option<PathBuf>);

struct Attached {
    links: Links,
    sockets: Sockets,
    /// All links were there once, and what other versions left is gone.
    is_sole: bool,
}

impl Kernel {
    /// Loads the programs on the maps that are there, or on new ones. Programs that an earlier run attached stay what they are.
    pub(crate) fn open(options: Options, capacity: &Capacity) -> Result<(Self, Contents), Error> {
        let Options {
            pin_root,
            cgroup,
            sockets,
            uplinks,
            pod_interfaces,
            settings,
            memory: _,
        } = options;
        capabilities::check()?;
        let host = Host::survey()?;
        let pins = Pins::new(&pin_root);
        pins.create()?;
        let lock = pins.lock()?;
        let adoption = pins.check_maps(&object::shapes()?)?;
        let object = Object::load_with(capacity, Some(&pins.maps()))?;
        let contents = object.maps().contents()?;
        let node_addresses = local_addresses(&contents);
        let kernel = Self {
            object,
            pins,
            _lock: lock,
            adoption,
            requests: Requests::open()?,
            interfaces: Interfaces::new(),
            node_addresses,
            host,
            uplinks,
            pod_interfaces,
            sockets: sockets.then_some(CgroupChoice(cgroup)),
            settings,
            attached: None,
        };
        Ok((kernel, contents))
    }

    pub(crate) fn maps(&self) -> &Maps {
        self.object.maps()
    }

    pub(crate) fn adoption(&self) -> Adoption {
        self.adoption
    }

    /// Takes the node's addresses from a wish. Says whether they are others than before.
    pub(crate) fn set_node_addresses(&mut self, addresses: &BTreeSet<IpAddr>) -> bool {
        let changed = self.node_addresses != *addresses;
        if changed {
            self.node_addresses.clone_from(addresses);
        }
        changed
    }

    /// Writes the configuration if it is not what it should be.
    pub(crate) fn configure(&self) {
        let wanted = configuration(&self.settings, &self.host, &self.node_addresses);
        let is_different = self.maps().config().is_none_or(|config| {
            let wanted = lb_abi::Config {
                epoch: config.epoch,
                ..wanted
            };
            config != wanted
        });
        if is_different {
            self.maps().configure(&wanted);
        }
    }

    /// Looks at the interfaces anew. Says whether there is any change.
    pub(crate) fn survey(&mut self) -> Result<bool, Error> {
        let interfaces = self.requests.interfaces()?;
        let changed = interfaces != self.interfaces;
        self.interfaces = interfaces;
        Ok(changed)
    }

    /// Attaches the programs, or puts them in the place of an earlier run's, at the interfaces of the last survey and at sockets; then removes what
    /// other versions left. [`Self::proceed`] goes on with what takes longer.
    pub(crate) fn attach(&mut self) -> Result<(), Error> {
        if self.attached.is_some() {
            return self.settle();
        }
        let indices = self.interfaces.keys().copied();
        self.attached = Some(Attached {
            links: Links::adopt(&self.pins, &self.object, &mut self.requests, indices)?,
            sockets: Sockets::Off,
            is_sole: false,
        });
        self.settle()
    }

    /// Makes what is attached what the last survey says it should be, and tries again what was refused. Nothing before [`Self::attach`].
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        let wanted = self.wanted();
        let Some(attached) = &mut self.attached else {
            return Ok(());
        };
        let links = &mut attached.links;
        links.settle(&self.object, &mut self.requests, wanted)?;
        if attached.sockets != Sockets::Translated {
            attached.sockets = match &self.sockets {
                Some(CgroupChoice(path)) => cgroup::open(path.as_deref())
                    .map_err(Error::Cgroup)
                    .and_then(|cgroup| attach_sockets(&self.pins, &self.object, &cgroup))
                    .map_or_else(|error| refusal(&error), |()| Sockets::Translated),
                None => {
                    detach_sockets(&self.pins)?;
                    Sockets::Off
                }
            };
        }
        self.end_pass()
    }

    /// Goes on with links that are missing, when [`Self::links_due`] says.
    pub(crate) fn proceed(&mut self, heard: Instant) -> Result<(), Error> {
        if let Some(attached) = &mut self.attached {
            let links = &mut attached.links;
            links.proceed(&self.object, &mut self.requests, heard);
        }
        self.end_pass()
    }

    fn end_pass(&mut self) -> Result<(), Error> {
        if let Some(attached) = &mut self.attached
            && attached.links.is_complete()
            && !attached.is_sole
        {
            attached.is_sole = true;
            self.pins.remove_other_versions()?;
        }
        Ok(())
    }

    /// When to go on with links that are missing, where something of interfaces was last heard at `heard`.
    pub(crate) fn links_due(&self, now: Instant, heard: Instant) -> Option<Instant> {
        self.attached.as_ref()?.links.due(now, heard)
    }

    fn wanted(&self) -> BTreeMap<u32, Wanted> {
        let interfaces = self.interfaces.iter();
        let wanted = interfaces.filter_map(|(index, interface)| {
            let role: Role = role(
                interface,
                &self.uplinks,
                &self.pod_interfaces,
                &self.node_addresses,
            )?;
            let name = interface.name.clone();
            Some((*index, Wanted { name, role }))
        });
        wanted.collect()
    }

    /// Whether programs run wherever they should.
    pub(crate) fn is_attached(&self) -> bool {
        let attached = self.attached.as_ref();
        attached.is_some_and(|attached| attached.links.is_covered())
    }

    /// Interfaces with what is attached there.
    pub(crate) fn attachments(&self) -> BTreeMap<String, Attachment> {
        let attached = self.attached.as_ref();
        attached.map_or_else(BTreeMap::new, |attached| attached.links.attachments())
    }

    pub(crate) fn sockets(&self) -> Sockets {
        let attached = self.attached.as_ref();
        attached.map_or(Sockets::Off, |attached| attached.sockets.clone())
    }

    /// Whether the kernel refused programs at an interface.
    fn has_refused_interfaces(&self) -> bool {
        self.attached
            .as_ref()
            .is_some_and(|attached| attached.links.has_refused())
    }

    /// Whether something was refused that another attempt may bring.
    pub(crate) fn has_refusals(&self) -> bool {
        self.has_refused_interfaces() || matches!(self.sockets(), Sockets::Refused(_))
    }
}

/// What a report says of sockets that cannot be reached.
fn refusal(error: &Error) -> Sockets {
    let cause = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .map(Errno::of);
    Sockets::Refused(match cause {
        Some(errno) => format!("{error}: {errno}"),
        None => error.to_string(),
    })
}

/// This node's addresses as an earlier run knew them.
fn local_addresses(contents: &Contents) -> BTreeSet<IpAddr> {
    let addresses = contents.node_addresses.iter();
    addresses
        .filter(|(_, kind)| **kind == NodeAddressKind::Local as u32)
        .map(|(octets, _)| IpAddr::from(*octets).to_canonical())
        .collect()
}
