//! One peer of an instance: whom to talk to, and how.

use std::net::IpAddr;
use std::time::Duration;

use api::node_config::Peer;
use api::peer_config::{CiliumBGPPeerConfig, PeerConfigSpec};

use super::instance::Context;
use super::{IpFamily, PeerPlan, advertise};
use crate::rejected::{Reason, Unsupported};

/// Plans one peer. An error means no session; what `reject` is told costs only the part it names.
///
/// A peer without `peerConfigRef` gets every default and announces nothing; one whose reference leads nowhere
/// gets no session (Cilium does both).
pub(super) fn plan(
    context: &Context<'_>,
    wanted: &Peer,
    reject: &mut impl FnMut(Reason),
) -> Result<PeerPlan, Reason> {
    let address = address(wanted)?;
    let config = peer_config(context, wanted)?;
    let default = PeerConfigSpec::default();
    let (name, spec) = config.map_or(("", &default), |config| {
        (
            config.metadata.name.as_deref().unwrap_or_default(),
            &config.spec,
        )
    });
    if spec
        .auth_secret_ref
        .as_deref()
        .is_some_and(|secret| !secret.is_empty())
    {
        return Err(Reason::Unsupported(Unsupported::AuthSecret));
    }
    let families = families(spec, reject);
    let announce = advertise::plan(context, name, spec, &families, reject);
    Ok(PeerPlan {
        address,
        port: spec.peer_port(),
        asn: Some(wanted.peer_asn()).filter(|asn| *asn != 0),
        local_address: local_address(context, wanted, spec, address)?,
        hold_time: seconds(spec.hold_time()),
        keepalive: seconds(spec.keep_alive_time()),
        connect_retry: spec.connect_retry_time(),
        ebgp_ttl: spec.ebgp_multihop(),
        graceful_restart: spec.restart_time().map(seconds),
        families,
        announce,
    })
}

/// Whole seconds of a time that its field keeps within 16 bits.
fn seconds(time: Duration) -> u16 {
    u16::try_from(time.as_secs()).unwrap_or(u16::MAX)
}

fn address(wanted: &Peer) -> Result<IpAddr, Reason> {
    let Some(text) = wanted.peer_address.as_deref() else {
        return Err(match wanted.auto_discovery {
            Some(_) => Reason::Unsupported(Unsupported::AutoDiscovery),
            None => Reason::PeerAddressMissing,
        });
    };
    text.trim()
        .parse()
        .map_err(|_| Reason::PeerAddressInvalid(text.to_owned()))
}

fn peer_config<'a>(
    context: &Context<'a>,
    wanted: &Peer,
) -> Result<Option<&'a CiliumBGPPeerConfig>, Reason> {
    let name = wanted
        .peer_config_ref
        .as_ref()
        .map(|reference| reference.name.as_str())
        .unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let found = context.peer_configs.get(name).map(AsRef::as_ref);
    found
        .map(Some)
        .ok_or_else(|| Reason::PeerConfigMissing(name.to_owned()))
}

/// The override's address, else the source interface's, else none: the kernel chooses.
fn local_address(
    context: &Context<'_>,
    wanted: &Peer,
    spec: &PeerConfigSpec,
    remote: IpAddr,
) -> Result<Option<IpAddr>, Reason> {
    if let Some(text) = wanted.local_address.as_deref() {
        let parsed = text
            .trim()
            .parse::<IpAddr>()
            .ok()
            .filter(|address| address.is_ipv4() == remote.is_ipv4());
        return parsed
            .map(Some)
            .ok_or_else(|| Reason::LocalAddressInvalid(text.to_owned()));
    }
    let Some(interface) = spec.source_interface() else {
        return Ok(None);
    };
    let addresses = context
        .interfaces
        .get(interface)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let usable: Vec<_> = addresses
        .iter()
        .filter(|address| address.is_ipv4() == remote.is_ipv4())
        .collect();
    match usable.as_slice() {
        [address] => Ok(Some(**address)),
        _ => Err(Reason::SourceInterface {
            interface: interface.to_owned(),
            found: usable.len(),
        }),
    }
}

/// Families in the PeerConfig's order without repetition. Others than IPv4 and IPv6 unicast are refused one by
/// one: nothing could be announced in them.
fn families(spec: &PeerConfigSpec, reject: &mut impl FnMut(Reason)) -> Vec<IpFamily> {
    let mut families = Vec::new();
    for wanted in spec.effective_families() {
        let (afi, safi) = (wanted.afi, wanted.safi);
        let Some(family) = IpFamily::unicast(afi, safi) else {
            reject(Reason::FamilyUnsupported(format!(
                "{}/{}",
                afi.as_str(),
                safi.as_str()
            )));
            continue;
        };
        if !families.contains(&family) {
            families.push(family);
        }
    }
    families
}
