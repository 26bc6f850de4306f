//! Services of type ClusterIP with an external address each, and their EndpointSlices, which all name the same pods.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use scenarios::Failure;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::stage::Stage;

/// Requests to the API server at once.
const AT_ONCE: usize = 16;

/// The means to make Services.
pub(crate) struct Crowd {
    runtime: Runtime,
    services: Api<Service>,
    slices: Api<EndpointSlice>,
    endpoints: Value,
}

impl Crowd {
    pub(crate) fn new(stage: &Stage) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::socket("runtime"))?;
        let kubeconfig = stage.lab.cluster.kubeconfig().to_owned();
        let client = runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(kubeconfig).map_err(unexpected)?;
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            Client::try_from(config.map_err(unexpected)?).map_err(unexpected)
        })?;
        let endpoint = |(address, node): &(_, String)| json!({ "addresses": [address], "nodeName": node, "conditions": { "ready": true } });
        Ok(Self {
            services: Api::default_namespaced(client.clone()),
            slices: Api::default_namespaced(client),
            endpoints: stage.endpoints.iter().map(endpoint).collect(),
            runtime,
        })
    }

    /// Makes the Services of these numbers.
    pub(crate) fn gather(&self, numbers: Range<usize>) -> Result<(), Failure> {
        let make = |number| {
            let (services, slices) = (self.services.clone(), self.slices.clone());
            let (service, slice) = (service(number), slice(number, &self.endpoints));
            async move {
                services.create(&PostParams::default(), &service).await?;
                slices.create(&PostParams::default(), &slice).await?;
                Ok(())
            }
        };
        self.runtime.block_on(at_once(numbers.map(make)))
    }

    /// Deletes all of them.
    pub(crate) fn disperse(&self) -> Result<(), Failure> {
        let ours = ListParams::default().labels("crowd=true");
        let deletion = DeleteParams::default();
        self.runtime.block_on(async {
            let all = self
                .services
                .list_metadata(&ours)
                .await
                .map_err(unexpected)?;
            let names = all.into_iter().filter_map(|service| service.metadata.name);
            let delete = |name: String| {
                let (services, slices) = (self.services.clone(), self.slices.clone());
                let deletion = deletion.clone();
                async move {
                    services.delete(&name, &deletion).await?;
                    slices.delete(&name, &deletion).await?;
                    Ok(())
                }
            };
            at_once(names.map(delete)).await
        })
    }
}

/// Carries out all of them, some at a time.
async fn at_once<F>(all: impl Iterator<Item = F>) -> Result<(), Failure>
where
    F: Future<Output = kube::Result<()>> + Send + 'static,
{
    let mut going = JoinSet::new();
    for one in all {
        going.spawn(one);
        if going.len() == AT_ONCE {
            joined(going.join_next().await)?;
        }
    }
    while !going.is_empty() {
        joined(going.join_next().await)?;
    }
    Ok(())
}

fn joined(joined: Option<Result<kube::Result<()>, tokio::task::JoinError>>) -> Result<(), Failure> {
    match joined {
        None | Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(error))) => Err(unexpected(error)),
        Some(Err(error)) => Err(unexpected(error)),
    }
}

fn unexpected(error: impl std::fmt::Display) -> Failure {
    Failure::Untrue(format!("the API server does what it is asked: {error}"))
}

/// Where the Services of these numbers are asked.
pub(crate) fn targets(numbers: Range<usize>) -> Vec<SocketAddr> {
    let target = |number| SocketAddr::new(address(number).into(), 80);
    numbers.map(target).collect()
}

fn address(number: usize) -> Ipv4Addr {
    let number = u16::try_from(number + 1).expect("fewer Services than addresses");
    let [third, fourth] = number.to_be_bytes();
    Ipv4Addr::new(172, 18, third, fourth)
}

fn name(number: usize) -> String {
    format!("crowd-{number}")
}

fn service(number: usize) -> Service {
    let object = json!({
        "metadata": { "name": name(number), "labels": { "crowd": "true" } },
        "spec": { "externalIPs": [address(number)], "ports": [{ "port": 80 }] },
    });
    serde_json::from_value(object).expect("a Service")
}

fn slice(number: usize, endpoints: &Value) -> EndpointSlice {
    let name = name(number);
    let object = json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/service-name": name } },
        "addressType": "IPv4",
        "ports": [{ "port": 80, "protocol": "TCP" }],
        "endpoints": endpoints,
    });
    serde_json::from_value(object).expect("an EndpointSlice")
}
