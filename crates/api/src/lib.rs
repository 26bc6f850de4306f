//! The custom resources users write and read.
//!
//! One Rust type per kind: the program's view of version `v2` of group `cilium.io`, and of version `v1alpha1` of group
//! `tombolo.io` for what Cilium has no kind for. The same types generate the CustomResourceDefinitions ([`crd`]), in which
//! Cilium's `v2alpha1` is `v2` with a few listed differences.
//!
//! Promises:
//! - A field's Rust type holds every value its schema admits, so that no stored object fails to parse. What the
//!   schema leaves open (a port without bounds, an address as text) stays open here, and `plan` judges it.
//! - Reading an object and writing it back changes nothing it says; fields we do not know are ignored.
//! - Fields are what was written. Where the agent fills in a missing value, a method says which.
//!
//! This crate never talks to an API server and decides nothing but what a selector matches.

pub mod advertisement;
pub mod cilium_node;
pub mod cluster_config;
pub mod condition;
pub mod crd;
pub mod family;
mod ip_address;
pub mod load_balancer_ip_pool;
pub mod node_config;
pub mod node_config_override;
pub mod peer_config;
pub mod route_import;
pub mod selector;

pub use advertisement::CiliumBGPAdvertisement;
pub use cilium_node::CiliumNode;
pub use cluster_config::CiliumBGPClusterConfig;
pub use load_balancer_ip_pool::CiliumLoadBalancerIPPool;
pub use node_config::CiliumBGPNodeConfig;
pub use node_config_override::CiliumBGPNodeConfigOverride;
pub use peer_config::CiliumBGPPeerConfig;
pub use route_import::BGPRouteImport;
pub use selector::{InvalidSelector, LabelSelector, Selector};
