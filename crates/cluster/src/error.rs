//! Why the cluster cannot be reached at all. Everything that can pass is retried and is no error.

use std::path::PathBuf;

/// What stops a program from talking to a cluster, or from reading its own configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig file cannot be read or has no usable context.
    #[error("cannot use kubeconfig {path}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// The service account that Kubernetes mounts into a pod is incomplete.
    #[error("cannot use the service account of this pod")]
    ServiceAccount(#[source] Box<kube::config::InClusterError>),
    /// Neither a pod's service account nor a kubeconfig was found.
    #[error("not in a pod, and no kubeconfig given")]
    NoCluster(#[source] Box<kube::config::KubeconfigError>),
    /// The address of the API server is not a URL.
    #[error("the API server's address is not a URL")]
    Address(#[source] Box<kube::config::KubeconfigError>),
    /// The client cannot be built from an otherwise complete configuration.
    #[error("cannot build the client")]
    Client(#[source] Box<kube::Error>),
    /// The configuration folder, or a file in it, cannot be read.
    #[error("cannot read {path}")]
    ConfigDir {
        /// The folder or file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
}

/// An error and what caused it, on one line: `cannot connect: connection refused (os error 111)`.
#[must_use]
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(kube::Error::Api(status)) = error.downcast_ref::<kube::Error>() {
        return format!("{} ({})", status.message, status.code);
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
