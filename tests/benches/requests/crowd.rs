//! Services of type ClusterIP with an external address each, and their EndpointSlices, which all name the same pods.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use scenarios::Failure;
use scenarios::api_server::ApiServer;
use serde_json::{Value, json};

use crate::stage::Stage;

/// The means to make Services.
pub(crate) struct Crowd {
    api_server: ApiServer,
    services: Api<Service>,
    slices: Api<EndpointSlice>,
    endpoints: Value,
}

impl Crowd {
    pub(crate) fn new(stage: &Stage) -> Result<Self, Failure> {
        let api_server = ApiServer::of(&stage.lab)?;
        let endpoint = |(address, node): &(_, String)| json!({ "addresses": [address], "nodeName": node, "conditions": { "ready": true } });
        Ok(Self {
            services: Api::default_namespaced(api_server.client()),
            slices: Api::default_namespaced(api_server.client()),
            endpoints: stage.endpoints.iter().map(endpoint).collect(),
            api_server,
        })
    }

    /// Makes the Services of these numbers.
    pub(crate) fn gather(&self, numbers: Range<usize>) -> Result<(), Failure> {
        let make = |number| {
            let (services, slices) = (self.services.clone(), self.slices.clone());
            let (service, slice) = (service(number), slice(number, &self.endpoints));
            async move {
                services.create(&PostParams::default(), &service).await?;
                slices.create(&PostParams::default(), &slice).await
            }
        };
        self.api_server.requests(numbers.map(make))
    }

    /// Deletes all of them.
    pub(crate) fn disperse(&self) -> Result<(), Failure> {
        let ours = ListParams::default().labels("crowd=true");
        let all = self
            .api_server
            .request(self.services.list_metadata(&ours))?;
        let names = all.into_iter().filter_map(|service| service.metadata.name);
        let delete = |name: String| {
            let (services, slices) = (self.services.clone(), self.slices.clone());
            async move {
                let deletion = DeleteParams::default();
                services.delete(&name, &deletion).await?;
                slices.delete(&name, &deletion).await
            }
        };
        self.api_server.requests(names.map(delete))
    }
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
