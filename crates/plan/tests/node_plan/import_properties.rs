//! The verdict on a prefix is that of a reading of the rules and guards, one by one, that nobody has made fast.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use plan::node::{Guards, ImportPlan, IpFamily, PrefixRule, Refusal, RoutesPlan};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

/// Few bits vary, so that prefixes meet often.
fn prefix() -> impl Strategy<Value = IpNet> {
    let tops = prop_oneof![
        Just(0x0a00_0000_u32),
        Just(0x7f00_0000),
        Just(0xa9fe_0000),
        Just(0xe000_0000),
        Just(0x0000_0000),
        Just(0xffff_ff00),
    ];
    let v4 = (tops, 0..16_u32, prop_oneof![0..=8_u8, 24..=32_u8]).prop_map(|(top, low, length)| {
        let spread = top ^ (low << 4) ^ (low >> 2);
        let net = Ipv4Net::new(Ipv4Addr::from(spread), length).unwrap();
        IpNet::V4(net.trunc())
    });
    let tops = prop_oneof![
        Just(0_u128),
        Just(0xfe80 << 112),
        Just(0xff00 << 112),
        Just(0xfd00 << 112)
    ];
    let v6 =
        (tops, 0..8_u128, prop_oneof![0..=12_u8, 120..=128_u8]).prop_map(|(top, low, length)| {
            let net = Ipv6Net::new(Ipv6Addr::from(top ^ (low << 115) ^ low), length).unwrap();
            IpNet::V6(net.trunc())
        });
    prop_oneof![3 => v4, 1 => v6]
}

fn host() -> impl Strategy<Value = IpNet> {
    prefix().prop_map(|prefix| IpNet::from(prefix.addr()))
}

fn rule() -> impl Strategy<Value = PrefixRule> {
    (prefix(), any::<bool>(), 0..=4_u8, 0..=4_u8, any::<bool>()).prop_map(
        |(prefix, accept, more, less, to_the_end)| {
            let (own, most) = (prefix.prefix_len(), prefix.max_prefix_len());
            let min_length = (own + more).min(most);
            let max_length = if to_the_end {
                most
            } else {
                (min_length + less).min(most)
            };
            PrefixRule {
                prefix,
                min_length,
                max_length,
                accept,
            }
        },
    )
}

fn routes() -> impl Strategy<Value = (RoutesPlan, ImportPlan)> {
    let guards = (
        vec(prefix(), 0..3),
        vec(prefix(), 0..3),
        btree_set(host(), 0..6),
        btree_set(prefix(), 0..12),
        btree_set(host(), 0..6),
        btree_set(prefix(), 0..6),
    );
    (guards, vec(rule(), 1..6)).prop_map(|(guards, rules)| {
        let (pod_cidrs, service_cidrs, node_addresses, connected, service_addresses, announced) =
            guards;
        let guards = Guards {
            pod_cidrs,
            service_cidrs,
            node_addresses,
            connected,
            service_addresses: service_addresses.into(),
            announced: announced.into(),
        };
        let import = ImportPlan {
            name: "all".to_owned(),
            instances: None,
            peers: None,
            families: [IpFamily::Ipv4, IpFamily::Ipv6].into(),
            rules,
            maximum_paths: 16.try_into().unwrap(),
        };
        let plan = RoutesPlan {
            imports: [].into(),
            guards: Arc::new(guards),
        };
        (plan, import)
    })
}

/// Bit by bit, for prefixes and everything else: nothing of the library is believed.
fn lies_in(inner: &IpNet, outer: &IpNet) -> bool {
    let bits = |net: &IpNet| match net {
        IpNet::V4(net) => (false, u128::from(net.addr().to_bits()) << 96),
        IpNet::V6(net) => (true, net.addr().to_bits()),
    };
    let ((a, inner_bits), (b, outer_bits)) = (bits(inner), bits(outer));
    let equal = |bit: u8| inner_bits >> (127 - bit) & 1 == outer_bits >> (127 - bit) & 1;
    a == b && inner.prefix_len() >= outer.prefix_len() && (0..outer.prefix_len()).all(equal)
}

fn naive(plan: &RoutesPlan, import: &ImportPlan, prefix: &IpNet) -> Result<(), Refusal> {
    let length = prefix.prefix_len();
    let decides = |rule: &&PrefixRule| {
        lies_in(prefix, &rule.prefix) && (rule.min_length..=rule.max_length).contains(&length)
    };
    let rule = match import.rules.iter().find(decides) {
        Some(rule) if rule.accept => rule,
        Some(_) | None => return Err(Refusal::NotAccepted),
    };
    let broad = match prefix {
        IpNet::V4(_) => 8,
        IpNet::V6(_) => 4,
    };
    let named = length > 0 || (rule.min_length, rule.max_length) == (0, 0);
    let special = |texts: [&str; 2]| {
        texts
            .iter()
            .any(|text| lies_in(prefix, &text.parse().unwrap()))
    };
    let guards = plan.guards.as_ref();
    let is_one = |hosts: &BTreeSet<IpNet>| hosts.iter().any(|host| host == prefix);
    let is_part = |nets: &[IpNet]| nets.iter().any(|net| lies_in(prefix, net));
    let mut networks: Vec<&IpNet> = guards
        .connected
        .iter()
        .filter(|net| lies_in(prefix, net))
        .collect();
    networks.sort_by_key(|net| net.prefix_len());
    let in_the_way = networks
        .last()
        .is_some_and(|net| *net == prefix || !lies_in(&rule.prefix, net));
    let reasons = [
        (!named, Refusal::DefaultRoute),
        (special(["127.0.0.0/8", "::1/128"]), Refusal::Loopback),
        (special(["169.254.0.0/16", "fe80::/10"]), Refusal::LinkLocal),
        (special(["224.0.0.0/4", "ff00::/8"]), Refusal::Multicast),
        (
            length < broad && rule.max_length >= broad,
            Refusal::DefaultRoute,
        ),
        (is_one(&guards.node_addresses), Refusal::NodeAddress),
        (is_one(&guards.service_addresses), Refusal::ServiceAddress),
        (is_part(&guards.pod_cidrs), Refusal::PodCidr),
        (is_part(&guards.service_cidrs), Refusal::ServiceCidr),
        (is_one(&guards.announced), Refusal::Announced),
        (in_the_way, Refusal::Connected),
    ];
    let refusal = reasons.iter().find(|(applies, _)| *applies);
    refusal.map_or(Ok(()), |(_, refusal)| Err(*refusal))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_verdict_is_the_naive_one((plan, import) in routes(), prefixes in vec(prefix(), 1..40)) {
        for prefix in prefixes {
            prop_assert_eq!(plan.verdict(&import, &prefix), naive(&plan, &import, &prefix), "{}", prefix);
        }
    }

    /// Prefixes around the guarded ones, which chance alone would seldom meet.
    #[test]
    fn the_verdict_is_the_naive_one_beside_every_guard((plan, mut import) in routes()) {
        import.rules.push(PrefixRule {
            prefix: "0.0.0.0/0".parse().unwrap(),
            min_length: 0,
            max_length: 32,
            accept: true,
        });
        let guards = plan.guards.as_ref();
        let lists = guards.pod_cidrs.iter().chain(&guards.service_cidrs).chain(&guards.connected);
        let lists = lists.chain(&guards.announced);
        for guarded in lists.chain(&guards.node_addresses).chain(&guards.service_addresses) {
            let around = [Some(*guarded), guarded.supernet()].into_iter().flatten();
            let halves = guarded.subnets((guarded.prefix_len() + 1).min(guarded.max_prefix_len()));
            for prefix in around.chain(halves.unwrap()) {
                prop_assert_eq!(plan.verdict(&import, &prefix), naive(&plan, &import, &prefix), "{}", prefix);
            }
        }
    }
}

/// Proof that the cases above reach every reason: a generator that misses one would prove nothing of it.
#[test]
fn the_cases_reach_every_verdict() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let strategy = (routes(), vec(prefix(), 40));
    let mut seen = BTreeSet::new();
    for _ in 0..2000 {
        let ((plan, import), prefixes) = strategy.new_tree(&mut runner).unwrap().current();
        for prefix in prefixes {
            seen.insert(plan.verdict(&import, &prefix));
        }
    }
    use Refusal::{
        Announced, Connected, DefaultRoute, LinkLocal, Loopback, Multicast, NodeAddress,
        NotAccepted, PodCidr, ServiceAddress, ServiceCidr,
    };
    let refusals = [
        NotAccepted,
        DefaultRoute,
        PodCidr,
        ServiceCidr,
        NodeAddress,
        Connected,
        ServiceAddress,
        Announced,
        Loopback,
        LinkLocal,
        Multicast,
    ];
    let all: BTreeSet<_> = refusals.map(Err).into_iter().chain([Ok(())]).collect();
    assert_eq!(seen, all);
}
