//! Our definitions are Cilium's, field by field.
//!
//! `facts/` says what a server that runs Cilium 1.20 serves: one file per kind, with every field's constraints by path
//! (`[]` for items of a list, `{}` for values of a map). Ours are brought into the same form and compared. What
//! differs must be listed here with its reason, and what is listed must differ.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value, json};

/// Differences of every kind, by path, each with its reason.
const LISTED: &[(&str, &str)] = &[
    (
        "versions.v2.columns[more]",
        "Cilium shows little or nothing of the state; our columns, after its own, show it",
    ),
    (
        "versions.v2alpha1.columns[more]",
        "the same columns, whichever version is asked for",
    ),
];

/// What a server that runs Cilium serves, and that ours are compared with.
const FACTS: &[&str] = &[
    include_str!("facts/ciliumbgpadvertisements.json"),
    include_str!("facts/ciliumbgpclusterconfigs.json"),
    include_str!("facts/ciliumbgpnodeconfigoverrides.json"),
    include_str!("facts/ciliumbgpnodeconfigs.json"),
    include_str!("facts/ciliumbgppeerconfigs.json"),
    include_str!("facts/ciliumloadbalancerippools.json"),
];

#[test]
fn every_definition_equals_ciliums_except_for_listed_differences() {
    let mut definitions = api::crd::custom_resource_definitions();
    definitions.retain(|definition| definition.spec.group == "cilium.io");
    assert_eq!(definitions.len(), FACTS.len());
    for (definition, facts) in definitions.iter().zip(FACTS) {
        let theirs: Value = serde_json::from_str(facts).expect("facts are JSON");
        let mut found = BTreeSet::new();
        differences("", &theirs, &facts_of(definition), &mut found);
        let listed: BTreeSet<String> = LISTED.iter().map(|(path, _)| (*path).to_owned()).collect();
        let name = &definition.spec.names.plural;
        let unlisted: Vec<_> = found.difference(&listed).collect();
        let gone: Vec<_> = listed.difference(&found).collect();
        assert!(
            unlisted.is_empty(),
            "{name} differs from Cilium's, and the list does not say so: {unlisted:#?}"
        );
        assert!(
            gone.is_empty(),
            "{name} does not differ from Cilium's where the list says so: {gone:#?}"
        );
    }
}

#[test]
fn a_difference_in_any_part_is_found() {
    let theirs: Value = serde_json::from_str(FACTS[1]).expect("facts are JSON");
    let edits: [(&str, Value); 10] = [
        ("/names/shortNames/0", json!("other")),
        ("/scope", json!("Namespaced")),
        ("/versions/v2/storage", json!(false)),
        ("/versions/v2/schema/.spec.bgpInstances/maxItems", json!(17)),
        (
            "/versions/v2/schema/.spec.bgpInstances/x-kubernetes-list-map-keys",
            json!(["id"]),
        ),
        (
            "/versions/v2/schema/.spec.bgpInstances[].peers[].peerASN/default",
            Value::Null,
        ),
        (
            "/versions/v2/schema/.spec.nodeSelector.matchExpressions[].operator/enum/3",
            json!("Lt"),
        ),
        ("/versions/v2alpha1/subresources", json!({})),
        ("/versions/v2/columns", json!([])),
        ("/versions/v2/selectableFields", json!([".spec.a"])),
    ];
    for (pointer, value) in edits {
        let mut edited = theirs.clone();
        *edited.pointer_mut(pointer).expect("the facts have it") = value;
        let mut found = BTreeSet::new();
        differences("", &theirs, &edited, &mut found);
        assert_eq!(found.len(), 1, "{pointer}: {found:?}");
    }
}

#[test]
fn every_field_is_described() {
    for definition in api::crd::custom_resource_definitions() {
        for version in api::crd::manifest(&definition)["spec"]["versions"]
            .as_array()
            .expect("versions")
        {
            let mut fields = Map::new();
            flatten(
                "",
                &version["schema"]["openAPIV3Schema"],
                &mut fields,
                &["description"],
            );
            let mute = fields.iter().filter(|(path, field)| {
                let item = path.ends_with("[]") || path.ends_with("{}");
                *path != ".metadata" && !item && field.get("description").is_none()
            });
            let mute: Vec<_> = mute.map(|(path, _)| path).collect();
            assert!(
                mute.is_empty(),
                "{} {}: {mute:?}",
                definition.spec.names.kind,
                version["name"]
            );
        }
    }
}

#[test]
fn no_definition_contains_what_helm_would_take_for_a_template() {
    for definition in api::crd::custom_resource_definitions() {
        assert!(
            !api::crd::manifest(&definition).to_string().contains("{{"),
            "{}",
            definition.spec.names.kind
        );
    }
}

#[test]
fn helm_keeps_every_definition() {
    for definition in api::crd::custom_resource_definitions() {
        let annotations = definition.metadata.annotations.expect("annotations");
        assert_eq!(
            annotations["helm.sh/resource-policy"], "keep",
            "{}",
            definition.spec.names.kind
        );
    }
}

#[test]
fn definitions_come_out_equal_each_time() {
    assert_eq!(
        api::crd::custom_resource_definitions(),
        api::crd::custom_resource_definitions()
    );
}

/// A definition in the form of the facts.
fn facts_of(definition: &CustomResourceDefinition) -> Value {
    let document = api::crd::manifest(definition);
    let spec = &document["spec"];
    let versions = spec["versions"].as_array().expect("versions");
    let versions: Map<String, Value> = versions
        .iter()
        .map(|version| (text(&version["name"]), version_facts(version)))
        .collect();
    json!({
        "group": spec["group"],
        "labels": document["metadata"]["labels"],
        "names": spec["names"],
        "scope": spec["scope"],
        "versions": versions,
    })
}

fn version_facts(version: &Value) -> Value {
    let mut schema = Map::new();
    flatten("", &version["schema"]["openAPIV3Schema"], &mut schema, &[]);
    for field in schema.values_mut().filter_map(Value::as_object_mut) {
        field.remove("description");
    }
    json!({
        "columns": version["additionalPrinterColumns"],
        "deprecated": version.get("deprecated").unwrap_or(&json!(false)),
        "schema": schema,
        "selectableFields": version.get("selectableFields").unwrap_or(&json!([])),
        "served": version["served"],
        "storage": version["storage"],
        "subresources": version["subresources"],
    })
}

/// Every field of a schema by its path, with all its keywords except those that hold other fields; or only `keywords`,
/// if there are any.
fn flatten(path: &str, schema: &Value, fields: &mut Map<String, Value>, keywords: &[&str]) {
    let all = schema.as_object().expect("a schema is an object");
    let holds_fields = |keyword: &str| match keyword {
        "properties" | "items" => true,
        "additionalProperties" => all["additionalProperties"].is_object(),
        _ => false,
    };
    let kept = all.iter().filter(|(keyword, _)| {
        !holds_fields(keyword) && (keywords.is_empty() || keywords.contains(&keyword.as_str()))
    });
    let kept: Map<String, Value> = kept
        .map(|(keyword, value)| (keyword.clone(), value.clone()))
        .collect();
    fields.insert(
        if path.is_empty() {
            ".".into()
        } else {
            path.into()
        },
        Value::Object(kept),
    );

    for (name, property) in all
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        flatten(&format!("{path}.{name}"), property, fields, keywords);
    }
    if let Some(items) = all.get("items") {
        flatten(&format!("{path}[]"), items, fields, keywords);
    }
    if let Some(values) = all
        .get("additionalProperties")
        .filter(|values| values.is_object())
    {
        flatten(&format!("{path}{{}}"), values, fields, keywords);
    }
}

/// Paths at which two documents differ. Numbers are compared by value; what only one has counts at its own path; lists
/// of unequal length differ once more, at `[more]` where ours is the longer one, else at `[fewer]`.
fn differences(path: &str, theirs: &Value, ours: &Value, found: &mut BTreeSet<String>) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let names: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
            for name in names {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                match (theirs.get(name), ours.get(name)) {
                    (Some(theirs), Some(ours)) => differences(&path, theirs, ours, found),
                    _ => drop(found.insert(path)),
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            for (index, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                differences(&format!("{path}[{index}]"), theirs, ours, found);
            }
            match ours.len().cmp(&theirs.len()) {
                Ordering::Greater => drop(found.insert(format!("{path}[more]"))),
                Ordering::Less => drop(found.insert(format!("{path}[fewer]"))),
                Ordering::Equal => {}
            }
        }
        (Value::Number(theirs), Value::Number(ours)) if theirs.as_f64() == ours.as_f64() => {}
        _ if theirs == ours => {}
        _ => drop(found.insert(path.to_owned())),
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}
