use super::*;

fn read(flags: &[&str], folder: &[(&str, &str)]) -> Result<Config, Error> {
    let program = std::iter::once("tombolo-operator");
    let matches = command()
        .try_get_matches_from(program.chain(flags.iter().copied()))
        .unwrap();
    let folder = folder
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    resolve(&matches, &folder)
}

#[test]
fn defaults_are_those_of_the_reference_except_that_writes_are_not_limited() {
    let config = read(&[], &[]).unwrap();
    let addresses = addresses::Settings {
        ipv4: true,
        ipv6: true,
        classless: true,
        classes: ["io.cilium/bgp-control-plane".to_owned()].into(),
    };
    let questions = Questions {
        node_configs: Some(Settings::default()),
        addresses: Some(addresses),
    };
    assert_eq!(config.questions, questions);
    assert_eq!(config.listen, ["127.0.0.1:9234", ":9963"]);
    let seconds = Duration::from_secs;
    let timing = lease::Timing {
        duration: seconds(15),
        renew_deadline: seconds(10),
        retry_period: seconds(2),
    };
    assert_eq!(config.lease, timing);
    assert_eq!(config.pace, None);
}

#[test]
fn the_folder_is_read_and_flags_win() {
    let folder = [
        ("enable-bgp-control-plane", "false"),
        ("bgp-secrets-namespace", "kube-system"),
        ("bgp-router-id-allocation-mode", "ip-pool"),
        ("bgp-router-id-allocation-ip-pool", "10.0.0.7/24"),
        ("operator-k8s-client-qps", "100"),
        ("operator-prometheus-serve-addr", ""),
        ("bpf-map-dynamic-size-ratio", "0.0025"),
    ];
    let config = read(
        &[
            "--enable-bgp-control-plane",
            "--leader-election-retry-period=500ms",
        ],
        &folder,
    )
    .unwrap();
    let settings = config.questions.node_configs.unwrap();
    assert_eq!(config.secrets_namespace.as_deref(), Some("kube-system"));
    assert_eq!(settings.auth_secrets, AuthSecrets::Known);
    assert_eq!(
        settings.router_ids,
        RouterIds::Pool("10.0.0.0/24".parse().unwrap())
    );
    assert_eq!(
        config.pace,
        Some(Rate {
            per_second: 100.0,
            burst: 200.0
        })
    );
    assert_eq!(config.listen, ["127.0.0.1:9234"]);
    assert_eq!(config.lease.retry_period, Duration::from_millis(500));
    assert_eq!(config.unknown, ["bpf-map-dynamic-size-ratio"]);
}

#[test]
fn keys_say_which_services_are_given_which_addresses() {
    let of = |folder: &[(&str, &str)]| read(&[], folder).unwrap().questions;
    assert_eq!(of(&[("enable-lb-ipam", "false")]).addresses, None);
    let rows = [
        (
            "lbipam",
            true,
            ["true", "false"],
            vec!["io.cilium/bgp-control-plane"],
        ),
        (
            "nodeipam",
            false,
            ["false", "true"],
            vec!["io.cilium/l2-announcer"],
        ),
        ("none", false, ["false", "false"], vec![]),
    ];
    for (default, classless, [bgp, l2], classes) in rows {
        let questions = of(&[
            ("default-lb-service-ipam", default),
            ("enable-bgp-control-plane", bgp),
            ("enable-l2-announcements", l2),
            ("enable-ipv4", bgp),
            ("enable-ipv6", l2),
        ]);
        assert_eq!(questions.node_configs.is_some(), bgp == "true", "{default}");
        let expected = addresses::Settings {
            ipv4: bgp == "true",
            ipv6: l2 == "true",
            classless,
            classes: classes.into_iter().map(str::to_owned).collect(),
        };
        assert_eq!(questions.addresses, Some(expected), "{default}");
    }
}

#[test]
fn a_value_of_the_wrong_form_is_an_error_that_names_key_and_form() {
    let rows = [
        ("enable-bgp-control-plane", "yes", "true or false"),
        (
            "bgp-router-id-allocation-mode",
            "pool",
            "default or ip-pool",
        ),
        (
            "leader-election-lease-duration",
            "15",
            "a duration such as 15s",
        ),
        (
            "leader-election-lease-duration",
            "0s",
            "a duration such as 15s",
        ),
        (
            "leader-election-renew-deadline",
            "15s",
            "shorter than the lease duration",
        ),
        (
            "leader-election-retry-period",
            "10s",
            "shorter than the renew deadline",
        ),
        (
            "operator-k8s-client-qps",
            "-1",
            "0, or a number of writes per second from 0.001 to 1000000",
        ),
        (
            "operator-k8s-client-burst",
            "1e300",
            "0, or a number of writes from 0.001 to 1000000",
        ),
        (
            "default-lb-service-ipam",
            "lbIPAM",
            "lbipam, nodeipam or none",
        ),
        ("log-format", "xml", "text or json"),
    ];
    for (key, value, expected) in rows {
        let error = read(&[], &[(key, value)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{key}: {value:?} is not {expected}")
        );
    }
}

#[test]
fn mode_ip_pool_needs_an_ipv4_pool() {
    for pool in ["", "10.0.0.0", "fd00::/64", "10.0.0.0/33"] {
        let folder = [
            ("bgp-router-id-allocation-mode", "ip-pool"),
            ("bgp-router-id-allocation-ip-pool", pool),
        ];
        let error = read(&[], &folder).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("bgp-router-id-allocation-ip-pool: {pool:?} is not an IPv4 CIDR")
        );
    }
}

#[test]
fn durations_are_read_as_go_writes_them() {
    let rows = [
        ("15s", Some(Duration::from_secs(15))),
        ("1m30s", Some(Duration::from_secs(90))),
        ("1.5s", Some(Duration::from_millis(1500))),
        ("500ms", Some(Duration::from_millis(500))),
        ("2h", Some(Duration::from_secs(7200))),
        ("", None),
        ("s", None),
        ("15", None),
        ("15 s", None),
        ("-15s", None),
    ];
    for (text, expected) in rows {
        assert_eq!(duration(text), expected, "{text:?}");
    }
}

#[test]
fn every_key_is_in_the_common_list() {
    for key in KEYS {
        assert!(config_dir::KEYS.contains(&key.name), "{}", key.name);
    }
}

#[test]
fn cleanup_takes_the_same_flags() {
    let matches = command()
        .try_get_matches_from(["tombolo-operator", "cleanup", "--k8s-kubeconfig-path", "/k"])
        .unwrap();
    assert_eq!(matches.subcommand_name(), Some("cleanup"));
    let config = resolve(&matches, &BTreeMap::new()).unwrap();
    assert_eq!(config.connect.kubeconfig, Some(PathBuf::from("/k")));
}
