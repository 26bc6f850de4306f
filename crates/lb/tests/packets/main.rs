//! Packets through the programs of `ebpf/lb-prog` (`BPF_PROG_TEST_RUN`), in a network namespace with real routes, beside a model in plain
//! Rust.
//!
//! Without root nothing of this can be: each test then says so and ends.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking and says what it skips"
)]

mod fixture;
mod model;
mod packet;
mod random;
mod rows;
mod scene;
mod wire;

use lb::Family;
use rows::{
    connections, datagrams, direct, foreign, headers, lifetime, pods, policy, reuse, routes,
    selection, snat,
};
use scene::{BOTH_FAMILIES, play};

const IPV4: &[Family] = &[Family::Ipv4];
const IPV6: &[Family] = &[Family::Ipv6];

#[test]
fn connections_reach_backends_and_come_back() {
    play("connections", &[(connections::ROWS, BOTH_FAMILIES)]);
}

#[test]
fn datagrams_reach_backends_and_come_back() {
    let rows = [
        (datagrams::ROWS, BOTH_FAMILIES),
        (datagrams::ROWS_IPV4, IPV4),
    ];
    play("datagrams", &rows);
}

#[test]
fn clients_get_ports_that_nobody_else_has() {
    play("snat", &[(snat::ROWS, BOTH_FAMILIES)]);
}

#[test]
fn a_port_that_is_used_again_does_not_meet_what_it_was_used_for() {
    play("reuse", &[(reuse::ROWS, BOTH_FAMILIES)]);
}

#[test]
fn new_flows_get_the_backend_they_should() {
    play("selection", &[(selection::ROWS, BOTH_FAMILIES)]);
}

#[test]
fn only_who_may_ask_is_answered() {
    play("policy", &[(policy::ROWS, BOTH_FAMILIES)]);
}

#[test]
fn what_is_not_ours_is_untouched() {
    let rows = [
        (foreign::ROWS, BOTH_FAMILIES),
        (foreign::ROWS_IPV4, IPV4),
        (foreign::ROWS_IPV6, IPV6),
    ];
    play("foreign", &rows);
}

#[test]
fn headers_of_every_length_are_seen_through() {
    let rows = [
        (headers::ROWS, BOTH_FAMILIES),
        (headers::ROWS_IPV4, IPV4),
        (headers::ROWS_IPV6, IPV6),
    ];
    play("headers", &rows);
}

#[test]
fn flows_end_when_they_should() {
    play("closing", &[(lifetime::CLOSING, BOTH_FAMILIES)]);
}

#[test]
fn flows_outlive_changes_of_their_backends() {
    play("backends", &[(lifetime::BACKENDS, BOTH_FAMILIES)]);
}

#[test]
fn flows_heal() {
    play("healing", &[(lifetime::HEALING, BOTH_FAMILIES)]);
}

#[test]
fn flows_follow_routes_with_an_address_of_the_node() {
    let rows = [(routes::ROWS, BOTH_FAMILIES), (routes::ROWS_IPV4, IPV4)];
    play("routes", &rows);
}

#[test]
fn a_direct_connection_is_answered_by_whom_it_asked() {
    play("direct", &[(direct::ROWS, BOTH_FAMILIES)]);
}

#[test]
fn a_hundred_thousand_random_packets_fare_as_the_model_says() {
    random::play();
}

#[test]
fn frames_on_a_wire_are_seen_as_their_receiver_sees_them() {
    wire::play();
}

#[test]
fn pods_reach_services_and_themselves() {
    play("pods", &[(pods::ROWS, BOTH_FAMILIES)]);
}
