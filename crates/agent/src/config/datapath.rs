//! Settings of the load balancer, under Cilium's names where it has them.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use plan::node::DatapathSettings;
use plan::node::datapath::Algorithm;

use super::Setting;
use crate::Error;

/// Where the BPF file system is.
const BPF_ROOT: &str = "/sys/fs/bpf";
/// Our folder in it.
const PINS: &str = "tombolo";
/// Sizes a Maglev table can have: Cilium's list of primes.
const TABLE_SIZES: [u32; 10] = [
    251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131_071,
];
/// The last port that can belong to the NodePort range. Those after the range replace ports of clients, and with fewer than
/// these few clients could be served.
const LAST_NODE_PORT: u16 = 64_511;

/// The load balancer, where it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datapath {
    /// What it is started with.
    pub options: lb::Options,
    /// What plans for it need to know.
    pub settings: DatapathSettings,
}

#[derive(Debug, Default, clap::Args)]
pub(super) struct DatapathFlags {
    /// Whether Services are balanced here: true or false.
    #[arg(long)]
    kube_proxy_replacement: Option<String>,
    /// How a backend is chosen where a Service does not say: random or maglev.
    #[arg(long)]
    bpf_lb_algorithm: Option<String>,
    /// Greatest Maglev table of a Service.
    #[arg(long)]
    bpf_lb_maglev_table_size: Option<String>,
    /// Seed of Maglev tables, 12 bytes in base64; the same on all nodes.
    #[arg(long)]
    bpf_lb_maglev_hash_seed: Option<String>,
    /// First and last NodePort, with a comma.
    #[arg(long)]
    node_port_range: Option<String>,
    /// Interfaces that clients outside the cluster come by, with spaces or commas; found where empty.
    #[arg(long)]
    devices: Option<String>,
    /// Whether cluster addresses answer clients outside the cluster: true or false.
    #[arg(long)]
    bpf_lb_external_clusterip: Option<String>,
    /// Whether sockets of processes are translated: true or false.
    #[arg(long)]
    bpf_lb_sock: Option<String>,
    /// Whether only sockets of the host are: true or false.
    #[arg(long)]
    bpf_lb_sock_hostns_only: Option<String>,
    /// Control group whose sockets are translated; the top of the hierarchy where empty.
    #[arg(long)]
    cgroup_root: Option<String>,
    /// Where the BPF file system is.
    #[arg(long)]
    bpf_root: Option<String>,
    /// Value of the label service.kubernetes.io/service-proxy-name of the Services that are balanced here.
    #[arg(long)]
    k8s_service_proxy_name: Option<String>,
    /// Interfaces that lead to pods, with spaces or commas, for pods whose sockets are not translated.
    #[arg(long)]
    pod_interfaces: Option<String>,
    /// Whether addresses of Services answer ping: true or false.
    #[arg(long)]
    lb_ping: Option<String>,
}

/// Where the load balancer's programs and maps are pinned, below the BPF file system's root.
pub(crate) fn pins(root: Option<&str>) -> PathBuf {
    Path::new(root.unwrap_or(BPF_ROOT)).join(PINS)
}

/// The load balancer, `None` where Services are not balanced here, and the folder of its pins. What is written wrongly is an
/// error even then: it would be one the day the load balancer is switched on.
pub(super) fn resolve(
    flags: DatapathFlags,
    setting: impl Fn(&'static str, Option<String>) -> Setting,
) -> Result<(Option<Datapath>, PathBuf), Error> {
    let DatapathFlags {
        kube_proxy_replacement,
        bpf_lb_algorithm,
        bpf_lb_maglev_table_size,
        bpf_lb_maglev_hash_seed,
        node_port_range,
        devices,
        bpf_lb_external_clusterip,
        bpf_lb_sock,
        bpf_lb_sock_hostns_only,
        cgroup_root,
        bpf_root,
        k8s_service_proxy_name,
        pod_interfaces,
        lb_ping,
    } = flags;
    let is = |key, flag, default: bool| -> Result<bool, Error> {
        let value = setting(key, flag).parse("true or false")?;
        Ok(value.unwrap_or(default))
    };
    let default = lb::Settings::default();
    let node_ports = setting("node-port-range", node_port_range).ports()?;
    let node_ports = node_ports.unwrap_or(default.node_ports);
    let devices = setting("devices", devices).words();
    let settings = lb::Settings {
        ping: is("lb-ping", lb_ping, default.ping)?,
        external_cluster_ip: is(
            "bpf-lb-external-clusterip",
            bpf_lb_external_clusterip,
            default.external_cluster_ip,
        )?,
        host_sockets_only: is(
            "bpf-lb-sock-hostns-only",
            bpf_lb_sock_hostns_only,
            default.host_sockets_only,
        )?,
        snat_ports: *node_ports.end() + 1..=u16::MAX,
        node_ports,
        maximum_ring: setting("bpf-lb-maglev-table-size", bpf_lb_maglev_table_size)
            .table_size()?
            .unwrap_or(default.maximum_ring),
        hash_seed: setting("bpf-lb-maglev-hash-seed", bpf_lb_maglev_hash_seed)
            .seed()?
            .unwrap_or(default.hash_seed),
    };
    let pins = pins(setting("bpf-root", bpf_root).value.as_deref());
    let datapath = Datapath {
        options: lb::Options {
            pin_root: pins.clone(),
            cgroup: setting("cgroup-root", cgroup_root).value.map(PathBuf::from),
            sockets: is("bpf-lb-sock", bpf_lb_sock, true)?,
            uplinks: if devices.is_empty() {
                lb::Uplinks::Detect
            } else {
                lb::Uplinks::Named(devices.clone())
            },
            pod_interfaces: setting("pod-interfaces", pod_interfaces).words(),
            settings,
            memory: None,
        },
        settings: DatapathSettings {
            algorithm: setting("bpf-lb-algorithm", bpf_lb_algorithm).algorithm()?,
            service_proxy_name: setting("k8s-service-proxy-name", k8s_service_proxy_name).value,
            devices,
        },
    };
    let is_on = is("kube-proxy-replacement", kube_proxy_replacement, false)?;
    Ok((is_on.then_some(datapath), pins))
}

impl Setting {
    /// Words with spaces or commas between them.
    fn words(self) -> Vec<String> {
        let value = self.value.unwrap_or_default();
        let words = value.split([' ', ',', '\n']);
        words
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn algorithm(self) -> Result<Algorithm, Error> {
        match self.value.as_deref() {
            None | Some("random") => Ok(Algorithm::Random),
            Some("maglev") => Ok(Algorithm::Maglev),
            Some(_) => Err(self.not("random or maglev")),
        }
    }

    fn table_size(self) -> Result<Option<u32>, Error> {
        let expected = "251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521 or 131071";
        let Some(value) = self.value.as_deref() else {
            return Ok(None);
        };
        let size = value.parse().ok();
        match size.filter(|size| TABLE_SIZES.contains(size)) {
            Some(size) => Ok(Some(size)),
            None => Err(self.not(expected)),
        }
    }

    /// The first four of Cilium's twelve bytes: it seeds its first hash with them.
    fn seed(self) -> Result<Option<u32>, Error> {
        let Some(value) = self.value.as_deref() else {
            return Ok(None);
        };
        match decode(value) {
            Some(bytes) => Ok(Some(u32::from_be_bytes([
                bytes[0], bytes[1], bytes[2], bytes[3],
            ]))),
            None => Err(self.not("12 bytes in base64")),
        }
    }

    fn ports(self) -> Result<Option<RangeInclusive<u16>>, Error> {
        let Some(value) = self.value.as_deref() else {
            return Ok(None);
        };
        let range = value.split_once(',').and_then(|(first, last)| {
            let first: u16 = first.trim().parse().ok()?;
            let last: u16 = last.trim().parse().ok()?;
            (0 < first && first <= last && last <= LAST_NODE_PORT).then_some(first..=last)
        });
        match range {
            Some(range) => Ok(Some(range)),
            None => Err(self.not("two ports up to 64511 with a comma, such as 30000,32767")),
        }
    }

    fn not(self, expected: &'static str) -> Error {
        Error::Setting {
            key: self.key,
            value: self.value.unwrap_or_default(),
            expected,
        }
    }
}

/// Twelve bytes are sixteen letters of base64 (RFC 4648 section 4), without padding.
fn decode(text: &str) -> Option<[u8; 12]> {
    let letters: &[u8; 16] = text.as_bytes().try_into().ok()?;
    let mut bits = 0_u128;
    for letter in letters {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u128::from(value);
    }
    let [_, _, _, _, bytes @ ..] = bits.to_be_bytes();
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::resolve;
    use super::*;

    const ON: (&str, &str) = ("kube-proxy-replacement", "true");

    fn datapath(keys: &[(&str, &str)]) -> Datapath {
        let keys: Vec<_> = [ON].iter().chain(keys).copied().collect();
        let config = resolve(&[], &keys).expect("keys");
        config.datapath.expect("on")
    }

    #[test]
    fn services_are_balanced_where_kube_proxy_is_to_be_replaced() {
        let rows = [(None, false), (Some("false"), false), (Some("true"), true)];
        for (value, is_on) in rows {
            let keys: Vec<_> = value
                .into_iter()
                .map(|value| ("kube-proxy-replacement", value))
                .collect();
            let config = resolve(&[], &keys).expect("keys");
            assert_eq!(config.datapath.is_some(), is_on, "{value:?}");
        }
        let flag = resolve(&["--kube-proxy-replacement=true"], &[]).expect("flag");
        assert!(flag.datapath.is_some());
    }

    #[test]
    fn without_further_keys_the_load_balancer_has_its_defaults() {
        let expected = Datapath {
            options: lb::Options::default(),
            settings: DatapathSettings::default(),
        };
        assert_eq!(datapath(&[]), expected);
    }

    #[test]
    fn each_key_sets_what_its_name_says() {
        type Change = fn(&mut Datapath);
        let rows: [(&str, &str, Change); 17] = [
            ("bpf-lb-algorithm", "maglev", |it| {
                it.settings.algorithm = Algorithm::Maglev;
            }),
            ("bpf-lb-algorithm", "random", |_| {}),
            ("bpf-lb-maglev-table-size", "65521", |it| {
                it.options.settings.maximum_ring = 65521;
            }),
            // Cilium's own default: 24 b7 ef 82 and eight more.
            ("bpf-lb-maglev-hash-seed", "JLfvgnHc2kaSUFaI", |it| {
                it.options.settings.hash_seed = 0x24b7_ef82;
            }),
            ("node-port-range", "30000,32000", |it| {
                it.options.settings.node_ports = 30000..=32000;
                it.options.settings.snat_ports = 32001..=65535;
            }),
            ("devices", "eth0 bond+,eth1", |it| {
                let names = ["eth0", "bond+", "eth1"].map(str::to_owned);
                it.settings.devices = names.to_vec();
                it.options.uplinks = lb::Uplinks::Named(names.to_vec());
            }),
            ("devices", " ", |_| {}),
            ("bpf-lb-external-clusterip", "true", |it| {
                it.options.settings.external_cluster_ip = true;
            }),
            ("bpf-lb-sock", "false", |it| it.options.sockets = false),
            ("bpf-lb-sock-hostns-only", "true", |it| {
                it.options.settings.host_sockets_only = true;
            }),
            ("cgroup-root", "/run/cgroup", |it| {
                it.options.cgroup = Some("/run/cgroup".into());
            }),
            ("bpf-root", "/bpf", |it| {
                it.options.pin_root = "/bpf/tombolo".into();
            }),
            ("bpf-root", "", |_| {}),
            ("k8s-service-proxy-name", "tombolo", |it| {
                it.settings.service_proxy_name = Some("tombolo".to_owned());
            }),
            ("pod-interfaces", "lxc+ veth+", |it| {
                it.options.pod_interfaces = ["lxc+", "veth+"].map(str::to_owned).to_vec();
            }),
            ("lb-ping", "false", |it| it.options.settings.ping = false),
            ("lb-ping", "true", |_| {}),
        ];
        for (key, value, change) in rows {
            let mut expected = datapath(&[]);
            change(&mut expected);
            assert_eq!(datapath(&[(key, value)]), expected, "{key}={value}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_is_an_error_also_while_nothing_is_balanced() {
        let rows = [
            ("kube-proxy-replacement", "strict"),
            ("bpf-lb-algorithm", "least"),
            ("bpf-lb-maglev-table-size", "16384"),
            ("bpf-lb-maglev-table-size", "many"),
            ("bpf-lb-maglev-hash-seed", "short"),
            ("bpf-lb-maglev-hash-seed", "JLfvgnHc2kaSUFa="),
            ("bpf-lb-maglev-hash-seed", "JLfvgnHc2kaSUFaIJLfv"),
            ("node-port-range", "30000"),
            ("node-port-range", "30000-32767"),
            ("node-port-range", "32767,30000"),
            ("node-port-range", "0,100"),
            ("node-port-range", "30000,65535"),
            ("bpf-lb-external-clusterip", "1"),
            ("bpf-lb-sock", "yes"),
            ("bpf-lb-sock-hostns-only", "2"),
            ("lb-ping", "on"),
        ];
        for (key, value) in rows {
            let problem = resolve(&[], &[(key, value)]).expect_err(key);
            let text = problem.to_string();
            assert!(
                text.contains(&format!("setting {key}: {value:?}")),
                "{text}"
            );
        }
    }

    #[test]
    fn every_key_of_the_load_balancer_is_known() {
        let keys = [
            "bpf-lb-algorithm",
            "bpf-lb-external-clusterip",
            "bpf-lb-maglev-hash-seed",
            "bpf-lb-maglev-table-size",
            "bpf-lb-sock",
            "bpf-lb-sock-hostns-only",
            "bpf-root",
            "cgroup-root",
            "devices",
            "k8s-service-proxy-name",
            "kube-proxy-replacement",
            "lb-ping",
            "node-port-range",
            "pod-interfaces",
        ];
        let unknown: Vec<_> = keys
            .into_iter()
            .filter(|key| !cluster::config_dir::KEYS.contains(key))
            .collect();
        assert_eq!(unknown, [] as [&str; 0]);
    }
}
