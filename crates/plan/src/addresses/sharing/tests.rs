use proptest::prelude::*;

use super::*;
use crate::snapshot::Protocol;

/// What a Service in a test says of sharing, owned.
#[derive(Debug, Clone)]
struct Said {
    key: &'static str,
    namespace: &'static str,
    permits: &'static str,
    ports: Vec<ServicePort>,
    policy: TrafficPolicy,
    pods: BTreeMap<String, String>,
    different_pods: DifferentPods,
}

impl Said {
    fn terms(&self) -> Terms<'_> {
        Terms {
            key: (!self.key.is_empty()).then_some(self.key),
            namespace: self.namespace,
            permits: Namespaces::parse(self.permits),
            ports: &self.ports,
            policy: self.policy,
            pods: &self.pods,
            different_pods: self.different_pods,
        }
    }
}

fn port(protocol: Protocol, port: u16) -> ServicePort {
    ServicePort {
        port,
        protocol,
        ..ServicePort::default()
    }
}

fn pods(app: &str) -> BTreeMap<String, String> {
    let labels = [("app".to_owned(), app.to_owned())];
    labels.into_iter().filter(|_| !app.is_empty()).collect()
}

/// A Service with key `k` in namespace `a`.
fn with_port(number: u16) -> Said {
    Said {
        key: "k",
        namespace: "a",
        permits: "",
        ports: vec![port(Protocol::Tcp, number)],
        policy: TrafficPolicy::Cluster,
        pods: pods("web"),
        different_pods: DifferentPods::Refused,
    }
}

fn change(mut said: Said, change: impl FnOnce(&mut Said)) -> Said {
    change(&mut said);
    said
}

#[test]
fn two_services_share_on_ciliums_rules_and_refuse_with_its_reasons() {
    use Incompatible::{Key, Namespace, Pods, Port};
    let one = || with_port(80);
    let other = || with_port(443);
    let local = |said: Said| change(said, |said| said.policy = TrafficPolicy::Local);
    let opted_in = |said: Said| {
        change(local(said), |said| {
            said.different_pods = DifferentPods::Permitted;
        })
    };
    let in_b = |permits| {
        move |said: &mut Said| {
            said.namespace = "b";
            said.permits = permits;
        }
    };
    let permitting = |permits| change(one(), |said: &mut Said| said.permits = permits);
    let of_other_app = |said: &mut Said| said.pods = pods("api");
    let rows = [
        ("equal keys", one(), other(), Ok(())),
        (
            "different keys",
            one(),
            change(other(), |said| said.key = "l"),
            Err(Key),
        ),
        (
            "no key at the second",
            one(),
            change(other(), |said| said.key = ""),
            Err(Key),
        ),
        (
            "no key at the first",
            change(one(), |said| said.key = ""),
            other(),
            Err(Key),
        ),
        (
            "no key at both",
            change(one(), |said| said.key = ""),
            change(other(), |said| said.key = ""),
            Err(Key),
        ),
        ("one port", one(), one(), Err(Port)),
        (
            "one port number, two protocols",
            one(),
            change(one(), |said| said.ports = vec![port(Protocol::Udp, 80)]),
            Ok(()),
        ),
        (
            "one of several ports",
            change(one(), |said| said.ports.push(port(Protocol::Tcp, 443))),
            other(),
            Err(Port),
        ),
        (
            "no ports",
            one(),
            change(one(), |said| said.ports.clear()),
            Ok(()),
        ),
        (
            "another namespace",
            one(),
            change(other(), in_b("")),
            Err(Namespace),
        ),
        (
            "permitted by the second",
            one(),
            change(other(), in_b("a")),
            Err(Namespace),
        ),
        (
            "permitted by the first",
            permitting("b"),
            change(other(), in_b("")),
            Err(Namespace),
        ),
        (
            "permitted by both",
            permitting("b"),
            change(other(), in_b("a")),
            Ok(()),
        ),
        (
            "permitted by name and by star",
            permitting("*"),
            change(other(), in_b("c,a")),
            Ok(()),
        ),
        (
            "a list with blanks",
            permitting("c, b"),
            change(other(), in_b(" * ")),
            Ok(()),
        ),
        (
            "a list of others",
            permitting("c,bb"),
            change(other(), in_b("*")),
            Err(Namespace),
        ),
        (
            "two policies",
            one(),
            local(other()),
            Err(Incompatible::TrafficPolicy),
        ),
        (
            "other pods, policy Cluster",
            one(),
            change(other(), of_other_app),
            Ok(()),
        ),
        (
            "policy Local, the same pods",
            local(one()),
            local(other()),
            Ok(()),
        ),
        (
            "policy Local, other pods",
            local(one()),
            change(local(other()), of_other_app),
            Err(Pods),
        ),
        (
            "policy Local, no pods",
            local(change(one(), |said| said.pods = pods(""))),
            local(change(other(), |said| said.pods = pods(""))),
            Err(Pods),
        ),
        (
            "policy Local, other pods, both opt in",
            opted_in(one()),
            change(opted_in(other()), of_other_app),
            Ok(()),
        ),
        (
            "policy Local, other pods, one opts in",
            local(one()),
            change(opted_in(other()), of_other_app),
            Err(Pods),
        ),
        (
            "policy Local, no pods, both opt in",
            opted_in(one()),
            change(opted_in(other()), |said| said.pods = pods("")),
            Err(Pods),
        ),
        (
            "the key comes before the port",
            one(),
            change(one(), |said| said.key = "l"),
            Err(Key),
        ),
        (
            "the namespace comes before the port",
            one(),
            change(one(), in_b("")),
            Err(Namespace),
        ),
        (
            "the port comes before the policy",
            one(),
            local(one()),
            Err(Port),
        ),
    ];
    for (claim, first, second, expected) in rows {
        let (first, second) = (first.terms(), second.terms());
        assert_eq!(Group::of(&first).admits(&second), expected, "{claim}");
        assert_eq!(
            Group::of(&second).admits(&first),
            expected,
            "{claim}, turned"
        );
    }
}

#[test]
fn reasons_are_ciliums() {
    let rows = [
        (Incompatible::Key, "different sharing key"),
        (
            Incompatible::Namespace,
            "different and not permitted namespace",
        ),
        (Incompatible::Port, "same port and protocol"),
        (
            Incompatible::TrafficPolicy,
            "different ExternalTrafficPolicy",
        ),
        (
            Incompatible::Pods,
            "compatible ExternalTrafficPolicy local but selecting different set of pods",
        ),
    ];
    for (reason, text) in rows {
        assert_eq!(reason.to_string(), text);
    }
}

fn said() -> impl Strategy<Value = Said> {
    let ports = prop::collection::vec((0_u16..12, prop::bool::ANY), 0..2);
    let namespace = prop::sample::select(vec!["a", "a", "b", "c"]);
    let permits = prop::sample::select(vec!["*", "a,b,c", "a,b", "b", ""]);
    let policy = prop::sample::select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local]);
    let pods_of = prop::sample::select(vec!["web", "web", "api", ""]);
    let key = prop::sample::select(vec!["k", "k", "k", "k", "l", ""]);
    let opts_in = prop::bool::ANY;
    let parts = (key, namespace, permits, ports, policy, pods_of, opts_in);
    parts.prop_map(
        |(key, namespace, permits, ports, policy, app, opts_in)| Said {
            key,
            namespace,
            permits,
            ports: ports
                .into_iter()
                .map(|(number, tcp)| port(if tcp { Protocol::Tcp } else { Protocol::Udp }, number))
                .collect(),
            policy,
            pods: pods(app),
            different_pods: if opts_in {
                DifferentPods::Permitted
            } else {
                DifferentPods::Refused
            },
        },
    )
}

proptest! {
    /// A group admits whom each of its members would admit alone.
    #[test]
    fn a_group_is_its_members(services in prop::collection::vec(said(), 1..20)) {
        let terms: Vec<_> = services.iter().map(Said::terms).collect();
        let mut group = Group::of(&terms[0]);
        let mut members = vec![&terms[0]];
        for candidate in &terms[1..] {
            let by_each = members.iter().all(|member| Group::of(member).admits(candidate).is_ok());
            prop_assert_eq!(group.admits(candidate).is_ok(), by_each);
            if by_each {
                group.join(candidate);
                members.push(candidate);
            }
        }
    }
}
