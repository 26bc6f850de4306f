//! Capabilities (RFC 5492): what each side of a session can do.

use bytes::{BufMut, Bytes, BytesMut};

use super::error::DecodeError;
use super::iana::CapabilityCode;
use crate::family::{Afi, Family};

/// What one side offers. Order of families is kept; a capability given several times counts as RFC 5492 section 4 and
/// its own document say (families add up, else the last one counts).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Multiprotocol families (RFC 4760); see [`Capabilities::families`] for what none means.
    pub multiprotocol: Vec<Family>,
    /// ROUTE-REFRESH may be sent to this side (RFC 2918).
    pub route_refresh: bool,
    /// Refreshes are delimited (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// Takes messages up to 65535 octets (RFC 8654).
    pub extended_message: bool,
    /// The AS number, in four octets (RFC 6793).
    pub four_octet_asn: Option<u32>,
    /// Families whose next hop may be of another address family (RFC 8950).
    pub extended_next_hop: Vec<(Family, Afi)>,
    /// Graceful restart (RFC 4724).
    pub graceful_restart: Option<GracefulRestartCapability>,
    /// Who this is (draft-walton-bgp-hostname-capability).
    pub host_name: Option<HostName>,
    /// What this runs (draft-ietf-idr-bgp-version-capability), at most 255 octets.
    pub software_version: Option<String>,
    /// What we know nothing of, by code, as received.
    pub unknown: Vec<(u8, Bytes)>,
}

/// Graceful restart as announced in OPEN (RFC 4724 section 3, RFC 8538 section 2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GracefulRestartCapability {
    /// R: this side just restarted.
    pub restarting: bool,
    /// N: routes are kept over NOTIFICATION and hold time too.
    pub notification: bool,
    /// Seconds its routes should be kept, 0..=4095.
    pub restart_time: u16,
    /// Families, each with whether forwarding state was preserved (F).
    pub families: Vec<(Family, bool)>,
}

/// Name of a speaker, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostName {
    /// Host name, at most 64 octets by the draft.
    pub host: String,
    /// Domain name; may be empty.
    pub domain: String,
}

const RESTARTING: u16 = 0x8000;
const NOTIFICATION: u16 = 0x4000;
const RESTART_TIME: u16 = 0x0FFF;
const FORWARDING: u8 = 0x80;

impl Capabilities {
    /// The families this side speaks: what it lists, or IPv4 unicast when it lists none (RFC 4760 section 8).
    #[must_use]
    pub fn families(&self) -> &[Family] {
        if self.multiprotocol.is_empty() {
            &[Family::IPV4_UNICAST]
        } else {
            &self.multiprotocol
        }
    }

    /// Reads the capabilities of one optional parameter and adds them.
    ///
    /// # Errors
    /// [`DecodeError::MalformedParameters`] when lengths do not fit, [`DecodeError::MalformedCapability`] when a
    /// capability that decides about the session has a length it cannot have. Capabilities that only inform are
    /// dropped instead.
    pub fn read(&mut self, mut parameter: &[u8]) -> Result<(), DecodeError> {
        while let Some((&[code, length], rest)) = parameter.split_first_chunk::<2>() {
            let (value, rest) = rest
                .split_at_checked(usize::from(length))
                .ok_or(DecodeError::MalformedParameters)?;
            self.read_one(code, value)?;
            parameter = rest;
        }
        if parameter.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::MalformedParameters)
        }
    }

    fn read_one(&mut self, code: u8, value: &[u8]) -> Result<(), DecodeError> {
        let malformed = DecodeError::MalformedCapability(code);
        let Some(known) = CapabilityCode::from_number(code) else {
            self.unknown.push((code, Bytes::copy_from_slice(value)));
            return Ok(());
        };
        match (known, value) {
            (CapabilityCode::Multiprotocol, &[high, low, _reserved, safi]) => {
                let family = Family {
                    afi: u16::from_be_bytes([high, low]).into(),
                    safi: safi.into(),
                };
                if !self.multiprotocol.contains(&family) {
                    self.multiprotocol.push(family);
                }
            }
            (CapabilityCode::RouteRefresh, []) => self.route_refresh = true,
            (CapabilityCode::EnhancedRouteRefresh, []) => self.enhanced_route_refresh = true,
            (CapabilityCode::ExtendedMessage, []) => self.extended_message = true,
            (CapabilityCode::FourOctetAsNumber, &[a, b, c, d]) => {
                self.four_octet_asn = Some(u32::from_be_bytes([a, b, c, d]));
            }
            (CapabilityCode::ExtendedNextHop, value) => {
                self.read_extended_next_hop(value).ok_or(malformed)?;
            }
            (CapabilityCode::GracefulRestart, value) => {
                self.graceful_restart =
                    Some(GracefulRestartCapability::decode(value).ok_or(malformed)?);
            }
            (CapabilityCode::Fqdn, value) => self.host_name = HostName::decode(value),
            (CapabilityCode::SoftwareVersion, value) => {
                self.software_version = text(value).map(|(text, _)| text);
            }
            (
                CapabilityCode::Multiprotocol
                | CapabilityCode::RouteRefresh
                | CapabilityCode::EnhancedRouteRefresh
                | CapabilityCode::ExtendedMessage
                | CapabilityCode::FourOctetAsNumber,
                _,
            ) => return Err(malformed),
        }
        Ok(())
    }

    /// RFC 8950 section 4: triples of AFI, SAFI in two octets, and the AFI of the next hop.
    fn read_extended_next_hop(&mut self, value: &[u8]) -> Option<()> {
        let (triples, []) = value.as_chunks::<6>() else {
            return None;
        };
        for &[
            afi_high,
            afi_low,
            safi_high,
            safi_low,
            next_hop_high,
            next_hop_low,
        ] in triples
        {
            let Ok(safi) = u8::try_from(u16::from_be_bytes([safi_high, safi_low])) else {
                continue;
            };
            let family = Family {
                afi: u16::from_be_bytes([afi_high, afi_low]).into(),
                safi: safi.into(),
            };
            let entry = (
                family,
                Afi::from(u16::from_be_bytes([next_hop_high, next_hop_low])),
            );
            if !self.extended_next_hop.contains(&entry) {
                self.extended_next_hop.push(entry);
            }
        }
        Some(())
    }

    /// The capabilities as they stand in an OPEN, one after the other, each at most 257 octets: the value of one
    /// optional parameter. What does not fit 255 octets is cut (names) or left out (families beyond).
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Self {
            multiprotocol,
            route_refresh,
            enhanced_route_refresh,
            extended_message,
            four_octet_asn,
            extended_next_hop,
            graceful_restart,
            host_name,
            software_version,
            unknown,
        } = self;
        let mut out = BytesMut::with_capacity(128);
        for family in multiprotocol {
            capability(&mut out, CapabilityCode::Multiprotocol.number(), |out| {
                out.put_u16(family.afi.into());
                out.put_u8(0);
                out.put_u8(family.safi.into());
            });
        }
        for (offered, code) in [
            (route_refresh, CapabilityCode::RouteRefresh),
            (enhanced_route_refresh, CapabilityCode::EnhancedRouteRefresh),
            (extended_message, CapabilityCode::ExtendedMessage),
        ] {
            if *offered {
                capability(&mut out, code.number(), |_| {});
            }
        }
        if let Some(asn) = four_octet_asn {
            capability(
                &mut out,
                CapabilityCode::FourOctetAsNumber.number(),
                |out| out.put_u32(*asn),
            );
        }
        if !extended_next_hop.is_empty() {
            capability(&mut out, CapabilityCode::ExtendedNextHop.number(), |out| {
                for (family, afi) in extended_next_hop.iter().take(usize::from(u8::MAX) / 6) {
                    out.put_u16(family.afi.into());
                    out.put_u16(u16::from(u8::from(family.safi)));
                    out.put_u16((*afi).into());
                }
            });
        }
        if let Some(graceful_restart) = graceful_restart {
            capability(&mut out, CapabilityCode::GracefulRestart.number(), |out| {
                graceful_restart.encode(out);
            });
        }
        if let Some(HostName { host, domain }) = host_name {
            capability(&mut out, CapabilityCode::Fqdn.number(), |out| {
                let host = put_text(out, host, usize::from(u8::MAX) - 2);
                put_text(out, domain, usize::from(u8::MAX) - 2 - host);
            });
        }
        if let Some(version) = software_version {
            capability(&mut out, CapabilityCode::SoftwareVersion.number(), |out| {
                put_text(out, version, usize::from(u8::MAX) - 1);
            });
        }
        for (code, value) in unknown {
            capability(&mut out, *code, |out| {
                out.put_slice(&value[..value.len().min(usize::from(u8::MAX))]);
            });
        }
        out.freeze()
    }
}

impl GracefulRestartCapability {
    fn decode(value: &[u8]) -> Option<Self> {
        let (&[high, low], rest) = value.split_first_chunk::<2>()?;
        let (entries, []) = rest.as_chunks::<4>() else {
            return None;
        };
        let head = u16::from_be_bytes([high, low]);
        let families = entries
            .iter()
            .map(|&[afi_high, afi_low, safi, flags]| {
                let family = Family {
                    afi: u16::from_be_bytes([afi_high, afi_low]).into(),
                    safi: safi.into(),
                };
                (family, flags & FORWARDING != 0)
            })
            .collect();
        Some(Self {
            restarting: head & RESTARTING != 0,
            notification: head & NOTIFICATION != 0,
            restart_time: head & RESTART_TIME,
            families,
        })
    }

    fn encode(&self, out: &mut BytesMut) {
        let flags = if self.restarting { RESTARTING } else { 0 }
            | if self.notification { NOTIFICATION } else { 0 };
        out.put_u16(flags | self.restart_time.min(RESTART_TIME));
        for (family, forwarding) in self.families.iter().take((usize::from(u8::MAX) - 2) / 4) {
            out.put_u16(family.afi.into());
            out.put_u8(family.safi.into());
            out.put_u8(if *forwarding { FORWARDING } else { 0 });
        }
    }
}

impl HostName {
    fn decode(value: &[u8]) -> Option<Self> {
        let (host, rest) = text(value)?;
        let (domain, _) = text(rest)?;
        Some(Self { host, domain })
    }
}

/// A length octet and as much text; what is not UTF-8 is replaced.
fn text(value: &[u8]) -> Option<(String, &[u8])> {
    let (&length, rest) = value.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(length))?;
    Some((String::from_utf8_lossy(text).into_owned(), rest))
}

/// Appends a length octet and the text, cut at a character to `limit` octets; gives the octets of text.
fn put_text(out: &mut BytesMut, text: &str, limit: usize) -> usize {
    let end = text.floor_char_boundary(limit.min(usize::from(u8::MAX)));
    out.put_u8(u8::try_from(end).unwrap_or(u8::MAX));
    out.put_slice(&text.as_bytes()[..end]);
    end
}

/// Appends one capability; `value` must append at most 255 octets.
fn capability(out: &mut BytesMut, code: u8, value: impl FnOnce(&mut BytesMut)) {
    out.put_u8(code);
    let at = out.len();
    out.put_u8(0);
    value(out);
    out[at] = u8::try_from(out.len() - at - 1).unwrap_or(u8::MAX);
}
