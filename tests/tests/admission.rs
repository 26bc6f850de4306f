//! The API server admits and refuses objects of our kinds as the rows of `admission.yaml` say, with the exact reason,
//! and shows the state of those it has.

use std::collections::BTreeMap;
use std::error::Error;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, GetParams, Patch, PatchParams, PostParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use lab::control_plane::ControlPlane;
use serde::Deserialize;
use serde_json::{Value, json};

/// Rows by kind.
const ROWS: &str = include_str!("../../crates/api/tests/admission.yaml");

/// Objects that use every field, one of each kind.
const COMPLETE: &str = include_str!("../../crates/api/tests/complete.yaml");

/// What `kubectl get` shows of them, apart from times.
const SHOWN: [(&str, &str); 7] = [
    (
        "CiliumBGPClusterConfig",
        "ASN 4294967295, No Node null, Missing Peer Config null, Conflict True, \
         Problem Selecting the same node(s) with ClusterConfig(s): [first second]",
    ),
    (
        "CiliumBGPPeerConfig",
        "Hold 65535, Keepalive 3, Multihop 255, Graceful Restart true, Family ipv4, Missing Secret True",
    ),
    (
        "CiliumBGPAdvertisement",
        "Pod CIDR PodCIDR, Service [\"LoadBalancerIP\",\"ClusterIP\",\"ExternalIP\"], Pod Pool CiliumPodIPPool, \
         Interface dummy0, Labels {\"advertise\":\"bgp\"}",
    ),
    (
        "CiliumBGPNodeConfig",
        "ASN 65001, Peer tor-switch, State established, Received 5, Advertised 2, Down gateway, Error False, \
         Imported True",
    ),
    (
        "CiliumBGPNodeConfigOverride",
        "Instance instance-65001, Router ID 10.0.0.1, ASN 65010, Port 70000, Local Address fe80::1%eth0",
    ),
    (
        "CiliumLoadBalancerIPPool",
        "Disabled true, Conflicting True, IPs Available 264, IPs Used 3, IPs Total 267, Rejected True, \
         Problem Pool conflicts since range '172.16.1.0 - 172.16.1.255' overlaps range '172.16.0.0 - 172.16.1.127' \
         from IP Pool 'elder'",
    ),
    (
        "BGPRouteImport",
        "Accepts 10.0.0.0/8, Table 100, Protocol 217, Metric 25, Paths 4",
    ),
];

/// An object, and what the API server says of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    claim: String,
    /// The version it is written in; the storage version where none is said.
    version: Option<String>,
    spec: Value,
    /// The object is made, then gets this status.
    status: Option<Value>,
    /// The spec that the server makes of it, or nothing where that is not asked.
    stored: Option<Value>,
    /// Part of the server's message; without it, the server admits the object.
    rejected: Option<String>,
}

#[test]
fn the_api_server_admits_and_refuses_as_the_rows_say() -> Result<(), Box<dyn Error>> {
    let plane = ControlPlane::start("admission")?;
    let rows: BTreeMap<String, Vec<Row>> = serde_norway::from_str(ROWS)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let client = connect(&plane).await?;
        let mut wrong = Vec::new();
        for (kind, rows) in &rows {
            for (number, row) in rows.iter().enumerate() {
                let answer = submit(&client, kind, &format!("row-{number}"), row).await?;
                let as_said = match (&row.rejected, &answer) {
                    (None, Ok(object)) => row
                        .stored
                        .as_ref()
                        .is_none_or(|spec| object["spec"] == *spec),
                    (Some(part), Err(message)) => message.contains(part),
                    (None, Err(_)) | (Some(_), Ok(_)) => false,
                };
                if !as_said {
                    wrong.push(format!("{kind}: {}: {answer:?}", row.claim));
                }
            }
        }
        assert!(
            wrong.is_empty(),
            "the API server says otherwise:\n{}",
            wrong.join("\n")
        );
        assert!(rows.values().map(Vec::len).sum::<usize>() >= 60);
        Ok(())
    })
}

#[test]
fn kubectl_get_shows_the_state_of_each_kind() -> Result<(), Box<dyn Error>> {
    let plane = ControlPlane::start("columns")?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let client = connect(&plane).await?;
        for (document, (kind, shown)) in serde_norway::Deserializer::from_str(COMPLETE).zip(SHOWN) {
            let object = Value::deserialize(document)?;
            assert_eq!(object["kind"], kind);
            assert_eq!(shown_of(&client, &object).await?, shown, "{kind}");
        }
        Ok(())
    })
}

/// The columns that kubectl prints of an object, without its name and those that are times: name and value, joined by
/// commas.
async fn shown_of(client: &Client, object: &Value) -> Result<String, Box<dyn Error>> {
    let kind = object["kind"].as_str().expect("a kind");
    let name = object["metadata"]["name"].as_str().expect("a name");
    let (_, requests) = requests(kind, None);
    create(client, &requests, object, false).await?;
    if let Some(status) = object.get("status") {
        let patch = Patch::Merge(json!({"status": status}));
        client
            .request::<Value>(requests.patch_subresource(
                "status",
                name,
                &PatchParams::default(),
                &patch,
            )?)
            .await?;
    }
    let mut get = requests.get(name, &GetParams::default())?;
    get.headers_mut().insert(
        "accept",
        "application/json;as=Table;v=v1;g=meta.k8s.io".parse()?,
    );
    let table: Value = client.request(get).await?;
    let columns = table["columnDefinitions"].as_array().expect("columns");
    let cells = table["rows"][0]["cells"].as_array().expect("a row");
    // The first is the name.
    let shown = columns
        .iter()
        .zip(cells)
        .skip(1)
        .filter(|(column, _)| column["priority"] == 0 && column["type"] != "date");
    let shown = shown.map(|(column, cell)| {
        let cell = cell
            .as_str()
            .map_or_else(|| cell.to_string(), ToOwned::to_owned);
        format!("{} {cell}", column["name"].as_str().expect("a name"))
    });
    Ok(shown.collect::<Vec<_>>().join(", "))
}

/// A client of a control plane that has our definitions.
async fn connect(plane: &ControlPlane) -> Result<Client, Box<dyn Error>> {
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    install(&client).await?;
    Ok(client)
}

/// The apiVersion of a kind, in that version or the one it is stored in, and the requests for it.
fn requests(kind: &str, version: Option<&str>) -> (String, Request) {
    let definitions = api::crd::custom_resource_definitions();
    let definition = definitions
        .iter()
        .find(|definition| definition.spec.names.kind == kind)
        .unwrap_or_else(|| panic!("{kind} is none of our kinds"));
    let spec = &definition.spec;
    let stored = spec.versions.iter().find(|version| version.storage);
    let stored = stored.expect("one version is stored").name.as_str();
    let api_version = format!("{}/{}", spec.group, version.unwrap_or(stored));
    let requests = Request::new(format!("/apis/{api_version}/{}", spec.names.plural));
    (api_version, requests)
}

/// The definitions as the chart has them, once the API server serves them.
async fn install(client: &Client) -> Result<(), Box<dyn Error>> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in api::crd::custom_resource_definitions() {
        let name = definition.name_any();
        api.create(&PostParams::default(), &definition).await?;
        await_condition(api.clone(), &name, is_crd_established()).await?;
    }
    Ok(())
}

/// The row's object as the API server has it, or why it refuses the object or its status. Leaves no object.
async fn submit(
    client: &Client,
    kind: &str,
    name: &str,
    row: &Row,
) -> Result<Result<Value, String>, kube::Error> {
    let (api_version, requests) = requests(kind, row.version.as_deref());
    let object = json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name},
        "spec": expand(&row.spec),
    });
    let Some(status) = &row.status else {
        return admission(create(client, &requests, &object, true).await);
    };
    create(client, &requests, &object, false).await?;
    let parameters = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    }
    .validation_strict();
    let patch = Patch::Merge(json!({"status": expand(status)}));
    let patch = requests
        .patch_subresource("status", name, &parameters, &patch)
        .map_err(kube::Error::BuildRequest)?;
    let answer = admission(client.request::<Value>(patch).await);
    let delete = requests
        .delete(name, &DeleteParams::default())
        .map_err(kube::Error::BuildRequest)?;
    client.request::<Value>(delete).await?;
    answer
}

/// Creates an object as kubectl does, with unknown fields refused.
async fn create(
    client: &Client,
    requests: &Request,
    object: &Value,
    dry_run: bool,
) -> Result<Value, kube::Error> {
    let parameters = PostParams {
        dry_run,
        field_manager: None,
    };
    let body = object.to_string().into_bytes();
    let mut request = requests
        .create(&parameters, body)
        .map_err(kube::Error::BuildRequest)?;
    let strict = format!("{}&fieldValidation=Strict", request.uri());
    *request.uri_mut() = strict.parse().expect("a path with a query");
    client.request(request).await
}

/// Tells a refusal from an answer that never came.
fn admission(answer: Result<Value, kube::Error>) -> Result<Result<Value, String>, kube::Error> {
    match answer {
        Ok(object) => Ok(Ok(object)),
        Err(kube::Error::Api(status)) => Ok(Err(status.message.clone())),
        Err(error) => Err(error),
    }
}

/// `"x*63"` stands for 63 times `x`.
fn expand(value: &Value) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix("x*").and_then(|count| count.parse().ok()) {
            Some(count) => Value::String("x".repeat(count)),
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(expand).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), expand(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
