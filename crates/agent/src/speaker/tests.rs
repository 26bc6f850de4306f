//! Two speakers' tasks over real TCP on loopback.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bgp::policy::{ExportPolicy, ExportRule, ExportVerdict, SetAttributes, Source};
use bgp::{Family, Goodbye, GracefulRestart, PeerConfig, PeerName};
use plan::node::{ObservedPeer, PeeringState};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::{Farewell, Identity, Outlet, SpeakerTask};
use crate::apply::{InstanceWish, Wish};
use crate::observe::Report;
use crate::routes::Demand;

const PATIENCE: Duration = Duration::from_secs(10);

/// One running speaker with a single instance and a single peer.
struct Side {
    wishes: watch::Sender<Option<Wish>>,
    farewell: mpsc::Sender<Farewell>,
    reports: watch::Receiver<Report>,
}

impl Side {
    fn start(wish: InstanceWish) -> Self {
        Self::after(&[], wish)
    }

    /// Starts where an earlier process had sessions of these instances.
    fn after(resumed: &[&str], wish: InstanceWish) -> Self {
        let identity = Identity {
            host_name: "node".into(),
            resumed: resumed.iter().map(ToString::to_string).collect(),
        };
        let wish = Wish {
            number: 1,
            originate: Arc::new(wish.originate.clone()),
            instances: BTreeMap::from([("instance".to_owned(), wish)]),
        };
        let (wishes, wish_receiver) = watch::channel(Some(wish));
        let (farewell, farewell_receiver) = mpsc::channel(1);
        let (report, reports) = watch::channel(Report::default());
        let (_nothing, demand) = watch::channel(Demand::default());
        let (batches, _nobody) = mpsc::channel(1);
        let outlet = Outlet { demand, batches };
        let task = SpeakerTask::new(identity, report);
        tokio::spawn(task.run(wish_receiver, farewell_receiver, outlet));
        Self {
            wishes,
            farewell,
            reports,
        }
    }

    async fn sees(
        &mut self,
        what: &str,
        condition: impl Fn(&ObservedPeer) -> bool,
    ) -> ObservedPeer {
        let key = ("instance".to_owned(), "peer".to_owned());
        let seen = self
            .reports
            .wait_for(|report| report.peers.get(&key).is_some_and(&condition));
        let seen = timeout(PATIENCE, seen)
            .await
            .unwrap_or_else(|_| panic!("not seen in time: {what}"));
        seen.expect("the speaker runs").peers[&key].clone()
    }

    async fn leaves(&self, goodbye: Goodbye) {
        let (done, finished) = oneshot::channel();
        self.farewell
            .send((goodbye, done))
            .await
            .expect("the speaker runs");
        timeout(PATIENCE, finished)
            .await
            .expect("left in time")
            .expect("left");
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a free port")
        .port()
}

fn wish(
    asn: u32,
    ours: u8,
    theirs: u8,
    port: u16,
    listen: Option<u16>,
    prefixes: &[&str],
) -> InstanceWish {
    let address = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    let everything = ExportRule {
        source: Source::Local,
        prefixes: None,
        verdict: ExportVerdict::Accept(SetAttributes::default()),
    };
    let peer = PeerConfig {
        address: address(theirs),
        port,
        local_address: Some(address(ours)),
        peer_asn: None,
        hold_time: 9,
        keepalive: 3,
        connect_retry: Duration::from_secs(120),
        ebgp_ttl: 1,
        families: vec![Family::IPV4_UNICAST],
        graceful_restart: Some(GracefulRestart { restart_time: 15 }),
        export: Arc::new(ExportPolicy {
            rules: vec![everything],
        }),
    };
    InstanceWish {
        local_asn: asn,
        router_id: Ipv4Addr::new(10, 0, 0, ours),
        local_port: listen,
        peers: BTreeMap::from([(PeerName::from("peer"), peer)]),
        originate: prefixes
            .iter()
            .map(|prefix| prefix.parse().expect("a prefix"))
            .collect::<BTreeSet<_>>(),
    }
}

/// A listener at 127.0.0.1 and a dialler at 127.0.0.2, each with routes for the other.
async fn pair() -> (Side, Side) {
    let port = free_port();
    // The listener's own attempts end at a port where nobody is, as with a node that never listens.
    let mut listener = Side::start(wish(
        65000,
        1,
        2,
        free_port(),
        Some(port),
        &["10.1.0.0/24", "10.1.1.0/24"],
    ));
    let mut dialler = Side::start(wish(65001, 2, 1, port, None, &["172.20.0.0/24"]));
    let complete = |received, advertised| {
        move |peer: &ObservedPeer| {
            peer.state == PeeringState::Established
                && peer.end_of_rib_sent
                && peer
                    .routes
                    .iter()
                    .any(|count| (count.received, count.advertised) == (received, advertised))
        }
    };
    listener.sees("the dialler's route", complete(1, 2)).await;
    dialler.sees("the listener's routes", complete(2, 1)).await;
    (listener, dialler)
}

#[tokio::test]
async fn a_session_comes_up_with_true_counts_timers_and_a_learned_asn() {
    let (mut listener, _dialler) = pair().await;
    let peer = listener
        .sees("established", |peer| {
            peer.state == PeeringState::Established
        })
        .await;
    assert_eq!(
        (peer.asn, peer.hold_time, peer.keepalive),
        (Some(65001), Some(9), Some(3))
    );
    assert!(peer.established_at.is_some());
}

#[tokio::test]
async fn what_was_announced_counts_until_its_withdrawal_is_written() {
    let (mut listener, mut dialler) = pair().await;
    let prefixes = |report: &Report| {
        let announced = report.announced.iter();
        announced.map(ToString::to_string).collect::<Vec<_>>()
    };
    let report = dialler.reports.borrow().clone();
    assert_eq!(
        (report.wish, prefixes(&report)),
        (1, vec!["172.20.0.0/24".to_owned()])
    );
    dialler.wishes.send_modify(|wish| {
        let wish = wish.as_mut().expect("a wish");
        wish.number = 2;
        wish.originate = Arc::default();
        let instance = wish.instances.get_mut("instance").expect("the instance");
        instance.originate.clear();
    });
    let told = dialler
        .reports
        .wait_for(|report| report.wish == 2 && report.announced.is_empty());
    let told = timeout(PATIENCE, told).await.expect("in time");
    drop(told.expect("the speaker runs"));
    listener
        .sees("the withdrawal", |peer| {
            peer.routes.iter().all(|count| count.received == 0)
        })
        .await;
}

#[tokio::test]
async fn one_who_leaves_for_good_is_heard_to_say_so() {
    let (mut listener, dialler) = pair().await;
    dialler.leaves(Goodbye::Cease).await;
    let peer = listener
        .sees("the session's end", |peer| {
            peer.state != PeeringState::Established
        })
        .await;
    let reason = peer.last_down.expect("a reason");
    assert!(
        reason.starts_with("received ") && reason.contains("Administrative Shutdown"),
        "{reason}"
    );
}

#[tokio::test]
async fn one_who_comes_back_goes_without_a_word() {
    let (mut listener, dialler) = pair().await;
    dialler.leaves(Goodbye::Silent).await;
    let peer = listener
        .sees("the session's end", |peer| {
            peer.state != PeeringState::Established
        })
        .await;
    assert_eq!(
        peer.last_down.as_deref(),
        Some("the connection ended without a NOTIFICATION")
    );
}

#[tokio::test]
async fn a_removed_instance_says_goodbye_and_a_changed_one_comes_back() {
    let (mut listener, dialler) = pair().await;
    let established = listener
        .reports
        .borrow()
        .peers
        .values()
        .next()
        .and_then(|peer| peer.established_at);
    dialler.wishes.send_modify(|wish| {
        let instances = &mut wish.as_mut().expect("a wish").instances;
        let instance = instances.get_mut("instance").expect("the instance");
        instance.router_id = Ipv4Addr::new(10, 9, 9, 9);
    });
    listener
        .sees("a new session", |peer| {
            peer.state == PeeringState::Established && peer.established_at != established
        })
        .await;
    dialler
        .wishes
        .send_modify(|wish| wish.as_mut().expect("a wish").instances.clear());
    let peer = listener
        .sees("the session's end", |peer| {
            peer.state != PeeringState::Established
        })
        .await;
    let reason = peer.last_down.expect("a reason");
    assert!(
        reason.contains("De-configured") || reason.contains("Deconfigured"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_reported_and_the_instance_still_dials() {
    let taken = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let mut side = Side::start(wish(65000, 1, 2, free_port(), Some(port), &[]));
    let report = side
        .reports
        .wait_for(|report| !report.listen_failures.is_empty());
    let report = timeout(PATIENCE, report)
        .await
        .expect("in time")
        .expect("the speaker runs")
        .clone();
    assert!(
        report.listen_failures["instance"].starts_with(&format!("cannot listen on port {port}"))
    );
    assert_eq!(report.peers.len(), 1);
    drop(taken);
    let report = side
        .reports
        .wait_for(|report| report.listen_failures.is_empty());
    let heard = timeout(PATIENCE, report).await.expect("in time");
    drop(heard.expect("the speaker runs"));
    let caller = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
    assert!(caller.is_ok(), "{caller:?}");
}

#[tokio::test]
async fn an_instance_that_changes_listens_on_at_its_port() {
    let (mut listener, mut dialler) = pair().await;
    listener.wishes.send_modify(|wish| {
        let instances = &mut wish.as_mut().expect("a wish").instances;
        let instance = instances.get_mut("instance").expect("the instance");
        instance.router_id = Ipv4Addr::new(10, 9, 9, 9);
    });
    // Only the dialler can make the session: the other's attempts reach nobody.
    dialler
        .sees("the session's end", |peer| {
            peer.state != PeeringState::Established
        })
        .await;
    let established = |peer: &ObservedPeer| peer.state == PeeringState::Established;
    dialler.sees("a new session", established).await;
    listener.sees("a new session", established).await;
    assert!(listener.reports.borrow().listen_failures.is_empty());
}

#[tokio::test]
async fn what_a_peer_keeps_over_a_lost_session_counts_as_announced_until_the_next_has_told_it_all()
{
    let (mut listener, dialler) = pair().await;
    let has_both = |report: &Report| report.announced.len() == 2;
    assert!(has_both(&listener.reports.borrow()) && !listener.reports.borrow().inherits);
    dialler.leaves(Goodbye::Silent).await;
    listener
        .sees("the session's end", |peer| {
            peer.state != PeeringState::Established
        })
        .await;
    listener.wishes.send_modify(|wish| {
        let wish = wish.as_mut().expect("a wish");
        let instance = wish.instances.get_mut("instance").expect("the instance");
        instance.originate.pop_last();
        wish.number = 2;
        wish.originate = Arc::new(instance.originate.clone());
    });
    let taken = listener.reports.wait_for(|report| report.wish == 2);
    let report = timeout(PATIENCE, taken).await.expect("in time");
    assert!(
        has_both(&report.expect("the speaker runs")),
        "the peer keeps it"
    );
    let port = listener
        .wishes
        .borrow()
        .as_ref()
        .map(|wish| wish.instances["instance"].local_port);
    let port = port.flatten().expect("a listener");
    let returned = wish(65001, 2, 1, port, None, &["172.20.0.0/24"]);
    let mut returned = Side::after(&["instance"], returned);
    assert!(returned.reports.borrow().inherits || !returned.reports.borrow().configured);
    for side in [&mut listener, &mut returned] {
        let settled = side.reports.wait_for(|report| {
            report.configured && !report.inherits && report.announced.len() == 1
        });
        let report = timeout(PATIENCE, settled).await.expect("in time");
        let report = report.expect("the speaker runs").clone();
        assert!(report.peers.values().all(|peer| peer.end_of_rib_sent));
    }
}
