//! Manifests become Rust values and the same manifests again.

use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Published manifests, verbatim.
const PUBLISHED: [&str; 2] = [
    include_str!("../../../tests/published/bgp.yaml"),
    include_str!("../../../tests/published/lb.yaml"),
];

/// What the API server admits and refuses of our kinds: kind, then rows.
const ADMISSION: &str = include_str!("admission.yaml");

/// Objects that use every field, as the API server of a running cluster gives them.
const COMPLETE: &str = include_str!("complete.yaml");

#[test]
fn published_manifests_come_back_as_they_were() {
    let documents = PUBLISHED.iter().flat_map(|text| documents(text));
    let read: Vec<String> = documents
        .filter_map(|document| round_trip(&document))
        .collect();
    let expected = [
        "CiliumBGPAdvertisement",
        "CiliumBGPPeerConfig",
        "CiliumBGPClusterConfig",
        "CiliumLoadBalancerIPPool",
        "CiliumBGPAdvertisement",
    ];
    assert_eq!(read, expected, "all documents of our kinds");
}

#[test]
fn objects_that_use_every_field_come_back_as_they_were() {
    let mut read: Vec<String> = documents(COMPLETE).iter().filter_map(round_trip).collect();
    read.sort_unstable();
    let kinds = api::crd::custom_resource_definitions()
        .into_iter()
        .map(|definition| definition.spec.names.kind);
    let mut kinds: Vec<String> = kinds.collect();
    kinds.sort_unstable();
    assert_eq!(read, kinds);
}

/// `complete.yaml` is worth its name only while it says something of every field of every schema.
#[test]
fn complete_objects_use_every_field_of_their_schema() {
    let documents = documents(COMPLETE);
    for definition in api::crd::custom_resource_definitions() {
        let kind = &definition.spec.names.kind;
        let document = documents
            .iter()
            .find(|document| document["kind"] == **kind)
            .expect("one object of each kind");
        let schema =
            &api::crd::manifest(&definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert_uses(kind, schema, &[document]);
    }
}

/// A field's Rust type holds every value its schema admits.
#[test]
fn whatever_the_api_server_admits_is_read() {
    let kinds = documents(ADMISSION).remove(0);
    let definitions = api::crd::custom_resource_definitions();
    let mut read = 0;
    for (kind, rows) in kinds.as_object().expect("rows by kind") {
        let definition = definitions
            .iter()
            .find(|definition| definition.spec.names.kind == *kind)
            .unwrap_or_else(|| panic!("{kind} is none of our kinds"));
        let (group, version) = (&definition.spec.group, &definition.spec.versions[0].name);
        let rows = rows.as_array().expect("rows").iter();
        for row in rows.filter(|row| row.get("rejected").is_none()) {
            let mut object = row.clone();
            object["apiVersion"] = json!(format!("{group}/{version}"));
            object["kind"] = json!(kind);
            object["metadata"] = json!({"name": "admitted"});
            let problem = match kind.as_str() {
                "CiliumBGPAdvertisement" => problem::<api::CiliumBGPAdvertisement>(object),
                "CiliumBGPClusterConfig" => problem::<api::CiliumBGPClusterConfig>(object),
                "CiliumBGPNodeConfig" => problem::<api::CiliumBGPNodeConfig>(object),
                "CiliumBGPNodeConfigOverride" => {
                    problem::<api::CiliumBGPNodeConfigOverride>(object)
                }
                "CiliumBGPPeerConfig" => problem::<api::CiliumBGPPeerConfig>(object),
                "CiliumLoadBalancerIPPool" => problem::<api::CiliumLoadBalancerIPPool>(object),
                "BGPRouteImport" => problem::<api::BGPRouteImport>(object),
                other => panic!("{other} has no type here"),
            };
            assert!(problem.is_none(), "{kind}: {}: {problem:?}", row["claim"]);
            read += 1;
        }
    }
    assert!(read >= 60, "only {read} rows");
}

#[test]
fn a_minimal_object_has_nothing_that_was_not_written() {
    let minimal = [
        json!({"kind": "CiliumBGPPeerConfig", "spec": {}}),
        json!({"kind": "CiliumBGPPeerConfig", "spec": {"timers": {}, "transport": {}}}),
        json!({"kind": "CiliumBGPClusterConfig", "spec": {"bgpInstances": [{"name": "a", "peers": [{"name": "p"}]}]}}),
        json!({"kind": "CiliumBGPClusterConfig", "spec": {"nodeSelector": {}, "bgpInstances": [{"name": "a"}]}}),
        json!({"kind": "CiliumBGPNodeConfig", "spec": {"bgpInstances": [{"name": "a"}]}}),
        json!({"kind": "CiliumBGPNodeConfig", "spec": {"bgpInstances": [{"name": "a"}]}, "status": {}}),
        json!({"kind": "CiliumBGPNodeConfigOverride", "spec": {"bgpInstances": [{"name": "a"}]}}),
        json!({"kind": "CiliumBGPAdvertisement", "spec": {"advertisements": [{"advertisementType": "PodCIDR"}]}}),
        json!({"kind": "CiliumLoadBalancerIPPool", "spec": {}}),
        json!({"kind": "CiliumLoadBalancerIPPool", "spec": {"serviceSelector": {}, "blocks": [{}]}, "status": {}}),
    ];
    let own = [
        json!({"kind": "BGPRouteImport", "spec": {"rules": [{"cidr": "10.0.0.0/8", "action": "Accept"}]}}),
        json!({"kind": "BGPRouteImport", "spec": {"nodeSelector": {}, "rules": [{"cidr": "::/0", "action": "Reject"}]}}),
    ];
    let minimal = minimal.into_iter().map(|object| ("cilium.io/v2", object));
    let own = own
        .into_iter()
        .map(|object| ("tombolo.io/v1alpha1", object));
    for (api_version, mut object) in minimal.chain(own) {
        object["apiVersion"] = json!(api_version);
        object["metadata"] = json!({"name": "minimal"});
        assert!(round_trip(&object).is_some(), "{object}");
    }
}

/// Where the server fills in what is not written, so does the program that reads an object of before.
#[test]
fn a_route_import_that_says_little_means_what_the_schema_fills_in() {
    let object = json!({
        "apiVersion": "tombolo.io/v1alpha1",
        "kind": "BGPRouteImport",
        "metadata": {"name": "all"},
        "spec": {"rules": [{"cidr": "10.0.0.0/8", "action": "Accept"}]},
    });
    let import: api::BGPRouteImport = serde_json::from_value(object).expect("it is one");
    let spec = &import.spec;
    let meant = json!({"table": spec.table(), "metric": spec.metric(), "protocol": spec.protocol(),
        "maximumPaths": spec.maximum_paths()});
    let definitions = api::crd::custom_resource_definitions();
    let definition = definitions
        .iter()
        .find(|definition| definition.spec.names.kind == "BGPRouteImport")
        .expect("one of our kinds");
    let manifest = api::crd::manifest(definition);
    let fields = &manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        ["properties"];
    for (field, value) in meant.as_object().expect("fields") {
        assert_eq!(&fields[field]["default"], value, "{field}");
    }
    assert_eq!(spec.effective_families().len(), 2);
}

#[test]
fn fields_of_a_later_cilium_are_ignored() {
    let later = json!({
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumBGPPeerConfig",
        "metadata": {"name": "later"},
        "spec": {"bfd": {"enabled": true}, "ebgpMultihop": 2, "timers": {"holdTimeSeconds": 9, "sendHoldTimeSeconds": 4}},
    });
    let config: api::CiliumBGPPeerConfig =
        serde_json::from_value(later).expect("unknown fields do no harm");
    assert_eq!(config.spec.ebgp_multihop(), 2);
    assert_eq!(config.spec.hold_time().as_secs(), 9);
}

#[test]
fn an_unknown_peering_state_does_no_harm() {
    use api::node_config::{PeerStatus, PeeringState};
    let status = json!({"name": "tor", "peerAddress": "192.0.2.1", "peeringState": "dreaming"});
    let status: PeerStatus = serde_json::from_value(status).expect("any word is a state");
    assert_eq!(status.peering_state, Some(PeeringState::Unknown));
}

#[test]
fn a_cilium_node_is_read_in_part() {
    let node = json!({
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNode",
        "metadata": {"name": "k8s-ctr", "labels": {"enable-bgp": "true"}},
        "spec": {
            "addresses": [{"ip": "192.168.10.100", "type": "InternalIP"}, {"ip": "172.20.0.7", "type": "CiliumInternalIP"}],
            "bootid": "c0ffee",
            "health": {"ipv4": "172.20.0.9"},
            "ipam": {
                "podCIDRs": ["172.20.0.0/24"],
                "pools": {"allocated": [{"pool": "blue", "cidrs": ["10.10.0.0/28"]}], "requested": [{"pool": "blue"}]},
            },
        },
        "status": {"ipam": {"operator-status": {}}},
    });
    let node: api::CiliumNode =
        serde_json::from_value(node).expect("fields we do not need do no harm");
    assert_eq!(node.spec.addresses[0].type_, "InternalIP");
    assert_eq!(node.spec.ipam.pod_cidrs, ["172.20.0.0/24"]);
    assert_eq!(
        node.spec.ipam.pools.expect("pools").allocated[0].cidrs,
        ["10.10.0.0/28"]
    );
    let empty = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": "new"}, "spec": {}});
    serde_json::from_value::<api::CiliumNode>(empty).expect("a node that has nothing yet");
}

/// The object's kind, after it was read and written again unchanged; nothing where the kind is not ours.
fn round_trip(document: &Value) -> Option<String> {
    let kind = document["kind"].as_str().expect("a kind");
    match kind {
        "CiliumBGPAdvertisement" => assert_round_trip::<api::CiliumBGPAdvertisement>(document),
        "CiliumBGPClusterConfig" => assert_round_trip::<api::CiliumBGPClusterConfig>(document),
        "CiliumBGPNodeConfig" => assert_round_trip::<api::CiliumBGPNodeConfig>(document),
        "CiliumBGPNodeConfigOverride" => {
            assert_round_trip::<api::CiliumBGPNodeConfigOverride>(document);
        }
        "CiliumBGPPeerConfig" => assert_round_trip::<api::CiliumBGPPeerConfig>(document),
        "CiliumLoadBalancerIPPool" => assert_round_trip::<api::CiliumLoadBalancerIPPool>(document),
        "BGPRouteImport" => assert_round_trip::<api::BGPRouteImport>(document),
        _ => return None,
    }
    Some(kind.to_owned())
}

fn assert_round_trip<Kind: Resource + Serialize + DeserializeOwned>(document: &Value) {
    let object: Kind = serde_json::from_value(document.clone())
        .unwrap_or_else(|error| panic!("{document}: {error}"));
    assert_eq!(
        &serde_json::to_value(&object).expect("an object is JSON"),
        document
    );
}

fn problem<Kind: DeserializeOwned>(document: Value) -> Option<serde_json::Error> {
    serde_json::from_value::<Kind>(document).err()
}

/// Every field of the schema has a value in at least one of the values.
fn assert_uses(path: &str, schema: &Value, values: &[&Value]) {
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let path = format!("{path}.{name}");
        let values: Vec<&Value> = values.iter().filter_map(|value| value.get(name)).collect();
        assert!(!values.is_empty(), "no value of {path}");
        assert_uses(&path, property, &values);
    }
    if let Some(items) = schema.get("items") {
        let values: Vec<&Value> = values
            .iter()
            .flat_map(|value| value.as_array().expect("a list"))
            .collect();
        assert!(!values.is_empty(), "no value of {path}[]");
        assert_uses(&format!("{path}[]"), items, &values);
    }
}

fn documents(text: &str) -> Vec<Value> {
    use serde::Deserialize;
    let documents = serde_norway::Deserializer::from_str(text);
    documents
        .map(|document| Value::deserialize(document).expect("YAML"))
        .collect()
}
