//! The CustomResourceDefinitions of our kinds, as they are installed.
//!
//! Version `v2` of Cilium's kinds is what the Rust types say. Version `v2alpha1` is `v2` with the differences that each kind
//! lists. Objects of both are structurally compatible, so there is no conversion. Kinds of our own group have one version.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceConversion, CustomResourceDefinition,
    CustomResourceDefinitionVersion, CustomResourceSubresources, JSONSchemaProps,
    JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::Value;

use crate::{
    BGPRouteImport, CiliumBGPAdvertisement, CiliumBGPClusterConfig, CiliumBGPNodeConfig,
    CiliumBGPNodeConfigOverride, CiliumBGPPeerConfig, CiliumLoadBalancerIPPool, advertisement,
    cluster_config, load_balancer_ip_pool, node_config, node_config_override, peer_config,
    route_import,
};

/// Label in which Cilium keeps the version of its definitions. Cilium's operator replaces a definition whose version is
/// lower than its own, so we state the version whose schemas ours equal.
const SCHEMA_VERSION_LABEL: (&str, &str) = ("io.cilium.k8s.crd.schema.version", "1.33.12");

/// Tells Helm to leave the definitions, and with them all objects, when the chart is uninstalled.
const KEEP_ANNOTATION: (&str, &str) = ("helm.sh/resource-policy", "keep");

/// The definitions we install: Cilium's by name, then our own. Each carries Helm's keep policy as an annotation, Cilium's
/// also its schema version as a label.
#[must_use]
pub fn custom_resource_definitions() -> Vec<CustomResourceDefinition> {
    vec![
        definition::<CiliumBGPAdvertisement>(advertisement::COLUMNS, advertisement::V2ALPHA1),
        definition::<CiliumBGPClusterConfig>(cluster_config::COLUMNS, cluster_config::V2ALPHA1),
        definition::<CiliumBGPNodeConfigOverride>(
            node_config_override::COLUMNS,
            node_config_override::V2ALPHA1,
        ),
        definition::<CiliumBGPNodeConfig>(node_config::COLUMNS, node_config::V2ALPHA1),
        definition::<CiliumBGPPeerConfig>(peer_config::COLUMNS, peer_config::V2ALPHA1),
        definition::<CiliumLoadBalancerIPPool>(
            load_balancer_ip_pool::COLUMNS,
            load_balancer_ip_pool::V2ALPHA1,
        ),
        own_definition::<BGPRouteImport>(route_import::COLUMNS),
    ]
}

/// A definition as a document to be written: `apiVersion`, `kind`, `metadata`, `spec`, with whole numbers written as
/// such (Kubernetes' types keep bounds as floating-point numbers, which would read `65535.0`).
#[must_use]
pub fn manifest(definition: &CustomResourceDefinition) -> Value {
    let mut document = serde_json::to_value(definition).expect("a definition has only string keys");
    whole_numbers(&mut document);
    document
}

fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = number
                .as_f64()
                .filter(|float| float.fract() == 0.0 && float.abs() < 2f64.powi(53))
            {
                *value = Value::from(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// A kind of Cilium's.
fn definition<Kind: CustomResourceExt>(
    columns: &[Column],
    v2alpha1: &[Difference],
) -> CustomResourceDefinition {
    let mut definition = own_definition::<Kind>(columns);
    definition.metadata.labels = entry(SCHEMA_VERSION_LABEL);
    let versions = &mut definition.spec.versions;
    let old: Vec<_> = versions
        .iter()
        .map(|version| deprecated(version, v2alpha1))
        .collect();
    versions.extend(old);
    definition
}

/// A kind in the versions its Rust type has.
fn own_definition<Kind: CustomResourceExt>(columns: &[Column]) -> CustomResourceDefinition {
    let mut definition = Kind::crd();
    definition.metadata.annotations = entry(KEEP_ANNOTATION);

    let spec = &mut definition.spec;
    spec.names.list_kind = Some(format!("{}List", spec.names.kind));
    spec.conversion = Some(CustomResourceConversion {
        strategy: "None".into(),
        webhook: None,
    });
    for version in &mut spec.versions {
        complete(version, columns);
    }
    definition
}

fn entry((key, value): (&str, &str)) -> Option<BTreeMap<String, String>> {
    Some(BTreeMap::from([(key.to_owned(), value.to_owned())]))
}

/// Adds to a version what the derived one lacks: columns, subresources, the fields every object has.
fn complete(version: &mut CustomResourceDefinitionVersion, columns: &[Column]) {
    version.additional_printer_columns = Some(columns.iter().map(Column::definition).collect());
    version
        .subresources
        .get_or_insert_with(CustomResourceSubresources::default);
    let schema = root_schema(version);
    structural(schema);
    let fields = [
        (
            "apiVersion",
            "string",
            Some("API group and version of the object."),
        ),
        ("kind", "string", Some("Kind of the object.")),
        ("metadata", "object", None), // the API server describes it and admits no description here
    ];
    for (name, type_, description) in fields {
        let field = JSONSchemaProps {
            type_: Some(type_.into()),
            description: description.map(Into::into),
            ..JSONSchemaProps::default()
        };
        schema
            .properties
            .get_or_insert_default()
            .insert(name.into(), field);
    }
    schema.required = Some(vec!["metadata".into(), "spec".into()]);
}

/// `v2alpha1`: served but not stored, deprecated, and different where the kind says so.
fn deprecated(
    version: &CustomResourceDefinitionVersion,
    differences: &[Difference],
) -> CustomResourceDefinitionVersion {
    let mut old = CustomResourceDefinitionVersion {
        name: "v2alpha1".into(),
        storage: false,
        deprecated: Some(true),
        ..version.clone()
    };
    for difference in differences {
        difference.apply(root_schema(&mut old));
    }
    old
}

fn root_schema(version: &mut CustomResourceDefinitionVersion) -> &mut JSONSchemaProps {
    let schema = version
        .schema
        .as_mut()
        .and_then(|schema| schema.open_api_v3_schema.as_mut());
    schema.expect("a derived definition has a schema")
}

/// Rewrites what schemars says of Rust's types into what Kubernetes knows: its integers are int32 and int64, an
/// optional field is absent rather than null, and names of Rust types say nothing.
fn structural(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.title = None;
    schema.format = schema
        .format
        .take()
        .and_then(|format| match format.as_str() {
            "uint8" => None,
            "uint16" => Some("int32".into()),
            "uint32" => Some("int64".into()),
            _ => Some(format),
        });
    for property in schema.properties.iter_mut().flat_map(BTreeMap::values_mut) {
        structural(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        structural(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        structural(values);
    }
}

/// A difference of `v2alpha1` from `v2`. Paths are written as in `.spec.bgpInstances[].peers[].name`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Difference {
    /// The field is absent.
    Without(&'static str),
    /// The field is there too, with this schema.
    With(&'static str, &'static str),
    /// The enumeration lacks the value.
    WithoutValue(&'static str, &'static str),
    /// The validation rule is absent.
    WithoutRule(&'static str, &'static str),
}

impl Difference {
    /// Panics where the difference does not fit the schema: both stand in this crate.
    fn apply(self, schema: &mut JSONSchemaProps) {
        match self {
            Self::Without(path) => {
                let (parent, field) = parent_of(schema, path);
                parent
                    .remove(field)
                    .expect("v2 has the field that v2alpha1 lacks");
            }
            Self::With(path, text) => {
                let (parent, field) = parent_of(schema, path);
                let schema =
                    serde_json::from_str(text).expect("the schema of a listed difference parses");
                let before = parent.insert(field.into(), schema);
                assert!(
                    before.is_none(),
                    "v2 lacks the field {path} that v2alpha1 has"
                );
            }
            Self::WithoutValue(path, value) => {
                let values = field_at(schema, path)
                    .enum_
                    .as_mut()
                    .expect("the field is an enumeration");
                values.retain(|known| known.0 != value);
            }
            Self::WithoutRule(path, rule) => {
                let rules = field_at(schema, path)
                    .x_kubernetes_validations
                    .as_mut()
                    .expect("the field has rules");
                rules.retain(|known| known.rule != rule);
            }
        }
    }
}

/// The fields among which the last one of a path stands, and its name.
fn parent_of<'schema, 'path>(
    schema: &'schema mut JSONSchemaProps,
    path: &'path str,
) -> (&'schema mut BTreeMap<String, JSONSchemaProps>, &'path str) {
    let (parent, field) = path.rsplit_once('.').expect("a path begins with a dot");
    let fields = field_at(schema, parent).properties.as_mut();
    (
        fields.expect("the parent of a listed difference has fields"),
        field,
    )
}

fn field_at<'schema>(
    schema: &'schema mut JSONSchemaProps,
    path: &str,
) -> &'schema mut JSONSchemaProps {
    path.split('.')
        .filter(|step| !step.is_empty())
        .fold(schema, |schema, step| {
            let name = step.trim_end_matches("[]");
            let field = schema
                .properties
                .as_mut()
                .and_then(|fields| fields.get_mut(name));
            let field = field.expect("the path of a listed difference exists");
            if step.ends_with("[]") {
                items_of(field).expect("a path says [] only of lists")
            } else {
                field
            }
        })
}

fn items_of(schema: &mut JSONSchemaProps) -> Option<&mut JSONSchemaProps> {
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(items),
        Some(JSONSchemaPropsOrArray::Schemas(_)) | None => None,
    }
}

/// A column of `kubectl get`. The API server shows the first value a path finds; lists and objects as JSON. A kind has
/// Cilium's columns first, then those that only ours has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    name: &'static str,
    type_: &'static str,
    path: &'static str,
    description: &'static str,
    priority: Option<i32>,
}

impl Column {
    /// How old the object is, as Cilium has it in every kind.
    pub(crate) const AGE: Self = Self::date("Age", ".metadata.creationTimestamp", "");

    /// Text, or anything else as JSON.
    pub(crate) const fn string(
        name: &'static str,
        path: &'static str,
        description: &'static str,
    ) -> Self {
        Self::new(name, "string", path, description)
    }

    /// A whole number.
    pub(crate) const fn integer(
        name: &'static str,
        path: &'static str,
        description: &'static str,
    ) -> Self {
        Self::new(name, "integer", path, description)
    }

    /// True or false.
    pub(crate) const fn boolean(
        name: &'static str,
        path: &'static str,
        description: &'static str,
    ) -> Self {
        Self::new(name, "boolean", path, description)
    }

    /// A time, shown as how long ago it was.
    pub(crate) const fn date(
        name: &'static str,
        path: &'static str,
        description: &'static str,
    ) -> Self {
        Self::new(name, "date", path, description)
    }

    const fn new(
        name: &'static str,
        type_: &'static str,
        path: &'static str,
        description: &'static str,
    ) -> Self {
        Self {
            name,
            type_,
            path,
            description,
            priority: None,
        }
    }

    /// Shown with `-o wide` only.
    pub(crate) const fn wide(self) -> Self {
        Self {
            priority: Some(1),
            ..self
        }
    }

    fn definition(&self) -> CustomResourceColumnDefinition {
        CustomResourceColumnDefinition {
            name: self.name.into(),
            type_: self.type_.into(),
            json_path: self.path.into(),
            description: Some(self.description)
                .filter(|text| !text.is_empty())
                .map(Into::into),
            format: None,
            priority: self.priority,
        }
    }
}
