//! What is kept of an EndpointSlice.

use std::collections::BTreeMap;

use plan::{Endpoint, EndpointSliceFacts, NamespacedName};
use serde::Deserialize;
use serde_json::Value;

use super::Wire;

/// The label that names the Service (Kubernetes, `discovery/v1`).
const SERVICE: &str = "kubernetes.io/service-name";

impl Wire for EndpointSliceFacts {
    type Name = NamespacedName;

    fn parse(json: Value) -> Result<Self, serde_json::Error> {
        let SliceJson {
            mut metadata,
            endpoints,
        } = serde_json::from_value(json)?;
        let endpoints = endpoints.unwrap_or_default().into_iter();
        Ok(Self {
            service: metadata.labels.remove(SERVICE),
            endpoints: endpoints.map(Endpoint::from).collect(),
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SliceJson {
    metadata: MetadataJson,
    endpoints: Option<Vec<EndpointJson>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MetadataJson {
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct EndpointJson {
    node_name: Option<String>,
    conditions: ConditionsJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ConditionsJson {
    /// Absent means ready.
    ready: Option<bool>,
}

impl From<EndpointJson> for Endpoint {
    fn from(json: EndpointJson) -> Self {
        Self {
            node: json.node_name,
            is_ready: json.conditions.ready.unwrap_or(true),
        }
    }
}

#[cfg(test)]
mod tests {
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
        let endpoint = |node: Option<&str>, is_ready| Endpoint {
            node: node.map(str::to_owned),
            is_ready,
        };
        let expected = EndpointSliceFacts {
            service: Some("web".to_owned()),
            endpoints: vec![
                endpoint(Some("w1"), true),
                endpoint(Some("w2"), false),
                endpoint(None, true),
                endpoint(None, true),
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
}
