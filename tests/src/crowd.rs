//! Many Services at once: all choose by Maglev among the pods of the published workload, each has an address of its own.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ::lab::wait;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::peering::{self, node_addresses};
use crate::{Failure, Lab, claim, eventually};

/// From the last change of a Service to the router's kernel.
const PATIENCE: Duration = Duration::from_secs(60);
/// The addresses of the crowd.
const ADDRESSES: &str = "172.18.0.0/20";
/// The advertisement of the crowd's addresses; the pool of [`ADDRESSES`] is added to it.
const ADVERTISEMENT: &str = "apiVersion: cilium.io/v2
kind: CiliumBGPAdvertisement
metadata:
  name: crowd
  labels:
    advertise: bgp
spec:
  advertisements:
  - advertisementType: Service
    service:
      addresses: [LoadBalancerIP]
    selector:
      matchLabels: {crowd: \"true\"}
";

/// The Services, and the means to make them.
pub struct Crowd {
    api_server: ApiServer,
    services: Api<Service>,
    slices: Api<EndpointSlice>,
}

impl Crowd {
    /// Makes the pool of addresses and their advertisement. Services of an earlier crowd are part of this one.
    ///
    /// # Errors
    /// When the cluster cannot be reached or refuses.
    pub fn new(lab: &Lab) -> Result<Self, Failure> {
        let pool = format!(
            "apiVersion: cilium.io/v2\nkind: CiliumLoadBalancerIPPool\nmetadata:\n  name: crowd\nspec:\n  blocks:\n  \
             - cidr: {ADDRESSES}\n---\n"
        );
        lab.cluster.apply(&(pool + ADVERTISEMENT))?;
        let api_server = ApiServer::of(lab)?;
        Ok(Self {
            services: Api::default_namespaced(api_server.client()),
            slices: Api::default_namespaced(api_server.client()),
            api_server,
        })
    }

    /// What makes the Services, for other requests.
    #[must_use]
    pub fn api_server(&self) -> &ApiServer {
        &self.api_server
    }

    /// Makes it a crowd of `count`, and waits until each has its endpoints, and the router's kernel a route to it by way of every node.
    ///
    /// # Errors
    /// When the API server refuses, or endpoints or routes do not come within a minute.
    pub fn gather(&self, lab: &Lab, count: usize) -> Result<(), Failure> {
        let there = self.names()?;
        let wanted: BTreeSet<String> = (0..count).map(|number| format!("crowd-{number}")).collect();
        self.remove(there.difference(&wanted).cloned())?;
        let missing = wanted.difference(&there).cloned().map(|name| {
            let services = self.services.clone();
            async move {
                let service = service(&name, &json!({"app": "webpod"}), "Cluster");
                services.create(&PostParams::default(), &service).await
            }
        });
        self.api_server.requests(missing)?;

        let mut nodes = node_addresses(lab);
        nodes.sort_unstable();
        let router = lab.router()?;
        let awaited = format!("the router has {count} routes by way of every node");
        wait::try_until(PATIENCE, &awaited, || {
            let routes = router.kernel_routes()?;
            let ours = routes.iter().filter(|route| is_address(&route.prefix));
            let complete = ours.filter(|route| peering::gateways(route) == nodes);
            Ok((complete.count() == count).then_some(()))
        })?;
        eventually(PATIENCE, || {
            // A slice has the labels of its Service.
            let slices = self
                .api_server
                .request(self.slices.list_metadata(&ours()))?
                .items;
            claim(slices.len() == count, || {
                format!(
                    "each of {count} Services has an EndpointSlice, not {} of them",
                    slices.len()
                )
            })
        })
    }

    /// The address of each Service that has one, in their order.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn addresses(&self) -> Result<Vec<IpAddr>, Failure> {
        let services = self.api_server.request(self.services.list(&ours()))?;
        let ingress = services.items.into_iter().filter_map(|service| {
            let ingress = service.status?.load_balancer?.ingress?;
            ingress.first()?.ip.as_ref()?.parse().ok()
        });
        let mut addresses: Vec<IpAddr> = ingress.collect();
        addresses.sort_unstable();
        Ok(addresses)
    }

    /// Deletes all Services of the crowd.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn disperse(&self) -> Result<(), Failure> {
        self.remove(self.names()?)
    }

    fn names(&self) -> Result<BTreeSet<String>, Failure> {
        let services = self
            .api_server
            .request(self.services.list_metadata(&ours()))?;
        let names = services.into_iter();
        Ok(names.filter_map(|service| service.metadata.name).collect())
    }

    fn remove(&self, names: impl IntoIterator<Item = String>) -> Result<(), Failure> {
        let removals = names.into_iter().map(|name| {
            let services = self.services.clone();
            async move { services.delete(&name, &DeleteParams::default()).await }
        });
        self.api_server.requests(removals)
    }
}

/// A Service of the crowd, with these pods and that external traffic policy.
///
/// # Panics
/// When `selector` is no map of labels.
#[must_use]
pub fn service(name: &str, selector: &Value, policy: &str) -> Service {
    let object = json!({
        "metadata": {
            "name": name,
            "labels": {"crowd": "true"},
            "annotations": {"service.cilium.io/lb-algorithm": "maglev"},
        },
        "spec": {
            "type": "LoadBalancer",
            "externalTrafficPolicy": policy,
            "allocateLoadBalancerNodePorts": false,
            "selector": selector,
            "ports": [{"port": 80}],
        },
    });
    serde_json::from_value(object).expect("a Service")
}

/// Whether `prefix` is the address of a Service of the crowd.
#[must_use]
pub fn is_address(prefix: &IpNet) -> bool {
    let all: IpNet = ADDRESSES.parse().expect("a literal prefix");
    all.contains(prefix) && prefix.prefix_len() == prefix.max_prefix_len()
}

fn ours() -> ListParams {
    ListParams::default().labels("crowd=true")
}
