//! Why a wish is not fulfilled: `Rejected` where an object says what cannot be, `Withheld` where it has to wait.

use std::fmt;

use api::InvalidSelector;
use ipnet::IpNet;

/// Type of the condition that names, at an object whose status the operator writes, what of it is not carried out. Cilium
/// has none for these cases. It is `True` while there is something to name and absent otherwise, so that a healthy object
/// has Cilium's conditions and no other. Its reason is that of the first entry; its message has one sentence per entry.
pub const CONDITION: &str = "tombolo.io/Rejected";

/// A part of a node's configuration that cannot be carried out as written. It costs the named part only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejected {
    /// BGP instance the part belongs to; `None` where the reason names an object that no instance has to itself.
    pub instance: Option<String>,
    /// Peer within the instance, where the reason concerns one.
    pub peer: Option<String>,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a part of a node's BGP configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Reason {
    /// Neither the ClusterConfig nor an override gives a local ASN.
    #[error("localASN is missing: set it in the CiliumBGPClusterConfig or in the node's override")]
    LocalAsnMissing,
    /// Router-ID mode `ip-pool`, and the operator has written no router ID.
    #[error("no router ID: the router-ID pool has given this node none")]
    RouterIdMissing,
    /// Router ID that no BGP speaker may use.
    #[error("router ID {0} is not usable: it must be an IPv4 address other than 0.0.0.0")]
    RouterIdInvalid(String),
    /// The node has no address to take a router ID from.
    #[error(
        "no router ID: the node has no InternalIP; set routerID in a CiliumBGPNodeConfigOverride"
    )]
    NodeWithoutAddress,
    /// localPort outside the port range.
    #[error("localPort {0} is not a port")]
    LocalPortInvalid(u16),
    /// Two instances want to listen on one port.
    #[error("localPort {0} is already taken by another BGP instance of this node")]
    LocalPortTaken(u16),
    /// The referenced CiliumBGPPeerConfig does not exist.
    #[error("CiliumBGPPeerConfig {0:?} does not exist")]
    PeerConfigMissing(String),
    /// The peer has no address.
    #[error("peerAddress is missing")]
    PeerAddressMissing,
    /// The peer's address is no IP address.
    #[error("peerAddress {0:?} is not an IP address")]
    PeerAddressInvalid(String),
    /// Another peer of the instance already has the address.
    #[error("peerAddress {0} is already used by another peer of the instance")]
    PeerAddressTaken(std::net::IpAddr),
    /// localAddress is no IP address, or of another family than the peer's.
    #[error("localAddress {0:?} is not an address of the peer's family")]
    LocalAddressInvalid(String),
    /// The source interface has not exactly one usable address of the peer's family.
    #[error(
        "sourceInterface {interface:?} has {found} usable addresses of the peer's family, exactly one is needed"
    )]
    SourceInterface {
        /// Device name.
        interface: String,
        /// How many usable addresses it has.
        found: usize,
    },
    /// A feature of the manifest that this version does not carry out.
    #[error("{0} is not supported by this version of Tombolo")]
    Unsupported(Unsupported),
    /// A family other than IPv4 or IPv6 unicast.
    #[error("address family {0} is not supported; the session is made without it")]
    FamilyUnsupported(String),
    /// An advertisement's label selector cannot be evaluated.
    #[error(
        "the advertisements selector of family {family} in CiliumBGPPeerConfig {peer_config:?} is invalid: {problem}"
    )]
    SelectorInvalid {
        /// Family it belongs to.
        family: String,
        /// Object it stands in.
        peer_config: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The selector of an advertisement entry cannot be evaluated.
    #[error("CiliumBGPAdvertisement {advertisement:?}: the selector is invalid: {problem}")]
    AdvertisementSelectorInvalid {
        /// Object it stands in.
        advertisement: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A community that is no community.
    #[error("CiliumBGPAdvertisement {advertisement:?}: community {community:?} is malformed")]
    CommunityInvalid {
        /// Object it stands in.
        advertisement: String,
        /// The text.
        community: String,
    },
    /// A local preference that does not fit 32 bits.
    #[error("CiliumBGPAdvertisement {advertisement:?}: localPreference {value} is out of range")]
    LocalPreferenceInvalid {
        /// Object it stands in.
        advertisement: String,
        /// The value.
        value: i64,
    },
    /// A BGPRouteImport that cannot be carried out. None of its routes is installed.
    #[error("BGPRouteImport {import:?}: {problem}")]
    RouteImportInvalid {
        /// Its name.
        import: String,
        /// What is wrong with it.
        problem: ImportProblem,
    },
}

/// What is wrong with a BGPRouteImport. All but the first is refused by the schema already.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum ImportProblem {
    /// The node selector is admitted by the schema and means nothing.
    #[error("spec.nodeSelector is invalid: {0}")]
    NodeSelector(#[from] InvalidSelector),
    /// A rule.
    #[error("spec.rules[{index}]: {problem}")]
    Rule {
        /// Its place.
        index: usize,
        /// What is wrong with it.
        problem: RuleProblem,
    },
    /// A table of the kernel's.
    #[error("spec.table: table {0} is not for learned routes")]
    Table(u32),
    /// A protocol number of somebody else's.
    #[error("spec.protocol: the number {0} belongs to others")]
    Protocol(u8),
    /// Metric 0, which IPv6 has not.
    #[error("spec.metric must not be 0")]
    Metric,
    /// No next hop at all.
    #[error("spec.maximumPaths must not be 0")]
    MaximumPaths,
}

/// What is wrong with a rule of a BGPRouteImport.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum RuleProblem {
    /// The prefix is none.
    #[error("cidr {0:?} is not a prefix")]
    Cidr(String),
    /// The prefix says more than its length.
    #[error("cidr {0} has bits set behind its length")]
    BitsBehind(IpNet),
    /// No prefix has such a length, or none both.
    #[error("no prefix in {prefix} has a length from {min_length} to {max_length}")]
    Lengths {
        /// The prefix of the rule.
        prefix: IpNet,
        /// Least length.
        min_length: u8,
        /// Greatest length.
        max_length: u8,
    },
}

/// Fields of Cilium's manifests that this version reads but does not carry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unsupported {
    /// `autoDiscovery` of a peer.
    AutoDiscovery,
    /// `authSecretRef` of a peer configuration: the session is not attempted without its password.
    AuthSecret,
    /// Advertisement type `Interface`.
    InterfaceAdvertisement,
    /// Advertisement type `CiliumPodIPPool`.
    PodIpPoolAdvertisement,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::AutoDiscovery => "autoDiscovery",
            Self::AuthSecret => "authSecretRef",
            Self::InterfaceAdvertisement => "advertisementType Interface",
            Self::PodIpPoolAdvertisement => "advertisementType CiliumPodIPPool",
        })
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(instance) = &self.instance {
            write!(formatter, "{instance}: ")?;
        }
        if let Some(peer) = &self.peer {
            write!(formatter, "peer {peer}: ")?;
        }
        write!(formatter, "{}", self.reason)
    }
}
