//! One write to the API server.

mod node_configs;

use std::sync::Arc;
use std::time::Duration;

use api::condition::Condition;
use api::{
    CiliumBGPClusterConfig, CiliumBGPNodeConfig, CiliumBGPPeerConfig, CiliumLoadBalancerIPPool,
};
use kube::api::{Api, Patch, PatchParams};
use kube::core::Request;
use kube::{Client, Resource};
use plan::addresses::{AddressPlan, PoolOp, ServiceOp};
use plan::cluster::{ClusterPlan, Conditioned, ConditionsOp, NodeConfigOp};
use plan::{NamespacedName, ServiceFacts};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;

/// Name under which the API server notes what we write.
pub const FIELD_MANAGER: &str = "tombolo-operator";
/// How long the API server may take before the write counts as failed and is made again.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A write.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Of a NodeConfig.
    NodeConfig(NodeConfigOp),
    /// Of conditions.
    Conditions(ConditionsOp),
    /// Of a Service's status.
    Service(ServiceOp),
    /// Of a pool's conditions.
    Pool(PoolOp),
}

/// What a write concerns: there is never more than one under way for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The NodeConfig of this name.
    NodeConfig(String),
    /// The conditions of the object of this kind and name.
    Conditions(Conditioned, String),
    /// The status of this Service.
    Service(NamespacedName),
    /// The conditions of the pool of this name.
    Pool(String),
}

/// The object as it is after the write.
#[derive(Debug, Clone)]
pub enum Applied {
    /// A NodeConfig, without status.
    NodeConfig(Arc<CiliumBGPNodeConfig>),
    /// A NodeConfig that is gone.
    Gone {
        /// Its name.
        name: String,
        /// The one that is meant.
        uid: String,
    },
    /// A ClusterConfig.
    ClusterConfig(Arc<CiliumBGPClusterConfig>),
    /// A PeerConfig.
    PeerConfig(Arc<CiliumBGPPeerConfig>),
    /// A Service.
    Service(NamespacedName, Arc<ServiceFacts>),
    /// A pool.
    Pool(Arc<CiliumLoadBalancerIPPool>),
}

/// Why a write failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In words.
    pub reason: String,
    /// How to take it.
    pub sort: FailureSort,
}

/// How to take a failed write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureSort {
    /// The object is not as the plan knew it. The watch will tell.
    Stale,
    /// The API server does not want the object so, and the user has to know.
    Refused,
    /// Anything else; it may pass.
    Passing,
}

/// The writes of both plans, in the order in which they shall start: pools last, whose counts then tell of Services that
/// have their addresses.
#[must_use]
pub fn ops(cluster: ClusterPlan, addresses: AddressPlan) -> Vec<Op> {
    let ClusterPlan {
        node_configs,
        conditions,
        rejected: _,
    } = cluster;
    let AddressPlan {
        services,
        pools,
        figures: _,
    } = addresses;
    let node_configs = node_configs.into_iter().map(Op::NodeConfig);
    let ops = node_configs.chain(conditions.into_iter().map(Op::Conditions));
    ops.chain(services.into_iter().map(Op::Service))
        .chain(pools.into_iter().map(Op::Pool))
        .collect()
}

impl Op {
    /// What it concerns.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::NodeConfig(op) => Key::NodeConfig(op.name().to_owned()),
            Self::Conditions(op) => Key::Conditions(op.kind, op.name.clone()),
            Self::Service(op) => Key::Service(op.name.clone()),
            Self::Pool(op) => Key::Pool(op.name.clone()),
        }
    }

    /// Whether another attempt would be the same request. The times in conditions do not count.
    #[must_use]
    pub fn repeats(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::NodeConfig(a), Self::NodeConfig(b)) => a == b,
            (Self::Conditions(a), Self::Conditions(b)) => a.resource_version == b.resource_version,
            (Self::Service(a), Self::Service(b)) => {
                a.resource_version == b.resource_version && a.ingress == b.ingress
            }
            (Self::Pool(a), Self::Pool(b)) => a.resource_version == b.resource_version,
            (Self::NodeConfig(_) | Self::Conditions(_) | Self::Service(_) | Self::Pool(_), _) => {
                false
            }
        }
    }

    /// Whether it tells of a sum that many other changes move, so that not each of its states is worth a write.
    #[must_use]
    pub fn is_summary(&self) -> bool {
        match self {
            Self::Pool(_) => true,
            Self::NodeConfig(_) | Self::Conditions(_) | Self::Service(_) => false,
        }
    }

    /// In one word, for logs and metrics.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::NodeConfig(NodeConfigOp::Create { .. }) => "create",
            Self::NodeConfig(NodeConfigOp::Update { .. }) => "update",
            Self::NodeConfig(NodeConfigOp::Delete { .. } | NodeConfigOp::Collect { .. }) => {
                "delete"
            }
            Self::Conditions(_) | Self::Pool(_) => "conditions",
            Self::Service(_) => "status",
        }
    }
}

impl Key {
    /// The kind of the object.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NodeConfig(_) => "CiliumBGPNodeConfig",
            Self::Conditions(Conditioned::ClusterConfig, _) => "CiliumBGPClusterConfig",
            Self::Conditions(Conditioned::PeerConfig, _) => "CiliumBGPPeerConfig",
            Self::Service(_) => "Service",
            Self::Pool(_) => "CiliumLoadBalancerIPPool",
        }
    }

    /// The name of the object, with its namespace where it has one.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::NodeConfig(name) | Self::Conditions(_, name) | Self::Pool(name) => name.clone(),
            Self::Service(name) => name.to_string(),
        }
    }
}

/// Makes one write, once.
///
/// # Errors
///
/// When it is not known to have succeeded. It may have: to make it again is harmless.
pub async fn apply(client: Client, op: &Op) -> Result<Applied, Failure> {
    let write = async {
        let written = match op {
            Op::NodeConfig(op) => return node_configs::write(client, op).await,
            Op::Conditions(op) => conditions(client, op).await,
            Op::Service(op) => service(client, op).await,
            Op::Pool(op) => {
                let version = op.resource_version.as_deref();
                patch_conditions(client, &op.name, version, &op.conditions)
                    .await
                    .map(Applied::Pool)
            }
        };
        written.map_err(Failure::from)
    };
    match timeout(TIMEOUT, write).await {
        Ok(result) => result,
        Err(_) => Err(Failure {
            reason: "no answer in time".to_owned(),
            sort: FailureSort::Passing,
        }),
    }
}

async fn conditions(client: Client, op: &ConditionsOp) -> Result<Applied, kube::Error> {
    let ConditionsOp {
        kind,
        name,
        resource_version,
        conditions,
    } = op;
    let version = resource_version.as_deref();
    match kind {
        Conditioned::ClusterConfig => patch_conditions(client, name, version, conditions)
            .await
            .map(Applied::ClusterConfig),
        Conditioned::PeerConfig => patch_conditions(client, name, version, conditions)
            .await
            .map(Applied::PeerConfig),
    }
}

async fn patch_conditions<K>(
    client: Client,
    name: &str,
    resource_version: Option<&str>,
    conditions: &[Condition],
) -> Result<Arc<K>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    K: Resource<Scope = k8s_openapi::ClusterResourceScope>,
{
    // The resource version makes it fail, and not lose a condition of somebody else, if the list has changed since.
    let patch = Patch::Merge(json!({
        "metadata": {"resourceVersion": resource_version},
        "status": {"conditions": conditions},
    }));
    let mut object = Api::<K>::all(client)
        .patch_status(name, &params(), &patch)
        .await?;
    object.meta_mut().managed_fields = None;
    Ok(Arc::new(object))
}

async fn service(client: Client, op: &ServiceOp) -> Result<Applied, kube::Error> {
    let ServiceOp {
        name: NamespacedName { namespace, name },
        resource_version,
        ingress,
        conditions,
    } = op;
    let ingress: Vec<_> = ingress.iter().map(|ip| json!({"ip": ip})).collect();
    let patch = Patch::Merge(json!({
        "metadata": {"resourceVersion": resource_version},
        "status": {"loadBalancer": {"ingress": ingress}, "conditions": conditions},
    }));
    let request = Request::new(format!("/api/v1/namespaces/{namespace}/services"))
        .patch_subresource("status", name, &params(), &patch)
        .map_err(kube::Error::BuildRequest)?;
    let answer = client.request(request).await?;
    let (name, facts) = cluster::service(answer).map_err(kube::Error::SerdeError)?;
    Ok(Applied::Service(name, Arc::new(facts)))
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        let sort = match &error {
            kube::Error::Api(status) => match status.code {
                404 | 409 => FailureSort::Stale,
                400 | 403 | 422 => FailureSort::Refused,
                _ => FailureSort::Passing,
            },
            _ => FailureSort::Passing,
        };
        Self {
            reason: cluster::causes(&error),
            sort,
        }
    }
}
