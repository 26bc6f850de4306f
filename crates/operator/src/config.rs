//! What the administrator decided: keys of a folder (`--config-dir`, a mounted ConfigMap), and flags of the same names,
//! which win. Names and forms are those of Cilium's operator.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use cluster::{ConnectOptions, config_dir};
use ipnet::Ipv4Net;
use plan::addresses;
use plan::cluster::{AuthSecrets, RouterIds, Settings, StatusReport};

use crate::Error;
use crate::lease;
use crate::pace::Rate;
use crate::planner::Questions;

/// The configuration, complete and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the API server is.
    pub connect: ConnectOptions,
    /// What to plan; without any, the process idles.
    pub questions: Questions,
    /// Where the Secrets are that PeerConfigs name.
    pub secrets_namespace: Option<String>,
    /// Addresses for health and metrics; each serves both.
    pub listen: Vec<String>,
    /// How the leader is elected.
    pub lease: lease::Timing,
    /// How fast to write; without one, as fast as the API server takes it.
    pub pace: Option<Rate>,
    /// How to log.
    pub log: Log,
    /// Keys of the folder that no program of this project reads.
    pub unknown: Vec<String>,
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Least level, or directives as `tracing` takes them.
    pub level: String,
    /// One line of what form per event.
    pub format: LogFormat,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What the command line asks for.
#[derive(Debug, Clone)]
pub enum Request {
    /// Run the operator.
    Run(Box<Config>),
    /// Remove what the operator made, and end.
    Cleanup(Box<Config>),
}

/// A key: its name, its default, and what it means.
struct Key {
    name: &'static str,
    default: &'static str,
    help: &'static str,
}

const fn key(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key {
        name,
        default,
        help,
    }
}

const KEYS: [Key; 22] = [
    key(
        BGP,
        "true",
        "Make CiliumBGPNodeConfigs, and give addresses to Services of class io.cilium/bgp-control-plane",
    ),
    key(
        STATUS_REPORT,
        "true",
        "Write conditions; false removes them",
    ),
    key(
        SECRETS_NAMESPACE,
        "",
        "Namespace of the Secrets that CiliumBGPPeerConfigs name; empty checks none",
    ),
    key(
        ROUTER_ID_MODE,
        "default",
        "Where router IDs come from that no override sets: default (the node), ip-pool",
    ),
    key(
        ROUTER_ID_POOL,
        "",
        "IPv4 CIDR to take router IDs from in mode ip-pool",
    ),
    key(
        LB_IPAM,
        "true",
        "Give addresses of CiliumLoadBalancerIPPools to Services",
    ),
    key(
        DEFAULT_LB_IPAM,
        "lbipam",
        "Who gives addresses to Services without a class: lbipam (this), nodeipam, none",
    ),
    key(IPV4, "true", "Give IPv4 addresses to Services"),
    key(IPV6, "true", "Give IPv6 addresses to Services"),
    key(
        L2_ANNOUNCEMENTS,
        "false",
        "Give addresses to Services of class io.cilium/l2-announcer",
    ),
    key(
        KUBECONFIG,
        "",
        "Kubeconfig file; empty uses the pod's service account",
    ),
    key(
        API_SERVER,
        "",
        "URL of the API server, instead of the one found otherwise",
    ),
    key(
        METRICS_ADDRESS,
        ":9963",
        "Address to serve metrics on; empty serves none",
    ),
    key(
        HEALTH_ADDRESS,
        "127.0.0.1:9234",
        "Address to serve health on; empty serves none",
    ),
    key(
        LEASE_DURATION,
        "15s",
        "How long a leader is believed to be alive without a sign of it",
    ),
    key(
        RENEW_DEADLINE,
        "10s",
        "How long a leader tries to renew its lease before it stops writing",
    ),
    key(RETRY_PERIOD, "2s", "How often the lease is renewed"),
    key(QPS, "0", "Writes per second; 0 sets no limit"),
    key(
        BURST,
        "0",
        "Writes at once before the limit applies; 0 is twice the limit",
    ),
    key(
        LOG_LEVEL,
        "info",
        "Least level to log: error, warn, info, debug, trace",
    ),
    key(LOG_FORMAT, "text", "Form of log lines: text, json"),
    key(DEBUG, "false", "Log at level debug"),
];

const CONFIG_DIR: &str = "config-dir";
const BGP: &str = "enable-bgp-control-plane";
const STATUS_REPORT: &str = "enable-bgp-control-plane-status-report";
const SECRETS_NAMESPACE: &str = "bgp-secrets-namespace";
const ROUTER_ID_MODE: &str = "bgp-router-id-allocation-mode";
const ROUTER_ID_POOL: &str = "bgp-router-id-allocation-ip-pool";
const LB_IPAM: &str = "enable-lb-ipam";
const DEFAULT_LB_IPAM: &str = "default-lb-service-ipam";
const IPV4: &str = "enable-ipv4";
const IPV6: &str = "enable-ipv6";
const L2_ANNOUNCEMENTS: &str = "enable-l2-announcements";
const KUBECONFIG: &str = "k8s-kubeconfig-path";
const API_SERVER: &str = "k8s-api-server";
const METRICS_ADDRESS: &str = "operator-prometheus-serve-addr";
const HEALTH_ADDRESS: &str = "operator-api-serve-addr";
const LEASE_DURATION: &str = "leader-election-lease-duration";
const RENEW_DEADLINE: &str = "leader-election-renew-deadline";
const RETRY_PERIOD: &str = "leader-election-retry-period";
const QPS: &str = "operator-k8s-client-qps";
const BURST: &str = "operator-k8s-client-burst";
const LOG_LEVEL: &str = "log-level";
const LOG_FORMAT: &str = "log-format";
const DEBUG: &str = "debug";

/// Least writes per second.
const SLOWEST: f64 = 0.001;
/// Most writes per second, and at once.
const MOST: f64 = 1e6;

/// Values of `loadBalancerClass` that ask for addresses, each while its key is true.
const CLASSES: [(&str, &str); 2] = [
    (BGP, plan::snapshot::BGP_CLASS),
    (L2_ANNOUNCEMENTS, plan::snapshot::L2_ANNOUNCER_CLASS),
];

/// The command line's grammar.
fn command() -> Command {
    let keys = KEYS.iter().map(|key| {
        let boolean = matches!(key.default, "true" | "false");
        let help = match key.default {
            "" => key.help.to_owned(),
            default => format!("{} [default: {default}]", key.help),
        };
        let arg = Arg::new(key.name).long(key.name).help(help).global(true);
        // As in Cilium: a flag alone means true, and another value needs the equals sign.
        if boolean {
            arg.num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
        } else {
            arg
        }
    });
    let folder = Arg::new(CONFIG_DIR)
        .long(CONFIG_DIR)
        .global(true)
        .help("Folder with a file per key; flags win");
    Command::new("tombolo-operator")
        .about("Makes CiliumBGPNodeConfigs of CiliumBGPClusterConfigs, and gives addresses to Services")
        .version(env!("CARGO_PKG_VERSION"))
        .args_override_self(true)
        .arg(folder)
        .args(keys)
        .subcommand(
            Command::new("cleanup")
                .about("Removes the CiliumBGPNodeConfigs that the operator made, and ends"),
        )
}

/// Reads the command line and the folder it names. Ends the process where clap does: `--help`, `--version`, or a flag
/// that does not exist.
///
/// # Errors
///
/// When the folder cannot be read, or a value is not of its key's form.
pub fn from_command_line(arguments: impl IntoIterator<Item = OsString>) -> Result<Request, Error> {
    let matches = command().get_matches_from(arguments);
    let folder = match matches.get_one::<String>(CONFIG_DIR) {
        Some(folder) => config_dir::read(Path::new(folder))?,
        None => BTreeMap::new(),
    };
    let config = Box::new(resolve(&matches, &folder)?);
    Ok(if matches.subcommand_name() == Some("cleanup") {
        Request::Cleanup(config)
    } else {
        Request::Run(config)
    })
}

fn resolve(flags: &ArgMatches, folder: &BTreeMap<String, String>) -> Result<Config, Error> {
    let values = Values { flags, folder };
    let level = if values.boolean(DEBUG)? {
        "debug".to_owned()
    } else {
        values.text(LOG_LEVEL)
    };
    Ok(Config {
        connect: ConnectOptions {
            kubeconfig: values.optional(KUBECONFIG).map(PathBuf::from),
            api_server: values.optional(API_SERVER),
        },
        questions: Questions {
            node_configs: values.node_configs()?,
            addresses: values.addresses()?,
        },
        secrets_namespace: values.optional(SECRETS_NAMESPACE),
        listen: [HEALTH_ADDRESS, METRICS_ADDRESS]
            .into_iter()
            .filter_map(|key| values.optional(key))
            .collect(),
        lease: values.lease()?,
        pace: values.pace()?,
        log: Log {
            level,
            format: values.log_format()?,
        },
        unknown: config_dir::unknown(folder)
            .into_iter()
            .map(str::to_owned)
            .collect(),
    })
}

/// Where values come from.
struct Values<'a> {
    flags: &'a ArgMatches,
    folder: &'a BTreeMap<String, String>,
}

impl Values<'_> {
    fn text(&self, key: &'static str) -> String {
        let flag = self.flags.get_one::<String>(key);
        let default = || {
            KEYS.iter()
                .find(|known| known.name == key)
                .map_or("", |known| known.default)
                .to_owned()
        };
        flag.or_else(|| self.folder.get(key))
            .cloned()
            .unwrap_or_else(default)
    }

    fn optional(&self, key: &'static str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    fn parse<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let value = self.text(key);
        read(&value).ok_or(Error::Key {
            key,
            value,
            expected,
        })
    }

    /// The words that Go's `strconv.ParseBool` takes.
    fn boolean(&self, key: &'static str) -> Result<bool, Error> {
        self.parse(key, "true or false", |text| match text {
            "true" | "True" | "TRUE" | "t" | "T" | "1" => Some(true),
            "false" | "False" | "FALSE" | "f" | "F" | "0" => Some(false),
            _ => None,
        })
    }

    fn node_configs(&self) -> Result<Option<Settings>, Error> {
        let settings = Settings {
            status_report: if self.boolean(STATUS_REPORT)? {
                StatusReport::Enabled
            } else {
                StatusReport::Disabled
            },
            auth_secrets: if self.optional(SECRETS_NAMESPACE).is_some() {
                AuthSecrets::Known
            } else {
                AuthSecrets::Unknown
            },
            router_ids: self.router_ids()?,
        };
        Ok(self.boolean(BGP)?.then_some(settings))
    }

    fn addresses(&self) -> Result<Option<addresses::Settings>, Error> {
        let mut classes = BTreeSet::new();
        for (key, class) in CLASSES {
            if self.boolean(key)? {
                classes.insert(class.to_owned());
            }
        }
        let settings =
            addresses::Settings {
                ipv4: self.boolean(IPV4)?,
                ipv6: self.boolean(IPV6)?,
                classless: self.parse(DEFAULT_LB_IPAM, "lbipam, nodeipam or none", |text| {
                    match text {
                        "lbipam" => Some(true),
                        "nodeipam" | "none" => Some(false),
                        _ => None,
                    }
                })?,
                classes,
            };
        Ok(self.boolean(LB_IPAM)?.then_some(settings))
    }

    fn router_ids(&self) -> Result<RouterIds, Error> {
        match self.text(ROUTER_ID_MODE).as_str() {
            "default" => Ok(RouterIds::OfNode),
            "ip-pool" => {
                let pool = self.parse(ROUTER_ID_POOL, "an IPv4 CIDR", |text| {
                    text.parse::<Ipv4Net>().ok()
                })?;
                Ok(RouterIds::Pool(pool.trunc()))
            }
            _ => self.parse(ROUTER_ID_MODE, "default or ip-pool", |_| None),
        }
    }

    fn lease(&self) -> Result<lease::Timing, Error> {
        let duration = |key| self.parse(key, "a duration such as 15s", duration);
        let timing = lease::Timing {
            duration: duration(LEASE_DURATION)?,
            renew_deadline: duration(RENEW_DEADLINE)?,
            retry_period: duration(RETRY_PERIOD)?,
        };
        if timing.renew_deadline >= timing.duration {
            return self.parse(RENEW_DEADLINE, "shorter than the lease duration", |_| None);
        }
        if timing.retry_period >= timing.renew_deadline {
            return self.parse(RETRY_PERIOD, "shorter than the renew deadline", |_| None);
        }
        Ok(timing)
    }

    fn pace(&self) -> Result<Option<Rate>, Error> {
        let number = |text: &str| {
            let number = text.parse::<f64>().ok();
            number.filter(|number| *number == 0.0 || (SLOWEST..=MOST).contains(number))
        };
        let bounds = "0, or a number of writes per second from 0.001 to 1000000";
        let per_second = self.parse(QPS, bounds, number)?;
        let bounds = "0, or a number of writes from 0.001 to 1000000";
        let burst = self.parse(BURST, bounds, number)?;
        let burst = if burst == 0.0 {
            2.0 * per_second
        } else {
            burst
        };
        Ok((per_second > 0.0).then_some(Rate { per_second, burst }))
    }

    fn log_format(&self) -> Result<LogFormat, Error> {
        self.parse(LOG_FORMAT, "text or json", |text| match text {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        })
    }
}

/// Go's form of a duration, such as `15s`, `1m30s` or `500ms`; never zero.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let (unit, seconds) = units.into_iter().find(|(unit, _)| tail.starts_with(unit))?;
        let part = number.parse::<f64>().ok()? * seconds;
        total = total.checked_add(Duration::try_from_secs_f64(part).ok()?)?;
        rest = &tail[unit.len()..];
    }
    (!total.is_zero()).then_some(total)
}

#[cfg(test)]
mod tests;
