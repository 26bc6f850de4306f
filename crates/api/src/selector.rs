//! Label selectors with Kubernetes' semantics.
//!
//! A [`LabelSelector`] is what users write; the schema admits some that mean nothing. [`LabelSelector::parse`] turns
//! it into a [`Selector`], which can only match or not, or says what is wrong with it. What an *absent* selector
//! means differs from field to field and is written there.

use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Selects objects by their labels: an object is selected when it meets every requirement, so an empty selector
/// selects every object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct LabelSelector {
    /// Labels that the object must have with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "match_labels_schema")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// A requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelectorRequirement {
    /// Name of the label.
    pub key: String,
    /// How the label's value relates to the values below.
    pub operator: Operator,
    /// Values to compare with: at least one for In and NotIn, none for Exists and DoesNotExist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Vec<String>,
}

/// How a label relates to a list of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The label is there with one of the values.
    In,
    /// The label is absent, or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// A valid selector, ready to match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, BTreeSet<String>),
    NotIn(String, BTreeSet<String>),
    Exists(String),
    DoesNotExist(String),
}

/// A selector that Kubernetes' schema admits and its semantics refuse.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("label {key:?}: {reason}")]
pub struct InvalidSelector {
    /// Label of the first requirement that is invalid; `matchLabels` before `matchExpressions`.
    pub key: String,
    /// What is wrong with it.
    pub reason: InvalidSelectorReason,
}

/// What is wrong with a requirement of a selector.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum InvalidSelectorReason {
    /// The key is no label name: an optional DNS prefix and a slash, then 1 to 63 letters, digits, `-`, `_`, `.`.
    #[error("not a label name")]
    Key,
    /// `In` or `NotIn` without values.
    #[error("operators In and NotIn need at least one value")]
    ValuesMissing,
    /// `Exists` or `DoesNotExist` with values.
    #[error("operators Exists and DoesNotExist take no values")]
    ValuesForbidden,
    /// A value is no label value: at most 63 letters, digits, `-`, `_`, `.`.
    #[error("{0:?} is not a label value")]
    Value(String),
}

impl LabelSelector {
    /// A selector that selects what has this one label with this value.
    #[must_use]
    pub fn label(key: &str, value: &str) -> Self {
        Self {
            match_labels: BTreeMap::from([(key.to_owned(), value.to_owned())]),
            ..Self::default()
        }
    }

    /// Checks what the schema leaves open, as Kubernetes' own `LabelSelectorAsSelector` does.
    ///
    /// # Errors
    /// The first requirement that is invalid.
    pub fn parse(&self) -> Result<Selector, InvalidSelector> {
        let labels = self.match_labels.iter().map(|(key, value)| {
            let values = BTreeSet::from([value.clone()]);
            Requirement::new(key, Operator::In, values)
        });
        let expressions = self.match_expressions.iter().map(|expression| {
            let values = expression.values.iter().cloned().collect();
            Requirement::new(&expression.key, expression.operator, values)
        });
        let requirements = labels.chain(expressions).collect::<Result<_, _>>()?;
        Ok(Selector { requirements })
    }
}

impl Selector {
    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// Whether an object is selected, of whose labels `label` tells the values.
    #[must_use]
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.matches(&label))
    }
}

impl Requirement {
    fn new(
        key: &str,
        operator: Operator,
        values: BTreeSet<String>,
    ) -> Result<Self, InvalidSelector> {
        let invalid = |reason| {
            Err(InvalidSelector {
                key: key.to_owned(),
                reason,
            })
        };
        if !is_label_name(key) {
            return invalid(InvalidSelectorReason::Key);
        }
        let wants_values = match operator {
            Operator::In | Operator::NotIn => true,
            Operator::Exists | Operator::DoesNotExist => false,
        };
        if wants_values && values.is_empty() {
            return invalid(InvalidSelectorReason::ValuesMissing);
        }
        if !wants_values && !values.is_empty() {
            return invalid(InvalidSelectorReason::ValuesForbidden);
        }
        if let Some(value) = values.iter().find(|value| !is_label_value(value)) {
            return invalid(InvalidSelectorReason::Value(value.clone()));
        }
        let key = key.to_owned();
        Ok(match operator {
            Operator::In => Self::In(key, values),
            Operator::NotIn => Self::NotIn(key, values),
            Operator::Exists => Self::Exists(key),
            Operator::DoesNotExist => Self::DoesNotExist(key),
        })
    }

    fn matches<'a>(&self, label: &impl Fn(&str) -> Option<&'a str>) -> bool {
        match self {
            Self::In(key, values) => label(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => label(key).is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => label(key).is_some(),
            Self::DoesNotExist(key) => label(key).is_none(),
        }
    }
}

/// `[prefix/]name`, as Kubernetes defines qualified names.
fn is_label_name(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_name(name),
        None => is_name(key),
    }
}

fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_name(value)
}

/// 1 to 63 letters, digits, `-`, `_`, `.`, a letter or digit at both ends.
fn is_name(name: &str) -> bool {
    name.len() <= 63
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.ends_with(|last: char| last.is_ascii_alphanumeric())
}

/// Names of lower-case letters, digits and `-`, joined by dots, at most 253 characters (RFC 1123 section 2.1).
fn is_dns_subdomain(name: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 253
        && name.split('.').all(|label| {
            let bytes = label.as_bytes();
            bytes.first().copied().is_some_and(lower)
                && bytes.last().copied().is_some_and(lower)
                && bytes.iter().all(|&byte| lower(byte) || byte == b'-')
        })
}

fn match_labels_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
        },
    })
}

#[cfg(test)]
mod tests;
