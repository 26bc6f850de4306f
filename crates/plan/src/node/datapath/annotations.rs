//! What annotations of a Service ask of the datapath.

use std::collections::BTreeMap;

use api::selector::{LabelSelector, LabelSelectorRequirement, Operator, Selector};

use super::Algorithm;
use crate::snapshot::{Protocol, ServiceFacts, ServiceType};

const ALGORITHM: &str = "service.cilium.io/lb-algorithm";
const TYPE: &str = "service.cilium.io/type";
/// Annotation of a Service, and label of the nodes that it wants.
const NODE: &str = "service.cilium.io/node";
const NODE_SELECTOR: &str = "service.cilium.io/node-selector";

/// Something of a Service that is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// `service.cilium.io/lb-algorithm` names no algorithm.
    #[error("annotation {ALGORITHM}: {0:?} is neither random nor maglev; the default is used")]
    Algorithm(String),
    /// `service.cilium.io/type` names no type.
    #[error(
        "annotation {TYPE}: {0:?} is not ClusterIP, NodePort or LoadBalancer; all types are used"
    )]
    Type(String),
    /// `service.cilium.io/node-selector` cannot be evaluated.
    #[error("annotation {NODE_SELECTOR}: {0:?} is no selector; all nodes are used")]
    NodeSelector(String),
    /// A protocol that is not balanced.
    #[error("port {0}: the protocol SCTP is not supported")]
    Protocol(u16),
    /// Clients are restricted, and this version cannot restrict them.
    #[error(
        "loadBalancerSourceRanges is not supported: the Service is not balanced at its LoadBalancer addresses"
    )]
    SourceRanges,
}

/// How a backend of the Service is chosen.
pub(super) fn algorithm(
    facts: &ServiceFacts,
    default: Algorithm,
    faults: &mut Vec<Fault>,
) -> Algorithm {
    match facts.annotations.get(ALGORITHM).map(String::as_str) {
        None => default,
        Some("random") => Algorithm::Random,
        Some("maglev") => Algorithm::Maglev,
        Some(other) => {
            faults.push(Fault::Algorithm(other.to_owned()));
            default
        }
    }
}

/// The only type of frontend that is wanted; `None`: all that the Service's type has. External addresses are wanted always.
pub(super) fn exposure(facts: &ServiceFacts, faults: &mut Vec<Fault>) -> Option<ServiceType> {
    match facts.annotations.get(TYPE)?.as_str() {
        "ClusterIP" => Some(ServiceType::ClusterIp),
        "NodePort" => Some(ServiceType::NodePort),
        "LoadBalancer" => Some(ServiceType::LoadBalancer),
        other => {
            faults.push(Fault::Type(other.to_owned()));
            None
        }
    }
}

/// Whether the Service is wanted on a node with these labels. A selector is stronger than a node's name.
pub(super) fn wants_node(
    facts: &ServiceFacts,
    labels: &BTreeMap<String, String>,
    faults: &mut Vec<Fault>,
) -> bool {
    if let Some(text) = facts.annotations.get(NODE_SELECTOR) {
        let Some(selector) = selector(text) else {
            faults.push(Fault::NodeSelector(text.clone()));
            return true;
        };
        return selector.matches(labels);
    }
    let wanted = facts.annotations.get(NODE);
    wanted.is_none_or(|wanted| labels.get(NODE) == Some(wanted))
}

/// Ports of protocols that are not balanced.
pub(super) fn unsupported_ports(facts: &ServiceFacts) -> impl Iterator<Item = Fault> {
    let ports = facts.ports.iter();
    let ports = ports.filter(|port| port.protocol == Protocol::Sctp);
    ports.map(|port| Fault::Protocol(port.port))
}

/// A label selector as text: requirements `key`, `!key`, `key=value`, `key==value`, `key!=value`, `key in (a,b)` and
/// `key notin (a,b)`, with commas between them. The empty text selects everything.
fn selector(text: &str) -> Option<Selector> {
    let requirements = requirements(text)?;
    let match_expressions = requirements
        .into_iter()
        .map(requirement)
        .collect::<Option<_>>()?;
    let selector = LabelSelector {
        match_labels: BTreeMap::new(),
        match_expressions,
    };
    selector.parse().ok()
}

/// Splits at commas outside parentheses.
fn requirements(text: &str) -> Option<Vec<&str>> {
    if text.trim().is_empty() {
        return Some(Vec::new());
    }
    let mut inside = false;
    let mut start = 0;
    let mut parts = Vec::new();
    for (at, letter) in text.char_indices() {
        match (letter, inside) {
            ('(', false) => inside = true,
            (')', true) => inside = false,
            ('(', true) | (')', false) => return None,
            (',', false) => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!inside).then_some(parts)
}

fn requirement(text: &str) -> Option<LabelSelectorRequirement> {
    let make = |key: &str, operator, values: Vec<&str>| {
        Some(LabelSelectorRequirement {
            key: key.trim().to_owned(),
            operator,
            values: values
                .into_iter()
                .map(|value| value.trim().to_owned())
                .collect(),
        })
    };
    let text = text.trim();
    if let Some(rest) = text.strip_suffix(')') {
        let (head, values) = rest.split_once('(')?;
        let (key, word) = head.trim().rsplit_once(char::is_whitespace)?;
        let operator = match word {
            "in" => Operator::In,
            "notin" => Operator::NotIn,
            _ => return None,
        };
        return make(key, operator, values.split(',').collect());
    }
    if let Some((key, value)) = text.split_once("!=") {
        return make(key, Operator::NotIn, vec![value]);
    }
    if let Some((key, value)) = text.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        return make(key, Operator::In, vec![value]);
    }
    match text.strip_prefix('!') {
        Some(key) => make(key, Operator::DoesNotExist, Vec::new()),
        None => make(text, Operator::Exists, Vec::new()),
    }
}
