//! What this thread may do.

use std::fmt;
use std::io;

use crate::error::Error;

/// A capability that the load balancer needs (`linux/capability.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// `CAP_NET_ADMIN`.
    NetAdmin,
    /// `CAP_PERFMON`.
    Perfmon,
    /// `CAP_BPF`.
    Bpf,
}

/// Capabilities that are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking(pub Vec<Capability>);

const ALL: [Capability; 3] = [Capability::Bpf, Capability::NetAdmin, Capability::Perfmon];
/// Stands for `CAP_BPF` and `CAP_PERFMON`.
const SYS_ADMIN: u64 = 1 << 21;

impl Capability {
    fn bit(self) -> u64 {
        match self {
            Self::NetAdmin => 1 << 12,
            Self::Perfmon => 1 << 38,
            Self::Bpf => 1 << 39,
        }
    }

    fn purpose(self) -> &'static str {
        match self {
            Self::NetAdmin => "attach programs to interfaces and sockets",
            Self::Perfmon => "have the kernel accept programs that compute with packet addresses",
            Self::Bpf => "make maps and load programs",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        })
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, capability) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "; " };
            let purpose = capability.purpose();
            write!(formatter, "{comma}{capability} is missing, to {purpose}")?;
        }
        Ok(())
    }
}

/// Fails when this thread lacks one of the capabilities.
///
/// # Why
/// The kernel says no more than EPERM, and says so late.
pub(crate) fn check() -> Result<(), Error> {
    let status = std::fs::read_to_string("/proc/thread-self/status");
    let status = status.map_err(Error::Capabilities)?;
    let effective = effective(&status).ok_or(io::ErrorKind::InvalidData);
    let effective = effective.map_err(|kind| Error::Capabilities(kind.into()))?;
    let lacking = lacking(effective);
    if lacking.0.is_empty() {
        Ok(())
    } else {
        Err(Error::NotPermitted(lacking))
    }
}

fn effective(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let set = lines.find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

fn lacking(effective: u64) -> Lacking {
    let has = |capability: &Capability| match capability {
        Capability::NetAdmin => effective & capability.bit() != 0,
        Capability::Perfmon | Capability::Bpf => effective & (capability.bit() | SYS_ADMIN) != 0,
    };
    Lacking(
        ALL.into_iter()
            .filter(|capability| !has(capability))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_capability_is_named_with_its_purpose() {
        for (effective, text) in [
            (u64::MAX, ""),
            (1 << 12 | 1 << 38 | 1 << 39, ""),
            (1 << 12 | 1 << 21, ""),
            (
                1 << 12 | 1 << 38,
                "CAP_BPF is missing, to make maps and load programs",
            ),
            (
                1 << 38 | 1 << 39,
                "CAP_NET_ADMIN is missing, to attach programs to interfaces and sockets",
            ),
            (
                1 << 12 | 1 << 39,
                "CAP_PERFMON is missing, to have the kernel accept programs that compute with packet addresses",
            ),
            (
                1 << 38,
                "CAP_BPF is missing, to make maps and load programs; CAP_NET_ADMIN is missing, to attach programs to interfaces and sockets",
            ),
        ] {
            assert_eq!(lacking(effective).to_string(), text, "{effective:x}");
        }
    }

    #[test]
    fn the_effective_set_is_read_from_the_status() {
        let status = "Name:\tx\nCapPrm:\t000001fffeffffff\nCapEff:\t000000c000001000\n";
        assert_eq!(effective(status), Some(0xc0_0000_1000));
        assert_eq!(effective("Name:\tx\n"), None);
    }
}
