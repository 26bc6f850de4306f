//! What is kept of a ServiceCIDR.

use plan::ServiceCidrFacts;
use serde::Deserialize;
use serde_json::Value;

use super::Wire;

impl Wire for ServiceCidrFacts {
    type Name = String;

    fn parse(json: Value) -> Result<Self, serde_json::Error> {
        let ServiceCidrJson { spec } = serde_json::from_value(json)?;
        let cidrs = spec.cidrs.iter().filter_map(|text| text.parse().ok());
        Ok(Self {
            cidrs: cidrs.collect(),
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ServiceCidrJson {
    spec: SpecJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SpecJson {
    cidrs: Vec<String>,
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_ranges_of_a_service_cidr_are_read_and_nothing_else() {
        let parsed = ServiceCidrFacts::parse(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": ["10.96.0.0/12", "no CIDR", "fd00:96::/112"]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }));
        let expected: [IpNet; 2] =
            ["10.96.0.0/12", "fd00:96::/112"].map(|text| text.parse().unwrap());
        assert_eq!(parsed.unwrap().cidrs, expected);
    }
}
