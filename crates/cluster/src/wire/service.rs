//! What is kept of a Service. All of it is optional: a Service that is odd in one field must not vanish from the
//! snapshot, because its address would count as free.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::condition::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plan::snapshot::{Ingress, IpFamily, IpFamilyPolicy, ServicePort, ServiceType, TrafficPolicy};
use plan::{NamespacedName, ServiceFacts};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Object, Wire, protocol};

/// Prefixes of the annotations that are kept.
const ANNOTATIONS: [&str; 3] = ["lbipam.cilium.io/", "io.cilium/", "service.cilium.io/"];
/// Those of them that only whoever gives addresses reads.
const ADDRESS_ANNOTATIONS: &str = "lbipam.cilium.io/";

/// Name and facts of a Service, of its JSON: what the API server answers to a write, in the form that snapshots hold.
///
/// # Errors
///
/// When the JSON is not a Service's.
pub fn service(json: Value) -> Result<(NamespacedName, ServiceFacts), serde_json::Error> {
    let object: Object<ServiceFacts> = serde_json::from_value(json)?;
    let facts = object.value.map_err(serde_json::Error::custom)?;
    Ok((object.name, facts))
}

/// Drops what concerns only whoever gives addresses: the copy of each node is small, and does not change with what others
/// write into the status.
pub(crate) fn drop_address_requests(facts: &mut ServiceFacts) {
    facts.uid = String::new();
    facts.resource_version = String::new();
    facts.generation = 0;
    facts.created = None;
    facts
        .annotations
        .retain(|key, _| !key.starts_with(ADDRESS_ANNOTATIONS));
    facts.load_balancer_ip = None;
    facts.selector = BTreeMap::new();
    facts.conditions = Vec::new();
}

impl Wire for ServiceFacts {
    type Name = NamespacedName;

    fn parse(json: Value) -> Result<Self, serde_json::Error> {
        let ServiceJson {
            metadata,
            spec,
            status,
        } = serde_json::from_value(json)?;
        let annotations = metadata
            .annotations
            .into_iter()
            .filter(|(key, _)| ANNOTATIONS.iter().any(|prefix| key.starts_with(prefix)));
        Ok(Self {
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            generation: metadata.generation,
            created: metadata.creation_timestamp.map(|Time(at)| at),
            is_being_deleted: metadata.deletion_timestamp.is_some(),
            labels: metadata.labels,
            annotations: annotations.collect(),
            service_type: match spec.r#type.as_str() {
                "NodePort" => ServiceType::NodePort,
                "LoadBalancer" => ServiceType::LoadBalancer,
                "ExternalName" => ServiceType::ExternalName,
                _ => ServiceType::ClusterIp,
            },
            load_balancer_class: spec.load_balancer_class,
            load_balancer_ip: spec.load_balancer_ip.filter(|text| !text.is_empty()),
            ip_families: spec
                .ip_families
                .iter()
                .filter_map(|word| family(word))
                .collect(),
            ip_family_policy: match spec.ip_family_policy.as_str() {
                "PreferDualStack" => IpFamilyPolicy::PreferDualStack,
                "RequireDualStack" => IpFamilyPolicy::RequireDualStack,
                _ => IpFamilyPolicy::SingleStack,
            },
            cluster_ips: addresses(&spec.cluster_ips),
            external_ips: addresses(&spec.external_ips),
            external_traffic_policy: traffic_policy(&spec.external_traffic_policy),
            internal_traffic_policy: traffic_policy(&spec.internal_traffic_policy),
            selector: spec.selector,
            ports: spec.ports.into_iter().filter_map(PortJson::parse).collect(),
            has_source_ranges: !spec.load_balancer_source_ranges.is_empty(),
            ingress: status
                .load_balancer
                .ingress
                .into_iter()
                .map(Ingress::from)
                .collect(),
            conditions: status.conditions.into_iter().map(Condition::from).collect(),
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ServiceJson {
    metadata: MetadataJson,
    spec: SpecJson,
    status: StatusJson,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct MetadataJson {
    uid: String,
    resource_version: String,
    generation: i64,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct SpecJson {
    r#type: String,
    load_balancer_class: Option<String>,
    #[serde(rename = "loadBalancerIP")]
    load_balancer_ip: Option<String>,
    ip_families: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    ip_family_policy: String,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs")]
    external_ips: Vec<String>,
    external_traffic_policy: String,
    #[serde(deserialize_with = "null_is_empty")]
    internal_traffic_policy: String,
    selector: BTreeMap<String, String>,
    ports: Vec<PortJson>,
    load_balancer_source_ranges: Vec<String>,
}

/// Those that are addresses: a headless Service has `None` in their place.
fn addresses(texts: &[String]) -> Vec<IpAddr> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn traffic_policy(word: &str) -> TrafficPolicy {
    match word {
        "Local" => TrafficPolicy::Local,
        _ => TrafficPolicy::Cluster,
    }
}

fn family(word: &str) -> Option<IpFamily> {
    match word {
        "IPv4" => Some(IpFamily::Ipv4),
        "IPv6" => Some(IpFamily::Ipv6),
        _ => None,
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct PortJson {
    name: String,
    port: u16,
    protocol: Option<String>,
    node_port: u16,
}

impl PortJson {
    fn parse(self) -> Option<ServicePort> {
        let Self {
            name,
            port,
            protocol,
            node_port,
        } = self;
        Some(ServicePort {
            name,
            port,
            protocol: self::protocol(protocol.as_deref())?,
            node_port: (node_port != 0).then_some(node_port),
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct StatusJson {
    load_balancer: LoadBalancerJson,
    conditions: Vec<ConditionJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LoadBalancerJson {
    ingress: Vec<IngressJson>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct IngressJson {
    ip: String,
    /// The API server writes `VIP` itself where a writer says nothing.
    ip_mode: Option<String>,
}

impl From<IngressJson> for Ingress {
    fn from(json: IngressJson) -> Self {
        let IngressJson { ip, ip_mode } = json;
        match (ip.parse(), ip_mode.as_deref()) {
            (Ok(address), None | Some("VIP")) => Self::Address(address),
            (Ok(address), Some(_)) => Self::Proxied(address),
            (Err(_), _) => Self::Foreign,
        }
    }
}

/// A condition of any writer. Go writes `null` for a time that was never set; it becomes the beginning of time.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ConditionJson {
    r#type: String,
    status: String,
    reason: String,
    message: String,
    observed_generation: Option<i64>,
    last_transition_time: Option<Time>,
}

impl From<ConditionJson> for Condition {
    fn from(json: ConditionJson) -> Self {
        Self {
            type_: json.r#type,
            status: json.status,
            reason: json.reason,
            message: json.message,
            observed_generation: json.observed_generation,
            last_transition_time: json
                .last_transition_time
                .unwrap_or(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)),
        }
    }
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use plan::snapshot::Protocol;
    use serde_json::json;

    use super::*;

    fn facts(json: Value) -> ServiceFacts {
        service(json).unwrap().1
    }

    fn name(namespace: &str, name: &str) -> NamespacedName {
        NamespacedName {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    fn owned<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn the_facts_of_a_service_are_read_from_metadata_spec_and_status() {
        let json = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "9", "generation": 3,
                "creationTimestamp": "2026-11-21T10:07:25Z", "labels": {"app": "web"},
                "annotations": {
                    "lbipam.cilium.io/ips": "10.0.0.1", "io.cilium/lb-ipam-sharing-key": "k",
                    "service.cilium.io/type": "NodePort", "kubectl.kubernetes.io/last-applied-configuration": "{}",
                },
            },
            "spec": {
                "type": "LoadBalancer", "loadBalancerClass": "io.cilium/bgp-control-plane", "loadBalancerIP": "10.0.0.2",
                "ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "PreferDualStack", "externalTrafficPolicy": "Local",
                "selector": {"app": "web"}, "ports": [{"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053, "targetPort": "dns"}],
                "loadBalancerSourceRanges": ["10.0.0.0/8"],
                "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00:96::9"], "externalIPs": ["192.0.2.1"],
                "internalTrafficPolicy": "Local",
            },
            "status": {
                "loadBalancer": {"ingress": [{"ip": "10.0.0.1", "ipMode": "VIP"}]},
                "conditions": [{"type": "cilium.io/IPAMRequestSatisfied", "status": "True", "reason": "satisfied",
                    "message": "", "lastTransitionTime": "2026-11-21T10:07:48Z"}],
            },
        });
        let (is, facts) = service(json).unwrap();
        assert_eq!(is, name("shop", "web"));
        let expected = ServiceFacts {
            uid: "u".to_owned(),
            resource_version: "9".to_owned(),
            generation: 3,
            created: Some("2026-11-21T10:07:25Z".parse().unwrap()),
            is_being_deleted: false,
            labels: owned([("app", "web")]),
            annotations: owned([
                ("lbipam.cilium.io/ips", "10.0.0.1"),
                ("io.cilium/lb-ipam-sharing-key", "k"),
                ("service.cilium.io/type", "NodePort"),
            ]),
            service_type: ServiceType::LoadBalancer,
            load_balancer_class: Some("io.cilium/bgp-control-plane".to_owned()),
            load_balancer_ip: Some("10.0.0.2".to_owned()),
            ip_families: vec![IpFamily::Ipv6, IpFamily::Ipv4],
            ip_family_policy: IpFamilyPolicy::PreferDualStack,
            cluster_ips: vec!["10.96.0.9".parse().unwrap(), "fd00:96::9".parse().unwrap()],
            external_ips: vec!["192.0.2.1".parse().unwrap()],
            external_traffic_policy: TrafficPolicy::Local,
            internal_traffic_policy: TrafficPolicy::Local,
            selector: owned([("app", "web")]),
            ports: vec![ServicePort {
                name: "dns".to_owned(),
                port: 53,
                protocol: Protocol::Udp,
                node_port: Some(30053),
            }],
            has_source_ranges: true,
            ingress: vec![Ingress::Address("10.0.0.1".parse().unwrap())],
            conditions: vec![Condition {
                type_: "cilium.io/IPAMRequestSatisfied".to_owned(),
                status: "True".to_owned(),
                reason: "satisfied".to_owned(),
                message: String::new(),
                observed_generation: None,
                last_transition_time: Time("2026-11-21T10:07:48Z".parse().unwrap()),
            }],
        };
        assert_eq!(facts, expected);
    }

    #[test]
    fn an_ingress_entry_with_an_address_is_that_address_whatever_else_it_says() {
        let address = |text: &str| Ingress::Address(text.parse().unwrap());
        let rows = [
            (json!({"ip": "10.0.0.1"}), address("10.0.0.1")),
            (
                json!({"ip": "fd00::1", "ipMode": "VIP"}),
                address("fd00::1"),
            ),
            (
                json!({"ip": "10.0.0.1", "hostname": "", "ports": []}),
                address("10.0.0.1"),
            ),
            (
                json!({"ip": "10.0.0.1", "ipMode": "Proxy"}),
                Ingress::Proxied("10.0.0.1".parse().unwrap()),
            ),
            (
                json!({"ip": "10.0.0.1", "hostname": "a.example"}),
                address("10.0.0.1"),
            ),
            (
                json!({"ip": "10.0.0.1", "ports": [{"port": 80, "protocol": "TCP"}]}),
                address("10.0.0.1"),
            ),
            (json!({"hostname": "a.example"}), Ingress::Foreign),
            (json!({"ip": "no address"}), Ingress::Foreign),
        ];
        for (entry, expected) in rows {
            let json = json!({"status": {"loadBalancer": {"ingress": [entry.clone()]}}});
            assert_eq!(facts(json).ingress, [expected], "{entry}");
        }
    }

    #[test]
    fn what_a_service_does_not_say_has_the_meaning_that_kubernetes_gives_it() {
        let external_name = json!({
            "metadata": {"name": "a", "namespace": "b", "deletionTimestamp": "2026-11-21T10:07:25Z"},
            "spec": {"type": "ExternalName", "externalName": "example.org", "ipFamilyPolicy": null, "loadBalancerIP": "",
                "clusterIPs": ["None"]},
            "status": {"loadBalancer": {}, "conditions": [{"type": "t", "lastTransitionTime": null}]},
        });
        let facts = facts(external_name);
        assert!(facts.is_being_deleted && facts.service_type == ServiceType::ExternalName);
        assert_eq!(facts.ip_family_policy, IpFamilyPolicy::SingleStack);
        assert_eq!(facts.external_traffic_policy, TrafficPolicy::Cluster);
        assert_eq!(facts.cluster_ips, [] as [IpAddr; 0], "it is headless");
        assert_eq!((facts.created, facts.load_balancer_ip), (None, None));
        assert_eq!(
            facts.conditions[0].type_, "t",
            "a condition without time stays"
        );
    }

    #[test]
    fn ports_are_of_a_protocol_that_kubernetes_knows_and_tcp_where_none_is_said() {
        let rows = [
            (json!({"port": 80}), Some((Protocol::Tcp, None))),
            (
                json!({"port": 80, "protocol": "TCP", "nodePort": 0}),
                Some((Protocol::Tcp, None)),
            ),
            (
                json!({"port": 80, "protocol": "UDP", "nodePort": 30080}),
                Some((Protocol::Udp, Some(30080))),
            ),
            (
                json!({"port": 80, "protocol": "SCTP"}),
                Some((Protocol::Sctp, None)),
            ),
            (json!({"port": 80, "protocol": "QUIC"}), None),
        ];
        for (port, expected) in rows {
            let facts = facts(json!({"spec": {"ports": [port.clone()]}}));
            let found = facts.ports.first();
            let found = found.map(|port| (port.protocol, port.node_port));
            assert_eq!(found, expected, "{port}");
        }
    }

    #[test]
    fn types_are_those_of_kubernetes_and_cluster_ip_where_none_is_said() {
        let rows = [
            ("", ServiceType::ClusterIp),
            ("ClusterIP", ServiceType::ClusterIp),
            ("NodePort", ServiceType::NodePort),
            ("LoadBalancer", ServiceType::LoadBalancer),
            ("ExternalName", ServiceType::ExternalName),
        ];
        for (word, expected) in rows {
            let found = facts(json!({"spec": {"type": word}})).service_type;
            assert_eq!(found, expected, "{word:?}");
        }
    }

    #[test]
    fn what_only_concerns_the_giving_of_addresses_can_be_dropped() {
        let json = |version: &str, status: &str| {
            json!({
                "metadata": {"name": "a", "namespace": "b", "uid": "u", "resourceVersion": version, "generation": 1,
                    "creationTimestamp": "2026-11-21T10:07:25Z",
                    "annotations": {"lbipam.cilium.io/ips": "10.0.0.1", "service.cilium.io/node": "n"}},
                "spec": {"loadBalancerIP": "10.0.0.2", "selector": {"app": "web"}, "ports": [{"port": 80}]},
                "status": {"conditions": [{"type": "t", "status": status}]},
            })
        };
        let dropped = |version, status| {
            let mut facts = facts(json(version, status));
            drop_address_requests(&mut facts);
            facts
        };
        let facts = dropped("1", "True");
        assert_eq!(facts, dropped("2", "False"), "no news for a node");
        let expected = ServiceFacts {
            annotations: owned([("service.cilium.io/node", "n")]),
            ports: vec![ServicePort {
                port: 80,
                ..ServicePort::default()
            }],
            ..ServiceFacts::default()
        };
        assert_eq!(facts, expected);
    }
}
