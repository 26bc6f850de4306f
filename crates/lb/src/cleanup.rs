//! Taking away what is ours, and nothing else.

use std::path::Path;

use crate::error::Error;
use crate::pins::Pins;

/// What [`cleanup()`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cleaned {
    /// Links removed: programs detached from interfaces and from sockets.
    pub links: usize,
    /// Maps removed.
    pub maps: usize,
}

/// Detaches the programs and removes the maps that are pinned below this folder, of whatever version, and the folder if nothing of somebody
/// else's is in it. Flows that went by way of the load balancer break. Doing it twice does no harm.
///
/// # Errors
/// [`Error::InUse`] while a [`crate::LoadBalancer`] is there, who would put it all back; [`Error::Pin`] with what cannot be read or removed.
pub fn cleanup(pin_root: &Path) -> Result<Cleaned, Error> {
    let pins = Pins::new(pin_root);
    if !pin_root.exists() {
        return Ok(Cleaned::default());
    }
    let _lock = pins.lock()?;
    let removed = pins.remove_all()?;
    Ok(Cleaned {
        links: removed.links,
        maps: removed.maps,
    })
}
