//! What Services ask for, and what they are told.

use scenarios::stage::{Outcome, SATISFIED, Stage, eventually};
use serde_json::{Value, json};

/// Pool `both` for all, pool `red` for Services of that colour.
fn make_pools(stage: &Stage) -> Outcome {
    let both = json!({"blocks": [
        {"start": "10.0.0.1", "stop": "10.0.0.14"}, {"start": "fd00:1::1", "stop": "fd00:1::f"},
    ]});
    stage.pool("both", &both)?;
    let red = json!({
        "serviceSelector": {"matchLabels": {"colour": "red"}},
        "blocks": [{"start": "10.1.0.1", "stop": "10.1.0.2"}],
    });
    stage.pool("red", &red)
}

fn asking(addresses: &str) -> Value {
    json!({"annotations": {"lbipam.cilium.io/ips": addresses}})
}

fn refused(reason_and_message: &str) -> String {
    format!("IPAMRequestSatisfied False {reason_and_message}")
}

#[tokio::test]
async fn services_get_the_addresses_and_families_that_they_ask_for() -> Outcome {
    let stage = Stage::set("addresses-requests").await?;
    make_pools(&stage)?;
    let operator = stage.operator("first", &[])?;
    let old = json!({"loadBalancerIP": "10.0.0.6"});
    let both = json!({"ipFamilyPolicy": "RequireDualStack"});
    let (six, reverse) = (
        json!({"ipFamilies": ["IPv6"]}),
        json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]}),
    );
    let class = json!({"loadBalancerClass": "io.cilium/bgp-control-plane"});
    let alias = json!({"annotations": {"io.cilium/lb-ipam-ips": "10.0.0.7, 10.0.0.8"}});
    let red =
        json!({"labels": {"colour": "red"}, "annotations": {"lbipam.cilium.io/ips": "10.1.0.2"}});
    let none = || json!({});
    let rows: [(&str, Value, Value, &[&str]); 9] = [
        ("annotation", asking("10.0.0.5"), none(), &["10.0.0.5"]),
        ("field", none(), old, &["10.0.0.6"]),
        ("several", alias, none(), &["10.0.0.7", "10.0.0.8"]),
        ("dual", none(), both, &["10.0.0.1", "fd00:1::1"]),
        ("six", none(), six, &["fd00:1::2"]),
        ("reverse", none(), reverse, &["10.0.0.2", "fd00:1::3"]),
        ("class", none(), class, &["10.0.0.3"]),
        ("red", red, none(), &["10.1.0.2"]),
        ("any", none(), none(), &["10.0.0.4"]),
    ];
    for (name, metadata, spec, addresses) in rows {
        stage.service(name, metadata, spec).await?;
        stage.await_service(name, addresses, &[SATISFIED]).await?;
    }
    refusals_are_told(&stage).await?;
    wishes_change(&stage).await?;
    addresses_are_shared(&stage).await?;
    others_are_left_alone(&stage).await?;
    operator.terminate()
}

async fn refusals_are_told(stage: &Stage) -> Outcome {
    let rows = [
        (
            "10.0.0.5",
            "already_allocated: The IP '10.0.0.5' is already allocated to another service",
        ),
        (
            "192.0.2.1",
            "no_pool: No pool exists with a CIDR containing '192.0.2.1'",
        ),
        (
            "10.1.0.1",
            "pool_selector_mismatch: The pool with the CIDR containing '10.1.0.1', doesn't select this service",
        ),
    ];
    for (number, (address, told)) in rows.into_iter().enumerate() {
        let name = format!("refused-{number}");
        stage.service(&name, asking(address), json!({})).await?;
        stage.await_service(&name, &[], &[&refused(told)]).await?;
    }
    // What can be had is had.
    stage
        .service("partly", asking("10.0.0.9,192.0.2.2"), json!({}))
        .await?;
    let told = refused("no_pool: No pool exists with a CIDR containing '192.0.2.2'");
    stage.await_service("partly", &["10.0.0.9"], &[&told]).await
}

async fn wishes_change(stage: &Stage) -> Outcome {
    let edited = |addresses: &str| json!({"metadata": asking(addresses)});
    stage.edit_service("any", edited("10.0.0.14")).await?;
    stage
        .await_service("any", &["10.0.0.14"], &[SATISFIED])
        .await?;
    // A refused one gets the address that another lets go.
    stage
        .edit_service("annotation", edited("10.0.0.13"))
        .await?;
    stage
        .await_service("annotation", &["10.0.0.13"], &[SATISFIED])
        .await?;
    stage
        .await_service("refused-0", &["10.0.0.5"], &[SATISFIED])
        .await?;
    // Without a wish it keeps what it has.
    let none = json!({"metadata": {"annotations": {"lbipam.cilium.io/ips": null}}});
    stage.edit_service("any", none).await?;
    stage.service("next", json!({}), json!({})).await?;
    stage
        .await_service("next", &["10.0.0.4"], &[SATISFIED])
        .await?;
    stage
        .await_service("any", &["10.0.0.14"], &[SATISFIED])
        .await
}

async fn addresses_are_shared(stage: &Stage) -> Outcome {
    let key = || json!({"annotations": {"lbipam.cilium.io/sharing-key": "k"}});
    stage.service("http", key(), json!({})).await?;
    stage
        .await_service("http", &["10.0.0.10"], &[SATISFIED])
        .await?;
    stage
        .service("https", key(), json!({"ports": [{"port": 443}]}))
        .await?;
    stage
        .await_service("https", &["10.0.0.10"], &[SATISFIED])
        .await?;
    // A port that is taken needs an address of its own.
    stage.service("again", key(), json!({})).await?;
    stage
        .await_service("again", &["10.0.0.11"], &[SATISFIED])
        .await
}

async fn others_are_left_alone(stage: &Stage) -> Outcome {
    let before = stage.status_writes()?;
    for (name, class) in [
        ("l2", "io.cilium/l2-announcer"),
        ("other", "example.org/other"),
    ] {
        let spec = json!({"loadBalancerClass": class});
        stage.service(name, json!({}), spec).await?;
    }
    stage
        .edit_service_status(
            "other",
            json!({"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}),
        )
        .await?;
    // Somebody who is served comes later, so the others have been looked at.
    stage.service("last", json!({}), json!({})).await?;
    stage
        .await_service("last", &["10.0.0.12"], &[SATISFIED])
        .await?;
    stage.await_service("l2", &[], &[]).await?;
    stage.await_service("other", &["lb.example"], &[]).await?;
    let services = stage.status_writes()?.services - before.services;
    assert_eq!(services, 2, "the test's, and the last Service's");
    Ok(())
}

#[tokio::test]
async fn keys_say_who_is_served() -> Outcome {
    let stage = Stage::set("addresses-keys").await?;
    make_pools(&stage)?;
    for (name, spec) in [
        ("plain", json!({})),
        (
            "bgp",
            json!({"loadBalancerClass": "io.cilium/bgp-control-plane"}),
        ),
        ("l2", json!({"loadBalancerClass": "io.cilium/l2-announcer"})),
    ] {
        stage.service(name, json!({}), spec).await?;
    }

    let off = stage.operator("off", &["--enable-lb-ipam=false"])?;
    off.await_line("leads").await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let writes = stage.status_writes()?;
    assert_eq!((writes.services, writes.pools), (0, 0), "it does nothing");
    off.terminate()?;

    // Without the BGP control plane, addresses are given nevertheless.
    let arguments = [
        "--enable-bgp-control-plane=false",
        "--enable-l2-announcements",
        "--default-lb-service-ipam=none",
        "--enable-ipv6=false",
    ];
    let operator = stage.operator("l2", &arguments)?;
    stage
        .await_service("l2", &["10.0.0.1"], &[SATISFIED])
        .await?;
    let dual = json!({"loadBalancerClass": "io.cilium/l2-announcer", "ipFamilyPolicy": "RequireDualStack"});
    stage.service("dual", json!({}), dual).await?;
    stage
        .await_service("dual", &["10.0.0.2"], &[SATISFIED])
        .await?;
    for name in ["plain", "bgp"] {
        stage.await_service(name, &[], &[]).await?;
    }
    operator.terminate()?;

    // Who is no longer served keeps what was given here, and nobody else gets it.
    let usual = stage.operator("usual", &[])?;
    for name in ["plain", "bgp"] {
        eventually("it has an address that nobody else has", async || {
            let (addresses, conditions) = stage.service_status(name).await?;
            let [address] = addresses.as_slice() else {
                return Ok(None);
            };
            let is_new = !["10.0.0.1", "10.0.0.2"].contains(&address.as_str());
            Ok((is_new && conditions == [SATISFIED]).then_some(()))
        })
        .await?;
    }
    for (name, address) in [("l2", "10.0.0.1"), ("dual", "10.0.0.2")] {
        stage.await_service(name, &[address], &[SATISFIED]).await?;
    }
    usual.terminate()
}
