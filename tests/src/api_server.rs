//! Requests to a lab's API server as an administrator, where `kubectl` would be too slow or too coarse.

use std::future::Future;

use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::{Failure, Lab};

/// Requests under way at once.
const AT_ONCE: usize = 32;

/// A connection to the API server, for callers that wait.
pub struct ApiServer {
    runtime: Runtime,
    client: Client,
}

impl ApiServer {
    /// Connects.
    ///
    /// # Errors
    /// When the lab's kubeconfig is not understood.
    pub fn of(lab: &Lab) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::socket("runtime"))?;
        let kubeconfig = lab.cluster.kubeconfig().to_owned();
        let client = runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(kubeconfig).map_err(Failure::request)?;
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            Client::try_from(config.map_err(Failure::request)?).map_err(Failure::request)
        })?;
        Ok(Self { runtime, client })
    }

    /// The client by which requests are made.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Carries out one request.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn request<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
        self.runtime.block_on(request).map_err(Failure::request)
    }

    /// Carries out all requests, 32 of them at a time.
    ///
    /// # Errors
    /// When the API server refuses one; no further one is begun then.
    pub fn requests<T: Send + 'static>(
        &self,
        requests: impl IntoIterator<Item = impl Future<Output = kube::Result<T>> + Send + 'static>,
    ) -> Result<(), Failure> {
        self.runtime.block_on(async {
            let mut under_way = JoinSet::new();
            for request in requests {
                under_way.spawn(request);
                if under_way.len() >= AT_ONCE {
                    finished(under_way.join_next().await)?;
                }
            }
            while !under_way.is_empty() {
                finished(under_way.join_next().await)?;
            }
            Ok(())
        })
    }
}

fn finished<T>(
    finished: Option<Result<kube::Result<T>, tokio::task::JoinError>>,
) -> Result<(), Failure> {
    match finished {
        None | Some(Ok(Ok(_))) => Ok(()),
        Some(Ok(Err(error))) => Err(Failure::request(error)),
        Some(Err(error)) => Err(Failure::request(error)),
    }
}
