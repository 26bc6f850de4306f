//! The numbers of BGP, from IANA's registries, each with the document that assigned it.

use std::fmt;

/// One octet registry as an enum: number, name and words in one place.
macro_rules! registry {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal, $words:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant = $number,)+ }

        impl $name {
            /// Every value known here, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value a number on the wire stands for, if it is known here.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// The registry's words.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$variant => $words,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.words())
            }
        }
    };
}

registry! {
    /// Message types.
    MessageKind {
        /// RFC 4271 section 4.2.
        Open = 1, "OPEN";
        /// RFC 4271 section 4.3.
        Update = 2, "UPDATE";
        /// RFC 4271 section 4.5.
        Notification = 3, "NOTIFICATION";
        /// RFC 4271 section 4.4.
        Keepalive = 4, "KEEPALIVE";
        /// RFC 2918 section 3.
        RouteRefresh = 5, "ROUTE-REFRESH";
    }
}

registry! {
    /// NOTIFICATION error codes.
    ErrorCode {
        /// RFC 4271 section 6.1.
        MessageHeader = 1, "Message Header Error";
        /// RFC 4271 section 6.2.
        OpenMessage = 2, "OPEN Message Error";
        /// RFC 4271 section 6.3.
        UpdateMessage = 3, "UPDATE Message Error";
        /// RFC 4271 section 6.5.
        HoldTimerExpired = 4, "Hold Timer Expired";
        /// RFC 4271 section 6.6, subcodes of RFC 6608.
        FiniteStateMachine = 5, "Finite State Machine Error";
        /// RFC 4271 section 6.7, subcodes of RFC 4486.
        Cease = 6, "Cease";
        /// RFC 7313 section 5.
        RouteRefreshMessage = 7, "ROUTE-REFRESH Message Error";
        /// RFC 9687 section 3.
        SendHoldTimerExpired = 8, "Send Hold Timer Expired";
    }
}

registry! {
    /// Subcodes of [`ErrorCode::MessageHeader`].
    HeaderSubcode {
        /// RFC 4271 section 6.1.
        ConnectionNotSynchronized = 1, "Connection Not Synchronized";
        /// RFC 4271 section 6.1; data is the offending length.
        BadMessageLength = 2, "Bad Message Length";
        /// RFC 4271 section 6.1; data is the offending type.
        BadMessageType = 3, "Bad Message Type";
    }
}

registry! {
    /// Subcodes of [`ErrorCode::OpenMessage`].
    OpenSubcode {
        /// RFC 4271 section 6.2: a parameter or capability that cannot be parsed.
        Unspecific = 0, "Unspecific";
        /// RFC 4271 section 6.2; data is the version we speak.
        UnsupportedVersionNumber = 1, "Unsupported Version Number";
        /// RFC 4271 section 6.2.
        BadPeerAs = 2, "Bad Peer AS";
        /// RFC 4271 section 6.2, RFC 6286 section 2.2.
        BadBgpIdentifier = 3, "Bad BGP Identifier";
        /// RFC 4271 section 6.2.
        UnsupportedOptionalParameter = 4, "Unsupported Optional Parameter";
        /// RFC 4271 section 6.2.
        UnacceptableHoldTime = 6, "Unacceptable Hold Time";
        /// RFC 5492 section 5; data is the capabilities wanted.
        UnsupportedCapability = 7, "Unsupported Capability";
        /// RFC 9234 section 4.2.
        RoleMismatch = 11, "Role Mismatch";
    }
}

registry! {
    /// Subcodes of [`ErrorCode::UpdateMessage`]; all RFC 4271 section 6.3.
    UpdateSubcode {
        /// Lengths do not fit, or an attribute appears twice where that is fatal.
        MalformedAttributeList = 1, "Malformed Attribute List";
        /// Data is the attribute.
        UnrecognizedWellKnownAttribute = 2, "Unrecognized Well-known Attribute";
        /// Data is the attribute's code.
        MissingWellKnownAttribute = 3, "Missing Well-known Attribute";
        /// Data is the attribute.
        AttributeFlagsError = 4, "Attribute Flags Error";
        /// Data is the attribute.
        AttributeLengthError = 5, "Attribute Length Error";
        /// Data is the attribute.
        InvalidOriginAttribute = 6, "Invalid ORIGIN Attribute";
        /// Data is the attribute.
        InvalidNextHopAttribute = 8, "Invalid NEXT_HOP Attribute";
        /// Data is the attribute.
        OptionalAttributeError = 9, "Optional Attribute Error";
        /// No data.
        InvalidNetworkField = 10, "Invalid Network Field";
        /// No data.
        MalformedAsPath = 11, "Malformed AS_PATH";
    }
}

registry! {
    /// Subcodes of [`ErrorCode::FiniteStateMachine`]; all RFC 6608 section 3.
    FsmSubcode {
        /// Unspecified.
        Unspecified = 0, "Unspecified Error";
        /// In OpenSent.
        UnexpectedInOpenSent = 1, "Receive Unexpected Message in OpenSent State";
        /// In OpenConfirm.
        UnexpectedInOpenConfirm = 2, "Receive Unexpected Message in OpenConfirm State";
        /// In Established.
        UnexpectedInEstablished = 3, "Receive Unexpected Message in Established State";
    }
}

registry! {
    /// Subcodes of [`ErrorCode::Cease`]; RFC 4486 section 3 unless named.
    CeaseSubcode {
        /// Data may be family and limit.
        MaximumPrefixes = 1, "Maximum Number of Prefixes Reached";
        /// Data may be a text (RFC 9003).
        AdministrativeShutdown = 2, "Administrative Shutdown";
        /// The peer is no longer configured.
        PeerDeconfigured = 3, "Peer De-configured";
        /// Data may be a text (RFC 9003).
        AdministrativeReset = 4, "Administrative Reset";
        /// The connection is not wanted.
        ConnectionRejected = 5, "Connection Rejected";
        /// Configuration changed.
        OtherConfigurationChange = 6, "Other Configuration Change";
        /// The loser of a collision (RFC 4271 section 6.8).
        ConnectionCollision = 7, "Connection Collision Resolution";
        /// Resources ran out.
        OutOfResources = 8, "Out of Resources";
        /// RFC 8538 section 3.1; data is the notification proper.
        HardReset = 9, "Hard Reset";
        /// RFC 9384 section 3.
        BfdDown = 10, "BFD Down";
    }
}

registry! {
    /// Subcodes of [`ErrorCode::RouteRefreshMessage`].
    RefreshErrorSubcode {
        /// RFC 7313 section 5; data is the whole message.
        InvalidMessageLength = 1, "Invalid Message Length";
    }
}

registry! {
    /// Capability codes this speaker understands.
    CapabilityCode {
        /// RFC 4760 section 8.
        Multiprotocol = 1, "Multiprotocol Extensions";
        /// RFC 2918 section 2.
        RouteRefresh = 2, "Route Refresh";
        /// RFC 8950 section 4.
        ExtendedNextHop = 5, "Extended Next Hop Encoding";
        /// RFC 8654 section 3.
        ExtendedMessage = 6, "Extended Message";
        /// RFC 4724 section 3, N bit of RFC 8538 section 2.
        GracefulRestart = 64, "Graceful Restart";
        /// RFC 6793 section 3.
        FourOctetAsNumber = 65, "4-octet AS Number";
        /// RFC 7313 section 3.1.
        EnhancedRouteRefresh = 70, "Enhanced Route Refresh";
        /// draft-walton-bgp-hostname-capability.
        Fqdn = 73, "FQDN";
        /// draft-ietf-idr-bgp-version-capability.
        SoftwareVersion = 75, "Software Version";
    }
}

registry! {
    /// Path attribute codes that get more than transitivity.
    AttributeCode {
        /// RFC 4271 section 5.1.1.
        Origin = 1, "ORIGIN";
        /// RFC 4271 section 5.1.2.
        AsPath = 2, "AS_PATH";
        /// RFC 4271 section 5.1.3.
        NextHop = 3, "NEXT_HOP";
        /// RFC 4271 section 5.1.4.
        MultiExitDisc = 4, "MULTI_EXIT_DISC";
        /// RFC 4271 section 5.1.5.
        LocalPref = 5, "LOCAL_PREF";
        /// RFC 4271 section 5.1.6.
        AtomicAggregate = 6, "ATOMIC_AGGREGATE";
        /// RFC 4271 section 5.1.7.
        Aggregator = 7, "AGGREGATOR";
        /// RFC 1997.
        Communities = 8, "COMMUNITIES";
        /// RFC 4456 section 8.
        OriginatorId = 9, "ORIGINATOR_ID";
        /// RFC 4456 section 8.
        ClusterList = 10, "CLUSTER_LIST";
        /// RFC 4760 section 3.
        MpReachNlri = 14, "MP_REACH_NLRI";
        /// RFC 4760 section 4.
        MpUnreachNlri = 15, "MP_UNREACH_NLRI";
        /// RFC 4360 section 2.
        ExtendedCommunities = 16, "EXTENDED_COMMUNITIES";
        /// RFC 6793 section 3.
        As4Path = 17, "AS4_PATH";
        /// RFC 6793 section 3.
        As4Aggregator = 18, "AS4_AGGREGATOR";
        /// RFC 5701 section 2.
        Ipv6ExtendedCommunities = 25, "IPV6_EXTENDED_COMMUNITIES";
        /// RFC 7311 section 3.
        Aigp = 26, "AIGP";
        /// RFC 8092 section 3.
        LargeCommunities = 32, "LARGE_COMMUNITIES";
        /// RFC 9234 section 5.
        OnlyToCustomer = 35, "ONLY_TO_CUSTOMER";
        /// RFC 8669 section 3.
        PrefixSid = 40, "PREFIX_SID";
        /// RFC 6368 section 5.
        AttrSet = 128, "ATTR_SET";
    }
}

impl AttributeCode {
    /// The Optional and Transitive bits the attribute must carry.
    #[must_use]
    pub const fn flags(self) -> u8 {
        match self {
            Self::Origin
            | Self::AsPath
            | Self::NextHop
            | Self::LocalPref
            | Self::AtomicAggregate => flag::TRANSITIVE,
            Self::MultiExitDisc
            | Self::OriginatorId
            | Self::ClusterList
            | Self::MpReachNlri
            | Self::MpUnreachNlri
            | Self::Aigp => flag::OPTIONAL,
            Self::Aggregator
            | Self::Communities
            | Self::ExtendedCommunities
            | Self::As4Path
            | Self::As4Aggregator
            | Self::Ipv6ExtendedCommunities
            | Self::LargeCommunities
            | Self::OnlyToCustomer
            | Self::PrefixSid
            | Self::AttrSet => flag::OPTIONAL | flag::TRANSITIVE,
        }
    }
}

/// Bits of the attribute flags octet (RFC 4271 section 4.3).
pub mod flag {
    /// Optional, else well-known.
    pub const OPTIONAL: u8 = 0x80;
    /// Transitive.
    pub const TRANSITIVE: u8 = 0x40;
    /// Some speaker on the way did not know it.
    pub const PARTIAL: u8 = 0x20;
    /// The length takes two octets.
    pub const EXTENDED_LENGTH: u8 = 0x10;
}

registry! {
    /// Kinds of AS_PATH segments.
    SegmentKind {
        /// RFC 4271 section 4.3: unordered; RFC 9774 wants it gone.
        AsSet = 1, "AS_SET";
        /// RFC 4271 section 4.3.
        AsSequence = 2, "AS_SEQUENCE";
        /// RFC 5065 section 3.
        ConfedSequence = 3, "AS_CONFED_SEQUENCE";
        /// RFC 5065 section 3.
        ConfedSet = 4, "AS_CONFED_SET";
    }
}

/// Optional parameter of OPEN that carries capabilities (RFC 5492 section 4).
pub const PARAMETER_CAPABILITIES: u8 = 2;
/// Optional parameter type that announces extended lengths (RFC 9072 section 2).
pub const PARAMETER_EXTENDED_LENGTH: u8 = 255;
/// Stands for a four-octet AS number where only two octets fit (RFC 6793 section 9).
pub const AS_TRANS: u16 = 23456;
/// BGP version (RFC 4271 section 4.2).
pub const VERSION: u8 = 4;

/// Well-known communities (RFC 1997 unless named).
pub mod community {
    /// RFC 8326.
    pub const GRACEFUL_SHUTDOWN: u32 = 0xFFFF_0000;
    /// RFC 7611.
    pub const ACCEPT_OWN: u32 = 0xFFFF_0001;
    /// RFC 9494.
    pub const LLGR_STALE: u32 = 0xFFFF_0006;
    /// RFC 9494.
    pub const NO_LLGR: u32 = 0xFFFF_0007;
    /// RFC 7999.
    pub const BLACKHOLE: u32 = 0xFFFF_029A;
    /// Not beyond the AS.
    pub const NO_EXPORT: u32 = 0xFFFF_FF01;
    /// To nobody.
    pub const NO_ADVERTISE: u32 = 0xFFFF_FF02;
    /// To no external peer, confederation members included.
    pub const NO_EXPORT_SUBCONFED: u32 = 0xFFFF_FF03;
    /// RFC 3765.
    pub const NO_PEER: u32 = 0xFFFF_FF04;
}
