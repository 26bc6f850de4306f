//! Taking away what is ours, and nothing else.

use std::path::Path;

use crate::error::Error;
use crate::netlink::Requests;
use crate::pins::Pins;
use crate::stopgap;

/// What [`cleanup()`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cleaned {
    /// Links removed: programs detached from interfaces and from sockets.
    pub links: usize,
    /// Maps removed.
    pub maps: usize,
}

/// Detaches the programs and removes the maps that are pinned below this folder, of whatever version, and the folder if nothing of somebody
/// else's is in it. Flows that went by way of the load balancer break, all in one moment. Doing it twice does no harm.
///
/// From interfaces of pods the kernel takes the programs in its own time, some 8 ms for each, while nothing finds anything to do for them
/// any more; to wait for it would take a second where there are many pods.
///
/// # Errors
/// [`Error::InUse`] while a [`crate::LoadBalancer`] is there, who would put it all back; [`Error::Pin`] with what cannot be read or removed;
/// [`Error::Receive`] and the like where the kernel cannot be asked for interfaces.
pub fn cleanup(pin_root: &Path) -> Result<Cleaned, Error> {
    let pins = Pins::new(pin_root);
    if !pin_root.exists() {
        return Ok(Cleaned::default());
    }
    let _lock = pins.lock()?;
    pins.switch_off();
    let mut requests = Requests::open()?;
    for interface in stopgap::find(&mut requests)? {
        stopgap::remove(&mut requests, interface).map_err(Error::Receive)?;
    }
    let removed = pins.remove_all()?;
    Ok(Cleaned {
        links: removed.links,
        maps: removed.maps,
    })
}
