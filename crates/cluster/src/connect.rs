//! A client for the API server.

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use tower::{BoxError, ServiceBuilder};

use crate::Error;

/// How long a connection to the API server may take to be made. Shorter than kube's 30 s, because a node's agent
/// retries every 2 s at most, and an address that swallows packets must not look like a slow one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After how much silence the kernel asks whether the API server is still there, how often, and how many times in vain.
/// A watch only listens, so without it a server that vanished is noticed when the watch should have ended.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);
/// How long a connection is kept that nobody uses: a burst of writes leaves dozens, each of some 50 kB.
const IDLE: Duration = Duration::from_secs(20);

/// Where the API server is and who we are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// A kubeconfig file (`--k8s-kubeconfig-path`). Without one, the service account of the pod is used, and outside a
    /// pod what `KUBECONFIG` or `~/.kube/config` say.
    pub kubeconfig: Option<PathBuf>,
    /// URL of the API server that replaces the one found otherwise, such as `https://10.0.0.1:6443`. The names and
    /// certificates stay those of the configuration it replaces.
    pub api_server: Option<String>,
}

/// Builds a client. No packet is sent: an API server that is away is a matter of [`follow`](crate::follow()).
///
/// Requests are not rate limited (Cilium's operator holds itself to 100 a second), and not retried by the client: who
/// asks knows better whether the question still stands.
///
/// # Errors
///
/// When there is no configuration to be found, or the one named is unusable.
pub async fn connect(options: &ConnectOptions) -> Result<kube::Client, Error> {
    let mut config = configuration(options).await?;
    if let Some(address) = &options.api_server {
        config.cluster_url = address
            .parse()
            .map_err(|source| Error::Address(Box::new(KubeconfigError::ParseClusterUrl(source))))?;
    }
    client(&config).map_err(|source| Error::Client(Box::new(source)))
}

/// Not kube's own stack, whose sockets wait with a small packet until the one before is acknowledged: a write would take
/// up to 40 ms longer.
fn client(config: &Config) -> Result<kube::Client, kube::Error> {
    let mut connector = HttpConnector::new();
    let (silence, interval, retries) = KEEPALIVE;
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_keepalive(Some(silence));
    connector.set_keepalive_interval(Some(interval));
    connector.set_keepalive_retries(Some(retries));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}

async fn configuration(options: &ConnectOptions) -> Result<Config, Error> {
    if let Some(path) = &options.kubeconfig {
        let failed = |source| Error::Kubeconfig {
            path: path.clone(),
            source: Box::new(source),
        };
        let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
        return Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(failed);
    }
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Config::incluster().map_err(|source| Error::ServiceAccount(Box::new(source)));
    }
    Config::from_kubeconfig(&KubeConfigOptions::default())
        .await
        .map_err(|source| Error::NoCluster(Box::new(source)))
}
