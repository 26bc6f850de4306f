//! Configuration: a folder of keys as Cilium mounts it, overridden by flags of the same names.

mod datapath;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use plan::node::{RouterIdMode, WithoutEndpoints};

pub use datapath::Datapath;
pub(crate) use datapath::pins;

use crate::{Error, cleanup};

/// Port of the health endpoint where none is set.
const HEALTH_PORT: u16 = 9979;

/// Everything the agent is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Name of this node.
    pub node: String,
    /// Where the API server is.
    pub kubeconfig: Option<PathBuf>,
    /// URL of the API server that replaces the one found otherwise.
    pub api_server: Option<String>,
    /// Whether the BGP control plane is on; off, the agent only says so.
    pub bgp: bool,
    /// Whether CiliumBGPNodeConfig status is written.
    pub status_report: bool,
    /// Where router IDs come from.
    pub router_id: RouterIdMode,
    /// What is announced of a Service that has no endpoint at all.
    pub without_endpoints: WithoutEndpoints,
    /// The load balancer; `None` leaves Services to somebody else.
    pub datapath: Option<Datapath>,
    /// Where the load balancer's programs and maps are pinned, also those of a time when there was one here.
    pub pins: PathBuf,
    /// Health endpoint, on loopback.
    pub health: SocketAddr,
    /// Metrics endpoint; `None` serves none.
    pub metrics: Option<SocketAddr>,
    /// Namespace and name of the DaemonSet this agent belongs to, asked when leaving.
    pub daemon_set: Option<(String, String)>,
    /// Least level to log.
    pub log_level: tracing::Level,
    /// Form of a log line.
    pub log_format: LogFormat,
    /// Keys of the folder that nobody reads.
    pub unknown: Vec<String>,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// The BGP speaker of a Kubernetes node.
#[derive(Debug, Default, Parser)]
#[command(name = "tombolo-agent", version)]
struct Flags {
    /// Folder of configuration keys, one file each (a mounted ConfigMap).
    #[arg(long)]
    config_dir: Option<PathBuf>,
    /// Name of this node.
    #[arg(long, env = "K8S_NODE_NAME")]
    node_name: Option<String>,
    /// Kubeconfig file; default: the pod's service account.
    #[arg(long)]
    k8s_kubeconfig_path: Option<String>,
    /// URL of the API server.
    #[arg(long)]
    k8s_api_server: Option<String>,
    /// Whether the BGP control plane is on: true or false.
    #[arg(long)]
    enable_bgp_control_plane: Option<String>,
    /// Whether CiliumBGPNodeConfig status is written: true or false.
    #[arg(long)]
    enable_bgp_control_plane_status_report: Option<String>,
    /// Router-ID mode: default or ip-pool.
    #[arg(long)]
    bgp_router_id_allocation_mode: Option<String>,
    /// Whether Services with traffic policy Cluster are announced that have no ready endpoint: true or false.
    #[arg(long)]
    enable_no_service_endpoints_routable: Option<String>,
    /// Port of /healthz and /readyz on loopback.
    #[arg(long)]
    agent_health_port: Option<String>,
    /// Address of /metrics, such as :9980; empty serves none.
    #[arg(long)]
    prometheus_serve_addr: Option<String>,
    /// Namespace this agent runs in.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: Option<String>,
    /// DaemonSet this agent belongs to.
    #[arg(long, env = "DAEMON_SET_NAME")]
    daemon_set: Option<String>,
    /// Whether to log everything: true or false.
    #[arg(long)]
    debug: Option<String>,
    /// Least level to log: error, warn, info, debug or trace.
    #[arg(long)]
    log_level: Option<String>,
    /// Form of log lines: text or json.
    #[arg(long)]
    log_format: Option<String>,
    #[command(flatten)]
    datapath: datapath::DatapathFlags,
    #[command(subcommand)]
    errand: Option<Errand>,
}

/// What else the program does, once.
#[derive(Debug, clap::Subcommand)]
enum Errand {
    /// Removes from this node what the agent leaves there when it ends. The agent must not be running.
    Cleanup(cleanup::Arguments),
}

/// What the program is called for.
#[derive(Debug)]
pub enum Invocation {
    /// To be the agent.
    Run(Box<Config>),
    /// To take away what the agent left.
    Cleanup(cleanup::Arguments),
}

impl Invocation {
    /// Reads flags, environment and, for the agent, the configuration folder.
    ///
    /// # Errors
    ///
    /// A folder that cannot be read, or a value that cannot be; wrong flags end the process with clap's message.
    pub fn load() -> Result<Self, Error> {
        let flags = Flags::parse();
        match flags.errand {
            Some(Errand::Cleanup(arguments)) => Ok(Self::Cleanup(arguments)),
            None => Ok(Self::Run(Box::new(Config::load(flags)?))),
        }
    }
}

impl Config {
    /// Adds the configuration folder to flags and environment, which override it.
    ///
    /// # Errors
    ///
    /// A folder that cannot be read, or a value that cannot be.
    fn load(flags: Flags) -> Result<Self, Error> {
        let keys = flags
            .config_dir
            .as_deref()
            .map(cluster::config_dir::read)
            .transpose();
        let keys = keys.map_err(Error::Configuration)?.unwrap_or_default();
        Self::resolve(flags, &keys)
    }

    fn resolve(flags: Flags, keys: &BTreeMap<String, String>) -> Result<Self, Error> {
        let Flags {
            config_dir: _,
            node_name,
            k8s_kubeconfig_path,
            k8s_api_server,
            enable_bgp_control_plane,
            enable_bgp_control_plane_status_report,
            bgp_router_id_allocation_mode,
            enable_no_service_endpoints_routable,
            agent_health_port,
            prometheus_serve_addr,
            namespace,
            daemon_set,
            debug,
            log_level,
            log_format,
            errand: _,
            datapath,
        } = flags;
        let setting = |key: &'static str, flag: Option<String>| {
            let value = flag.or_else(|| keys.get(key).cloned());
            Setting {
                key,
                value: value.filter(|value| !value.is_empty()),
            }
        };
        let (datapath, pins) = datapath::resolve(datapath, setting)?;
        let health = setting("agent-health-port", agent_health_port)
            .parse("a port")?
            .unwrap_or(HEALTH_PORT);
        Ok(Self {
            node: node_name
                .filter(|name| !name.is_empty())
                .ok_or(Error::NodeName)?,
            kubeconfig: setting("k8s-kubeconfig-path", k8s_kubeconfig_path)
                .value
                .map(PathBuf::from),
            api_server: setting("k8s-api-server", k8s_api_server).value,
            bgp: setting("enable-bgp-control-plane", enable_bgp_control_plane)
                .parse("true or false")?
                .unwrap_or(true),
            status_report: setting(
                "enable-bgp-control-plane-status-report",
                enable_bgp_control_plane_status_report,
            )
            .parse("true or false")?
            .unwrap_or(true),
            router_id: setting(
                "bgp-router-id-allocation-mode",
                bgp_router_id_allocation_mode,
            )
            .router_id_mode()?,
            without_endpoints: match setting(
                "enable-no-service-endpoints-routable",
                enable_no_service_endpoints_routable,
            )
            .parse("true or false")?
            {
                Some(false) => WithoutEndpoints::Withhold,
                Some(true) | None => WithoutEndpoints::Announce,
            },
            datapath,
            pins,
            health: SocketAddr::from((Ipv4Addr::LOCALHOST, health)),
            metrics: setting("prometheus-serve-addr", prometheus_serve_addr).address()?,
            daemon_set: namespace.zip(daemon_set),
            log_level: match setting("debug", debug).parse("true or false")? {
                Some(true) => tracing::Level::DEBUG,
                Some(false) | None => setting("log-level", log_level)
                    .parse("error, warn, info, debug or trace")?
                    .unwrap_or(tracing::Level::INFO),
            },
            log_format: setting("log-format", log_format).log_format()?,
            unknown: cluster::config_dir::unknown(keys)
                .into_iter()
                .map(str::to_owned)
                .collect(),
        })
    }
}

/// One key with its value, from wherever it came.
struct Setting {
    key: &'static str,
    value: Option<String>,
}

impl Setting {
    fn parse<T: FromStr>(self, expected: &'static str) -> Result<Option<T>, Error> {
        let Some(value) = self.value else {
            return Ok(None);
        };
        let parsed = value.parse().ok();
        parsed.map(Some).ok_or(Error::Setting {
            key: self.key,
            value,
            expected,
        })
    }

    /// `:PORT` means all addresses of both families, as Go's programs read it.
    fn address(self) -> Result<Option<SocketAddr>, Error> {
        let Some(value) = self.value else {
            return Ok(None);
        };
        let everywhere = value.strip_prefix(':').and_then(|port| port.parse().ok());
        let parsed = match everywhere {
            Some(port) => Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)),
            None => value.parse().ok(),
        };
        let expected = "an address and port, such as :9980";
        parsed.map(Some).ok_or(Error::Setting {
            key: self.key,
            value,
            expected,
        })
    }

    fn log_format(self) -> Result<LogFormat, Error> {
        match self.value {
            None => Ok(LogFormat::Text),
            Some(value) => match value.as_str() {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err(Error::Setting {
                    key: self.key,
                    value,
                    expected: "text or json",
                }),
            },
        }
    }

    fn router_id_mode(self) -> Result<RouterIdMode, Error> {
        match self.value {
            None => Ok(RouterIdMode::Default),
            Some(value) => match value.as_str() {
                "default" => Ok(RouterIdMode::Default),
                "ip-pool" => Ok(RouterIdMode::IpPool),
                _ => Err(Error::Setting {
                    key: self.key,
                    value,
                    expected: "default or ip-pool",
                }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn resolve(arguments: &[&str], keys: &[(&str, &str)]) -> Result<Config, Error> {
        let arguments = ["tombolo-agent", "--node-name=n"].iter().chain(arguments);
        let flags = Flags::try_parse_from(arguments).expect("flags");
        Config::resolve(
            flags,
            &keys
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn without_keys_the_defaults_hold() {
        let config = resolve(&[], &[]).expect("defaults");
        assert!(config.bgp && config.status_report);
        assert_eq!(config.router_id, RouterIdMode::Default);
        assert_eq!(config.health.to_string(), "127.0.0.1:9979");
        assert_eq!(config.metrics, None);
    }

    #[test]
    fn a_flag_overrides_the_key_of_its_name() {
        let keys = [
            ("enable-bgp-control-plane", "false"),
            ("bgp-router-id-allocation-mode", "ip-pool"),
        ];
        assert!(!resolve(&[], &keys).expect("keys").bgp);
        let config = resolve(&["--enable-bgp-control-plane=true"], &keys).expect("flag");
        assert!(config.bgp);
        assert_eq!(config.router_id, RouterIdMode::IpPool);
    }

    #[test]
    fn a_port_alone_means_every_address() {
        let config = resolve(&["--prometheus-serve-addr=:9980"], &[]).expect("address");
        assert_eq!(config.metrics.expect("served").to_string(), "[::]:9980");
    }

    #[test]
    fn cleanup_needs_no_name_and_means_the_default_protocol() {
        let flags =
            Flags::try_parse_from(["tombolo-agent", "cleanup", "--table=100"]).expect("flags");
        let Some(Errand::Cleanup(arguments)) = flags.errand else {
            panic!("no cleanup: {flags:?}")
        };
        let expected = cleanup::Arguments {
            protocol: 215,
            table: Some(100),
            metric: None,
            pins: PathBuf::from("/sys/fs/bpf/tombolo"),
        };
        assert_eq!(arguments, expected);
    }

    #[test]
    fn a_value_that_cannot_be_is_named_with_what_may_be() {
        let problem = resolve(&[], &[("agent-health-port", "many")]).expect_err("refused");
        assert_eq!(
            problem.to_string(),
            r#"setting agent-health-port: "many" is not a port"#
        );
        let problem =
            resolve(&[], &[("bgp-router-id-allocation-mode", "mac")]).expect_err("refused");
        assert_eq!(
            problem.to_string(),
            r#"setting bgp-router-id-allocation-mode: "mac" is not default or ip-pool"#
        );
    }
}
