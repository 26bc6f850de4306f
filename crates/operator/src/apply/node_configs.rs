//! Writes of NodeConfigs.

use std::fmt::Debug;
use std::sync::Arc;

use api::{CiliumBGPClusterConfig, CiliumBGPNodeConfig};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PostParams, Preconditions};
use plan::cluster::NodeConfigOp;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Applied, FIELD_MANAGER, Failure, FailureSort, params};

/// Makes one write, once.
pub(super) async fn write(client: Client, op: &NodeConfigOp) -> Result<Applied, Failure> {
    let node_configs = Api::<CiliumBGPNodeConfig>::all(client.clone());
    let written = match op {
        NodeConfigOp::Create { name, owner, spec } => {
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                owner_references: Some(vec![owner.clone()]),
                ..ObjectMeta::default()
            };
            let config = CiliumBGPNodeConfig {
                metadata,
                spec: spec.clone(),
                status: None,
            };
            let params = PostParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PostParams::default()
            };
            node_configs.create(&params, &config).await.map(present)
        }
        NodeConfigOp::Update { name, uid, spec } => {
            // The UID makes it fail, and not change a stranger, if the object has been replaced.
            let patch = Patch::Merge(json!({"metadata": {"uid": uid}, "spec": spec}));
            node_configs
                .patch(name, &params(), &patch)
                .await
                .map(present)
        }
        NodeConfigOp::Delete { name, uid } => delete(&node_configs, name, uid, None).await,
        NodeConfigOp::Collect { name, uid, owner } => {
            return collect(client, &node_configs, name, uid, owner).await;
        }
    };
    written.map_err(Failure::from)
}

/// Deletes a NodeConfig whose owner is gone, as the garbage collector does: after a look at the newest state of both.
async fn collect(
    client: Client,
    node_configs: &Api<CiliumBGPNodeConfig>,
    name: &str,
    uid: &str,
    owner: &OwnerReference,
) -> Result<Applied, Failure> {
    let stale = |reason: String| Failure {
        reason,
        sort: FailureSort::Stale,
    };
    let cluster_config = metadata(&Api::<CiliumBGPClusterConfig>::all(client), &owner.name).await?;
    if cluster_config.is_some_and(|config| config.uid.as_deref() == Some(&owner.uid)) {
        return Err(stale(format!("its owner {} is there", owner.name)));
    }
    let Some(node_config) = metadata(node_configs, name).await? else {
        return Ok(gone(name, uid));
    };
    let is_meant = node_config.uid.as_deref() == Some(uid)
        && node_config.owner_references.as_deref() == Some(std::slice::from_ref(owner));
    if !is_meant {
        return Err(stale("it is another, or another's".to_owned()));
    }
    // The version makes it fail if the NodeConfig is orphaned meanwhile.
    let version = node_config.resource_version;
    Ok(delete(node_configs, name, uid, version).await?)
}

/// The newest metadata of an object. By a list, whose failure where the API server does not know the kind cannot be taken
/// for an answer.
async fn metadata<K>(objects: &Api<K>, name: &str) -> Result<Option<ObjectMeta>, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let only = ListParams::default().fields(&format!("metadata.name={name}"));
    let mut found = objects.list_metadata(&only).await?;
    Ok(found.items.pop().map(|object| object.metadata))
}

async fn delete(
    node_configs: &Api<CiliumBGPNodeConfig>,
    name: &str,
    uid: &str,
    resource_version: Option<String>,
) -> Result<Applied, kube::Error> {
    let preconditions = Preconditions {
        uid: Some(uid.to_owned()),
        resource_version,
    };
    let params = DeleteParams {
        preconditions: Some(preconditions),
        ..DeleteParams::default()
    };
    match node_configs.delete(name, &params).await {
        // A finalizer holds it: it is there, and being deleted.
        Ok(answer) => Ok(answer.left().map_or_else(|| gone(name, uid), present)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(gone(name, uid)),
        Err(error) => Err(error),
    }
}

fn gone(name: &str, uid: &str) -> Applied {
    Applied::Gone {
        name: name.to_owned(),
        uid: uid.to_owned(),
    }
}

fn present(mut config: CiliumBGPNodeConfig) -> Applied {
    config.status = None;
    config.metadata.managed_fields = None;
    Applied::NodeConfig(Arc::new(config))
}
