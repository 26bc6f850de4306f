//! Removal of what the operator made, for the time after it is uninstalled: the CRDs stay, and with them would stay
//! NodeConfigs that nobody acts on.

use futures::stream::{self, StreamExt, TryStreamExt};
use kube::api::{Api, DeleteParams, ListParams, Preconditions};
use tracing::info;

use crate::Error;

/// How many are removed at once.
const AT_ONCE: usize = 32;

/// Removes every NodeConfig that a ClusterConfig owns, and says how many. Hand-made ones stay. A NodeConfig that is gone
/// meanwhile, or a CRD that does not exist, is as good.
///
/// # Errors
///
/// When the API server cannot be reached, or refuses.
pub async fn cleanup(client: &kube::Client) -> Result<usize, Error> {
    let node_configs: Api<api::CiliumBGPNodeConfig> = Api::all(client.clone());
    let failed = |error| Error::Cleanup(Box::new(error));
    let list = match node_configs.list_metadata(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    let owned = list
        .into_iter()
        .filter(|config| plan::cluster::is_owned(&config.metadata));
    let removals = owned.map(|config| {
        let node_configs = &node_configs;
        async move {
            let name = config.metadata.name.unwrap_or_default();
            let preconditions = Preconditions {
                uid: config.metadata.uid,
                resource_version: None,
            };
            let params = DeleteParams {
                preconditions: Some(preconditions),
                ..DeleteParams::default()
            };
            match node_configs.delete(&name, &params).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
                Err(error) => Err(error),
            }
        }
    });
    let removed = stream::iter(removals)
        .buffer_unordered(AT_ONCE)
        .try_fold(0_usize, |count, ()| async move { Ok(count + 1) })
        .await
        .map_err(failed)?;
    info!(removed, "removed NodeConfigs");
    Ok(removed)
}
