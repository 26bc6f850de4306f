//! What is kept of an EndpointSlice.

use std::collections::BTreeMap;
use std::net::IpAddr;

use plan::snapshot::{EndpointPort, EndpointState};
use plan::{Endpoint, EndpointSliceFacts, NamespacedName};
use serde::Deserialize;
use serde_json::Value;

use super::{Names, Wire, protocol};

/// The label that names the Service (Kubernetes, `discovery/v1`).
const SERVICE: &str = "kubernetes.io/service-name";

impl Wire for EndpointSliceFacts {
    type Name = NamespacedName;

    fn parse(json: Value) -> Result<Self, serde_json::Error> {
        let SliceJson {
            mut metadata,
            address_type,
            endpoints,
            ports,
        } = serde_json::from_value(json)?;
        let endpoints = endpoints.unwrap_or_default().into_iter();
        let endpoints = endpoints.filter(|_| address_type != "FQDN");
        let ports = ports.unwrap_or_default().into_iter();
        Ok(Self {
            service: metadata.labels.remove(SERVICE),
            ports: ports.filter_map(PortJson::parse).collect(),
            endpoints: endpoints.flat_map(EndpointJson::parse).collect(),
        })
    }

    fn share(&mut self, names: &mut Names) {
        for node in self
            .endpoints
            .iter_mut()
            .filter_map(|endpoint| endpoint.node.as_mut())
        {
            *node = names.one(node);
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct SliceJson {
    metadata: MetadataJson,
    address_type: String,
    endpoints: Option<Vec<EndpointJson>>,
    ports: Option<Vec<PortJson>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MetadataJson {
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PortJson {
    name: Option<String>,
    port: Option<u16>,
    protocol: Option<String>,
}

impl PortJson {
    fn parse(self) -> Option<EndpointPort> {
        Some(EndpointPort {
            name: self.name.unwrap_or_default(),
            port: self.port?,
            protocol: protocol(self.protocol.as_deref())?,
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct EndpointJson {
    addresses: Vec<String>,
    node_name: Option<String>,
    /// Where the API's first version had the node.
    deprecated_topology: BTreeMap<String, String>,
    conditions: ConditionsJson,
}

impl EndpointJson {
    fn parse(self) -> Vec<Endpoint> {
        let Self {
            addresses,
            node_name,
            mut deprecated_topology,
            conditions,
        } = self;
        let node = node_name.or_else(|| deprecated_topology.remove("kubernetes.io/hostname"));
        let node = node.filter(|name| !name.is_empty());
        let node = node.as_deref().map(Into::into);
        let state = conditions.state();
        let addresses = addresses.iter().filter_map(|text| text.parse().ok());
        addresses
            .map(|address: IpAddr| Endpoint {
                address: address.to_canonical(),
                node: Clone::clone(&node),
                state,
            })
            .collect()
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ConditionsJson {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

impl ConditionsJson {
    fn state(&self) -> EndpointState {
        let ready = self.ready.unwrap_or(true);
        let serving = self.serving.unwrap_or(ready);
        let terminating = self.terminating.unwrap_or(false);
        match (ready, terminating, serving) {
            (true, _, _) => EndpointState::Active,
            (false, true, true) => EndpointState::Terminating,
            (false, true, false) => EndpointState::TerminatingNotServing,
            (false, false, _) => EndpointState::Maintenance,
        }
    }
}

#[cfg(test)]
mod tests {
    use plan::snapshot::Protocol;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_slice_is_read_with_its_service_and_where_which_endpoint_is_ready() {
        let json = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "web-x7", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [
                {"addresses": ["10.0.0.1"], "nodeName": "w1", "conditions": {"ready": true, "serving": true}},
                {"addresses": ["10.0.0.2"], "nodeName": "w2", "conditions": {"ready": false, "terminating": true}},
                {"addresses": ["10.0.0.3"], "conditions": {}},
                {"addresses": ["10.0.0.4"]},
            ],
            "ports": [{"port": 80}],
        });
        let endpoint = |last: u8, node: Option<&str>, state| Endpoint {
            address: IpAddr::from([10, 0, 0, last]),
            node: node.map(Into::into),
            state,
        };
        let expected = EndpointSliceFacts {
            service: Some("web".to_owned()),
            ports: vec![EndpointPort {
                port: 80,
                ..EndpointPort::default()
            }],
            endpoints: vec![
                endpoint(1, Some("w1"), EndpointState::Active),
                endpoint(2, Some("w2"), EndpointState::TerminatingNotServing),
                endpoint(3, None, EndpointState::Active),
                endpoint(4, None, EndpointState::Active),
            ],
        };
        assert_eq!(EndpointSliceFacts::parse(json).unwrap(), expected);
    }

    #[test]
    fn a_slice_without_label_or_endpoints_is_no_fault() {
        let json = json!({"metadata": {"name": "a", "namespace": "b"}, "endpoints": null});
        let facts = EndpointSliceFacts::parse(json).unwrap();
        assert_eq!(facts, EndpointSliceFacts::default());
    }

    fn slice(json: Value) -> EndpointSliceFacts {
        EndpointSliceFacts::parse(json).unwrap()
    }

    #[test]
    fn conditions_together_are_one_state_and_absent_ones_have_kubernetes_meaning() {
        use EndpointState::{Active, Maintenance, Terminating, TerminatingNotServing};
        let rows = [
            (json!({}), Active),
            (json!({"ready": null}), Active),
            (
                json!({"ready": true, "serving": false, "terminating": true}),
                Active,
            ),
            (json!({"ready": false}), Maintenance),
            (json!({"ready": false, "serving": true}), Maintenance),
            (
                json!({"ready": false, "serving": true, "terminating": true}),
                Terminating,
            ),
            (
                json!({"ready": false, "serving": false, "terminating": true}),
                TerminatingNotServing,
            ),
            (
                json!({"ready": false, "terminating": true}),
                TerminatingNotServing,
            ),
        ];
        for (conditions, expected) in rows {
            let endpoints = json!([{"addresses": ["10.0.0.1"], "conditions": conditions.clone()}]);
            let facts = slice(json!({"endpoints": endpoints}));
            assert_eq!(facts.endpoints[0].state, expected, "{conditions}");
        }
    }

    #[test]
    fn ports_without_number_or_of_an_unknown_protocol_are_left_out() {
        let ports = json!([
            {"name": "", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "any", "port": null, "protocol": "TCP"}, {"port": 7, "protocol": "QUIC"}, {"port": 9},
        ]);
        let facts = slice(json!({"ports": ports}));
        let found: Vec<_> = facts
            .ports
            .iter()
            .map(|port| (port.name.as_str(), port.port, port.protocol))
            .collect();
        let expected = [
            ("", 80, Protocol::Tcp),
            ("dns", 53, Protocol::Udp),
            ("", 9, Protocol::Tcp),
        ];
        assert_eq!(found, expected);
        assert_eq!(slice(json!({"ports": null})).ports, []);
    }

    #[test]
    fn each_address_of_either_family_counts_and_names_do_not() {
        let rows = [
            (json!("IPv4"), json!(["10.0.0.1", "10.0.0.2"]), 2),
            (json!("IPv6"), json!(["fd00::1"]), 1),
            (json!("FQDN"), json!(["example.org"]), 0),
            (json!("FQDN"), json!(["10.0.0.1"]), 0),
            (json!("IPv4"), json!(["no address"]), 0),
        ];
        for (address_type, addresses, expected) in rows {
            let endpoints = json!([{"addresses": addresses.clone()}]);
            let facts = slice(json!({"addressType": address_type, "endpoints": endpoints}));
            assert_eq!(facts.endpoints.len(), expected, "{addresses}");
        }
    }

    #[test]
    fn the_node_is_found_where_old_slices_have_it() {
        let topology = json!({"kubernetes.io/hostname": "old"});
        let rows = [
            (json!({"nodeName": "new"}), Some("new")),
            (
                json!({"nodeName": "new", "deprecatedTopology": topology.clone()}),
                Some("new"),
            ),
            (json!({"deprecatedTopology": topology}), Some("old")),
            (json!({"nodeName": ""}), None),
        ];
        for (mut endpoint, expected) in rows {
            endpoint["addresses"] = json!(["10.0.0.1"]);
            let facts = slice(json!({"endpoints": [endpoint.clone()]}));
            assert_eq!(facts.endpoints[0].node.as_deref(), expected, "{endpoint}");
        }
    }

    #[test]
    fn endpoints_of_one_node_share_its_name() {
        let endpoint = |node: &str| json!({"addresses": ["10.0.0.1"], "nodeName": node});
        let mut names = Names::default();
        let mut slices = [["w1", "w2"], ["w2", "w1"]].map(|nodes| {
            let endpoints = nodes.map(endpoint);
            slice(json!({"endpoints": endpoints}))
        });
        for slice in &mut slices {
            slice.share(&mut names);
        }
        let node = |slice: usize, at: usize| slices[slice].endpoints[at].node.clone().unwrap();
        assert!(std::sync::Arc::ptr_eq(&node(0, 0), &node(1, 1)));
        assert!(std::sync::Arc::ptr_eq(&node(0, 1), &node(1, 0)));
        assert_eq!((&*node(0, 0), &*node(0, 1)), ("w1", "w2"));
    }
}
