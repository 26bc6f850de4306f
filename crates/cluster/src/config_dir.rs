//! Configuration as a folder of files, one file per key: how Kubernetes mounts a ConfigMap, and how Cilium's programs
//! are configured (`--config-dir`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::Error;

/// Every key that some program of this project reads. Agent and operator share one ConfigMap, so a key that is in this
/// list is never reported as unknown by the program that does not read it.
pub const KEYS: &[&str] = &[
    "agent-health-port",
    "bgp-router-id-allocation-ip-pool",
    "bgp-router-id-allocation-mode",
    "bgp-secrets-namespace",
    "bpf-lb-algorithm",
    "bpf-lb-external-clusterip",
    "bpf-lb-maglev-hash-seed",
    "bpf-lb-maglev-table-size",
    "bpf-lb-sock",
    "bpf-lb-sock-hostns-only",
    "bpf-root",
    "cgroup-root",
    "debug",
    "default-lb-service-ipam",
    "devices",
    "enable-bgp-control-plane",
    "enable-bgp-control-plane-status-report",
    "enable-ipv4",
    "enable-ipv6",
    "enable-l2-announcements",
    "enable-lb-ipam",
    "enable-no-service-endpoints-routable",
    "k8s-api-server",
    "k8s-kubeconfig-path",
    "k8s-service-proxy-name",
    "kube-proxy-replacement",
    "lb-ping",
    "leader-election-lease-duration",
    "leader-election-renew-deadline",
    "leader-election-retry-period",
    "log-format",
    "log-level",
    "node-port-range",
    "operator-api-serve-addr",
    "operator-k8s-client-burst",
    "operator-k8s-client-qps",
    "operator-prometheus-serve-addr",
    "pod-interfaces",
    "prometheus-serve-addr",
];

/// Reads a configuration folder: file name to contents, without white space around them. Names that begin with a dot
/// are Kubernetes' own (`..data`) and skipped, and so are folders.
///
/// # Errors
///
/// When the folder, or a file in it, cannot be read.
pub fn read(folder: &Path) -> Result<BTreeMap<String, String>, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::ConfigDir { path, source }
    };
    let mut keys = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.starts_with('.') || !path.is_file() {
            continue;
        }
        let contents = fs::read_to_string(&path).map_err(failed(&path))?;
        keys.insert(name.to_owned(), contents.trim().to_owned());
    }
    Ok(keys)
}

/// The keys of a folder that no program of this project reads, in order.
#[must_use]
pub fn unknown(keys: &BTreeMap<String, String>) -> Vec<&str> {
    keys.keys()
        .map(String::as_str)
        .filter(|key| !KEYS.contains(key))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_config_map_is_read_through_its_symbolic_links() {
        let folder = std::env::temp_dir().join(format!("config-dir-{}", std::process::id()));
        let data = folder.join("..2026_11_21");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("enable-bgp-control-plane"), "true\n").unwrap();
        fs::write(data.join("tunnel-port"), " 8472 ").unwrap();
        std::os::unix::fs::symlink("..2026_11_21", folder.join("..data")).unwrap();
        for key in ["enable-bgp-control-plane", "tunnel-port"] {
            std::os::unix::fs::symlink(format!("..data/{key}"), folder.join(key)).unwrap();
        }

        let keys = read(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();

        let expected = [
            ("enable-bgp-control-plane", "true"),
            ("tunnel-port", "8472"),
        ];
        assert_eq!(
            keys,
            expected
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into()
        );
        assert_eq!(unknown(&keys), ["tunnel-port"]);
    }

    #[test]
    fn a_folder_that_is_missing_is_an_error_that_names_it() {
        let error = read(Path::new("/nonexistent/config")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nonexistent/config");
    }

    #[test]
    fn the_list_of_keys_is_sorted_and_has_no_twins() {
        assert!(KEYS.is_sorted_by(|a, b| a < b));
    }
}
