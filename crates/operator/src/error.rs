//! Why the process stops. Everything else is retried, or is a reason in a condition.

/// What the operator cannot start with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The value of a key, of the command line or the configuration folder, cannot be used.
    #[error("{key}: {value:?} is not {expected}")]
    Key {
        /// The key.
        key: &'static str,
        /// What it says.
        value: String,
        /// What it should say.
        expected: &'static str,
    },
    /// The cluster, or the configuration folder.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// The removal of NodeConfigs failed.
    #[error("cannot remove the NodeConfigs")]
    Cleanup(#[source] Box<kube::Error>),
    /// The runtime cannot start.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
}
