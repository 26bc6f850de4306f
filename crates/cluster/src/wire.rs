//! From what the API server sends to what a snapshot holds.

mod endpoint_slice;
mod names;
mod service;
mod service_cidr;

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::net::IpAddr;

use ipnet::IpNet;
use kube::ResourceExt;
use plan::snapshot::Protocol;
use plan::{NamespacedName, NodeFacts};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

pub(crate) use self::names::Names;
pub(crate) use self::service::drop_address_requests;
pub use self::service::service;

/// An object as it came, decoded or not. The name and version are always known.
#[derive(Debug, Clone)]
pub(crate) struct Object<T: Wire> {
    pub(crate) name: T::Name,
    pub(crate) resource_version: String,
    /// What it says, or why it cannot be understood.
    pub(crate) value: Result<T, String>,
}

/// What tells objects of one kind apart.
pub(crate) trait Name: Clone + Debug + Display + Ord + Send + Sync + 'static {
    fn new(namespace: String, name: String) -> Self;
}

/// Of a kind without namespaces, or of which only one namespace is followed.
impl Name for String {
    fn new(_: String, name: String) -> Self {
        name
    }
}

impl Name for NamespacedName {
    fn new(namespace: String, name: String) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// Something that is made of an object's JSON.
pub(crate) trait Wire: Clone + Debug + Send + Sync + 'static {
    type Name: Name;

    /// # Errors
    ///
    /// When the JSON is not of the form this kind has.
    fn parse(json: Value) -> Result<Self, serde_json::Error>;

    /// Gives up its own copies of names that other objects have too.
    fn share(&mut self, _names: &mut Names) {}
}

/// A protocol by Kubernetes' word for it; nothing said means TCP.
fn protocol(word: Option<&str>) -> Option<Protocol> {
    match word {
        None | Some("" | "TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    }
}

/// Only the name counts.
impl Wire for () {
    type Name = String;

    fn parse(_: Value) -> Result<Self, serde_json::Error> {
        Ok(())
    }
}

/// A custom resource: as it is.
macro_rules! whole {
    ($($kind:ty),+) => {$(
        impl Wire for $kind {
            type Name = String;

            fn parse(json: Value) -> Result<Self, serde_json::Error> {
                serde_json::from_value(json)
            }
        }
    )+};
}

whole!(
    api::CiliumBGPClusterConfig,
    api::CiliumBGPPeerConfig,
    api::CiliumBGPAdvertisement,
    api::CiliumBGPNodeConfigOverride,
    api::CiliumBGPNodeConfig,
    api::CiliumLoadBalancerIPPool,
    api::BGPRouteImport
);

/// A Node or a CiliumNode: the two keep the same facts in different places, and have no field in common that means
/// something else, so one form reads both.
impl Wire for NodeFacts {
    type Name = String;

    fn parse(json: Value) -> Result<Self, serde_json::Error> {
        let NodeJson {
            metadata,
            spec,
            status,
        } = serde_json::from_value(json)?;
        let cidrs = if spec.pod_cidrs.is_empty() {
            spec.ipam.pod_cidrs
        } else {
            spec.pod_cidrs
        };
        let addresses = spec
            .addresses
            .into_iter()
            .map(|address| (address.kind, address.ip));
        let addresses = addresses.chain(
            status
                .addresses
                .into_iter()
                .map(|address| (address.kind, address.address)),
        );
        Ok(Self {
            labels: metadata.labels,
            pod_cidrs: cidrs
                .iter()
                .filter_map(|text| text.parse::<IpNet>().ok())
                .collect(),
            internal_addresses: addresses
                .filter(|(kind, _)| kind == "InternalIP")
                .filter_map(|(_, text)| text.parse::<IpAddr>().ok())
                .collect(),
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeJson {
    metadata: MetadataJson,
    spec: NodeSpecJson,
    status: NodeStatusJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MetadataJson {
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeSpecJson {
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
    ipam: IpamJson,
    addresses: Vec<CiliumAddressJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct IpamJson {
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CiliumAddressJson {
    #[serde(rename = "type")]
    kind: String,
    ip: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeStatusJson {
    addresses: Vec<AddressJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AddressJson {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

/// Decodes in two steps, so that an object with a value we do not know costs itself and not the whole list. Objects of
/// a list are decoded one by one while it is read: the JSON of only one of them is in memory.
impl<'de, T: Wire> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut json = Value::deserialize(deserializer)?;
        let mut text = |field: &str| {
            json.pointer_mut(field)
                .and_then(|value| value.as_str().map(str::to_owned))
                .unwrap_or_default()
        };
        let name = T::Name::new(text("/metadata/namespace"), text("/metadata/name"));
        let resource_version = text("/metadata/resourceVersion");
        if let Some(metadata) = json.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        Ok(Self {
            name,
            resource_version,
            value: T::parse(json).map_err(|error| error.to_string()),
        })
    }
}

/// A list without the type fields, whose flattening would hold all of it in memory twice.
#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
pub(crate) struct List<T> {
    pub(crate) metadata: ListMetadata,
    /// `null` in an empty list of metadata.
    pub(crate) items: Option<Vec<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListMetadata {
    #[serde(default)]
    pub(crate) resource_version: String,
    #[serde(default, rename = "continue")]
    pub(crate) next: Option<String>,
}

/// Drops what the operator never looks at, so that 1,000 of them are small.
pub(crate) fn drop_status(config: &mut api::CiliumBGPNodeConfig) {
    config.status = None;
    config.annotations_mut().clear();
}

/// Whether two states of a NodeConfig without status say the same. The resource version moves with each status the
/// agent writes and is not compared.
pub(crate) fn same_wish(a: &api::CiliumBGPNodeConfig, b: &api::CiliumBGPNodeConfig) -> bool {
    a.spec == b.spec
        && a.metadata.uid == b.metadata.uid
        && a.metadata.owner_references == b.metadata.owner_references
        && a.metadata.deletion_timestamp == b.metadata.deletion_timestamp
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(json: Value) -> NodeFacts {
        let object: Object<NodeFacts> = serde_json::from_value(json).unwrap();
        object.value.unwrap()
    }

    #[test]
    fn the_facts_of_a_node_are_read_from_its_spec_and_status() {
        let node = facts(json!({
            "metadata": {"name": "n1", "resourceVersion": "7", "labels": {"rack": "a"}, "managedFields": [{}]},
            "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "no CIDR", "fd00:1::/64"]},
            "status": {"addresses": [
                {"type": "Hostname", "address": "n1"},
                {"type": "InternalIP", "address": "192.168.10.1"},
                {"type": "InternalIP", "address": "fd00::1"},
            ]},
        }));
        assert_eq!(node.labels, [("rack".to_owned(), "a".to_owned())].into());
        assert_eq!(
            node.pod_cidrs,
            [
                "10.1.0.0/24".parse().unwrap(),
                "fd00:1::/64".parse().unwrap()
            ]
        );
        assert_eq!(
            node.internal_addresses,
            [
                "192.168.10.1".parse::<IpAddr>().unwrap(),
                "fd00::1".parse().unwrap()
            ]
        );
    }

    #[test]
    fn the_facts_of_a_cilium_node_are_read_from_its_spec() {
        let node = facts(json!({
            "metadata": {"name": "n1"},
            "spec": {
                "addresses": [{"ip": "192.168.10.1", "type": "InternalIP"}, {"ip": "10.1.0.9", "type": "CiliumInternalIP"}],
                "ipam": {"podCIDRs": ["10.1.0.0/24"]},
            },
        }));
        assert_eq!(node.pod_cidrs, ["10.1.0.0/24".parse().unwrap()]);
        assert_eq!(
            node.internal_addresses,
            ["192.168.10.1".parse::<IpAddr>().unwrap()]
        );
    }

    #[test]
    fn an_object_that_cannot_be_decoded_costs_that_object_only() {
        let list: List<Object<NodeFacts>> = serde_json::from_value(json!({
            "kind": "NodeList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"},
            "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}, "spec": {"podCIDRs": 5}}],
        }))
        .unwrap();
        let good: Vec<_> = list
            .items
            .iter()
            .flatten()
            .map(|item| (item.name.as_str(), item.value.is_ok()))
            .collect();
        assert_eq!(good, [("a", true), ("b", false)]);
        assert_eq!(list.metadata.resource_version, "9");
    }

    #[test]
    fn an_empty_list_of_metadata_has_null_for_items() {
        let json = json!({"metadata": {"resourceVersion": "9"}, "items": null});
        let list: List<Object<()>> = serde_json::from_value(json).unwrap();
        assert!(list.items.is_none());
    }
}
