//! The configuration files of a node: pure text from its specification.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use ipnet::IpNet;
use serde_json::json;

use crate::pki::Leaf;
use crate::topology::NodeSpec;

/// What a node's files mention of the world around it.
pub(super) struct Surroundings<'a> {
    /// The node's own folder.
    pub(super) folder: &'a Path,
    /// The folder of the CNI plugins.
    pub(super) plugins: &'a Path,
    /// The lab's registry.
    pub(super) registry: SocketAddr,
    /// The certificate authority.
    pub(super) authority: &'a Path,
    /// What the kubelet serves with.
    pub(super) serving: &'a Leaf,
    /// The node's control group.
    pub(super) cgroup: &'a str,
    /// The first service range: DNS would be its tenth address.
    pub(super) service_cidr: Option<IpNet>,
}

/// containerd's configuration. It pulls everything of `docker.io` from the lab's registry.
pub(super) fn containerd(around: &Surroundings<'_>) -> String {
    let folder = around.folder.display();
    let plugins = around.plugins.display();
    // Where CAP_SYS_RESOURCE is missing a score cannot be lowered, and runc would fail.
    format!(
        r#"version = 3
root = "{folder}/containerd"
state = "/run/containerd"

[grpc]
address = "/run/containerd/containerd.sock"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "docker.io/lab/pause:1"

[plugins.'io.containerd.cri.v1.images'.registry]
config_path = "{folder}/registries"

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{plugins}"]
conf_dir = "{folder}/cni"
"#
    )
}

/// `registries/docker.io/hosts.toml`: the mirror.
pub(super) fn mirror(around: &Surroundings<'_>) -> String {
    format!(
        "[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        around.registry
    )
}

/// `cni/10-lab.conflist`: a pod gets an address of the node's ranges and a wire to the node, nothing is
/// masqueraded, and no other node is known. Pod routes must come from elsewhere.
pub(super) fn cni(node: &NodeSpec, around: &Surroundings<'_>) -> String {
    let ranges: Vec<_> = node
        .pod_cidrs
        .iter()
        .map(|range| json!([{ "subnet": range }]))
        .collect();
    let anywhere = |range: &IpNet| match range {
        IpNet::V4(_) => "0.0.0.0/0",
        IpNet::V6(_) => "::/0",
    };
    let routes: Vec<_> = node
        .pod_cidrs
        .iter()
        .map(|range| json!({ "dst": anywhere(range) }))
        .collect();
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "lab",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": around.folder.join("ipam"),
                "ranges": ranges,
                "routes": routes,
            },
        }],
    });
    format!("{config:#}\n")
}

/// The kubelet's configuration. Its pods live under a control group of the node's own, in every hierarchy.
pub(super) fn kubelet(around: &Surroundings<'_>) -> String {
    let dns: Vec<String> = around
        .service_cidr
        .iter()
        .filter_map(|range| range.hosts().nth(9))
        .map(|ip| ip.to_string())
        .collect();
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "x509": { "clientCAFile": around.authority },
            "webhook": { "enabled": false },
            "anonymous": { "enabled": false },
        },
        "authorization": { "mode": "AlwaysAllow" },
        "tlsCertFile": around.serving.certificate,
        "tlsPrivateKeyFile": around.serving.key,
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", around.cgroup),
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": [],
        "clusterDNS": dns,
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "failSwapOn": false,
        "evictionHard": { "nodefs.available": "1%", "imagefs.available": "1%" },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "serializeImagePulls": false,
        "registryPullQPS": 0,
        // A container that a scenario killed before is started again as soon as one that it kills for the first time.
        "crashLoopBackOff": { "maxContainerRestartPeriod": "1s" },
    });
    format!("{config:#}\n")
}

/// The script that makes a node's mounts, says so by a file, and then holds the namespaces as long as it is let.
/// The node has a `/run`, `/var/log` and `/var/lib` of its own (of the latter it sees `kept` of this machine),
/// and its own bpf file system: its pins are not those of other nodes.
pub(super) fn holder(node: &NodeSpec, folder: &Path, kept: &[&Path]) -> String {
    let (name, folder) = (&node.name, folder.display());
    let mut script = format!("set -eu\nhostname {name}\n");
    for path in kept.iter().filter(|path| path.starts_with("/var/lib")) {
        let path = path.display();
        let _ = writeln!(
            script,
            "mkdir -p {folder}/root{path}\nmount --bind {path} {folder}/root{path}"
        );
    }
    for path in ["/var/log", "/var/lib", "/run"] {
        let _ = writeln!(script, "mount --rbind {folder}/root{path} {path}");
    }
    script.push_str("mkdir -p /sys/fs/bpf\nmount -t bpf bpf /sys/fs/bpf\n");
    let _ = writeln!(script, ": > {folder}/mounted\nexec sleep infinity");
    script
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::{Surroundings, cni, containerd, holder, kubelet, mirror};
    use crate::pki::Leaf;
    use crate::topology::{NodeSpec, published};

    fn node() -> NodeSpec {
        published().nodes.remove(1)
    }

    fn with(test: impl FnOnce(&Surroundings<'_>)) {
        let leaf = Leaf {
            certificate: "/pki/n.crt".into(),
            key: "/pki/n.key".into(),
        };
        test(&Surroundings {
            folder: Path::new("/lab/nodes/n"),
            plugins: Path::new("/cache/cni"),
            registry: "192.168.10.50:5000".parse().unwrap(),
            authority: Path::new("/pki/ca.crt"),
            serving: &leaf,
            cgroup: "tombolo-x-n",
            service_cidr: Some("10.96.0.0/16".parse().unwrap()),
        });
    }

    #[test]
    fn pods_get_one_address_of_each_family_and_no_masquerading() {
        with(|around| {
            let config: Value = serde_json::from_str(&cni(&node(), around)).unwrap();
            let plugin = &config["plugins"][0];
            assert_eq!(plugin["ipMasq"], false);
            let ranges = json!([[{"subnet": "172.20.1.0/24"}], [{"subnet": "fd00:172:20:1::/64"}]]);
            assert_eq!(plugin["ipam"]["ranges"], ranges);
            assert_eq!(
                plugin["ipam"]["routes"],
                json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}])
            );
        });
    }

    #[test]
    fn the_kubelet_keeps_its_pods_below_the_nodes_own_group() {
        with(|around| {
            let config: Value = serde_json::from_str(&kubelet(around)).unwrap();
            assert_eq!(config["cgroupRoot"], "/tombolo-x-n");
            assert_eq!(config["clusterDNS"], json!(["10.96.0.10"]));
        });
    }

    #[test]
    fn images_of_docker_io_come_from_the_labs_registry() {
        with(|around| {
            assert!(mirror(around).starts_with("[host.\"http://192.168.10.50:5000\"]\n"));
            assert!(containerd(around).contains("config_path = \"/lab/nodes/n/registries\""));
        });
    }

    #[test]
    fn a_node_sees_of_var_lib_only_what_it_needs() {
        let kept = [
            Path::new("/var/lib/tombolo-lab/x"),
            Path::new("/var/cache/tombolo"),
        ];
        let script = holder(&node(), Path::new("/lab"), &kept);
        assert!(
            script
                .contains("mount --bind /var/lib/tombolo-lab/x /lab/root/var/lib/tombolo-lab/x\n")
        );
        assert!(!script.contains("/var/cache"), "{script}");
        assert!(script.ends_with("exec sleep infinity\n"));
    }
}
