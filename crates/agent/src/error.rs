//! Why the process cannot start, or stops.

use std::net::SocketAddr;

/// Everything else is a reason in the status, not an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration folder cannot be read.
    #[error("configuration")]
    Configuration(#[source] cluster::Error),
    /// A setting has a value it cannot have.
    #[error("setting {key}: {value:?} is not {expected}")]
    Setting {
        /// The key.
        key: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The node's name is not known.
    #[error("the node's name is missing: set --node-name or K8S_NODE_NAME")]
    NodeName,
    /// No client can be made for the API server.
    #[error("connection to the API server")]
    Cluster(#[source] cluster::Error),
    /// An HTTP endpoint cannot be served.
    #[error("cannot serve HTTP on {address}")]
    Serve {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No asynchronous runtime can be had from the system.
    #[error("runtime")]
    Runtime(#[source] std::io::Error),
    /// Signals cannot be received.
    #[error("signals")]
    Signals(#[source] std::io::Error),
    /// The node's addresses cannot be read.
    #[error("addresses of the node's devices")]
    Interfaces(#[source] rtnetlink::Error),
    /// Something that the agent left on the node cannot be taken away.
    #[error("cannot remove learned routes")]
    Cleanup(#[source] fib::Error),
    /// Something that the load balancer left on the node cannot be taken away.
    #[error("cannot remove programs and maps of the load balancer")]
    BalancerCleanup(#[source] lb::Error),
    /// A task of the agent panicked: what is left of it must not look alive.
    #[error("a part of the agent panicked")]
    Task(#[source] tokio::task::JoinError),
    /// A task of the agent ended before the agent: what is left of it must not look alive.
    #[error("the agent's part {part:?} ended")]
    Ended {
        /// The task.
        part: &'static str,
    },
    /// No netlink socket.
    #[error("netlink socket")]
    Netlink(#[source] std::io::Error),
}
