use super::*;

const PROTOCOLS: &str = "BIRD 2.0.12 ready.
Name       Proto      Table      State  Since         Info
device1    Device     ---        up     11:44:31.260  

static4    Static     master4    up     11:44:31.260  
  Channel ipv4
    State:          UP
    Routes:         1 imported, 0 exported, 1 preferred

p1         BGP        ---        up     11:44:53.844  Established   
  BGP state:          Established
    Neighbor address: 10.9.0.1
    Neighbor AS:      65000
    Local AS:         65001
    Hold timer:       161.039/180
  Channel ipv4
    State:          UP
    Routes:         2 imported, 1 filtered, 1 exported, 2 preferred
    BGP Next hop:   10.9.0.2
  Channel ipv6
    State:          UP
    Routes:         0 imported, 1 exported, 0 preferred

p2         BGP        ---        start  11:46:11.125  Active        Socket: Connection closed
  BGP state:          Active
    Neighbor address: fd00:9::3
    Neighbor AS:      4200000000
    Neighbor graceful restart active
  Channel ipv4
    State:          UP
    Routes:         1 imported, 0 exported, 1 preferred
";

const TABLE: &str = "BIRD 2.0.12 ready.
Table master4:
10.30.1.0/24         unicast [p2 11:45:31.928] * (100) [AS65000?]
\tvia fd00:9::3 on eth1
\tType: BGP univ
\tBGP.origin: Incomplete
\tBGP.as_path: 65000 65002 {65003}
\tBGP.next_hop: fd00:9::3 fe80::1
\tBGP.local_pref: 50
\tBGP.community: (65535,65281) (65000,1)
\tBGP.large_community: (1, 2, 3)
                     unicast [p1 11:45:31.957] (100) [AS65000i]
\tvia 10.9.0.1 on eth1
\tType: BGP univ
\tBGP.as_path: 65000
\tBGP.next_hop: 10.9.0.1
\tBGP.local_pref: 100
10.20.1.0/24         blackhole [static4 11:44:31.260] * (200)
\tType: static univ
";

#[test]
fn only_bgp_protocols_are_sessions() {
    let shown = protocols(PROTOCOLS).unwrap();
    assert_eq!(
        shown
            .iter()
            .map(|protocol| protocol.name.as_str())
            .collect::<Vec<_>>(),
        ["p1", "p2"]
    );
    let first = &shown[0].neighbor;
    assert_eq!(
        (first.address, first.asn, first.state),
        ("10.9.0.1".parse().unwrap(), 65000, State::Established)
    );
    assert_eq!(
        first.prefixes[&Afi::Ipv4],
        Prefixes {
            received: 2,
            sent: 1
        }
    );
    assert_eq!(
        first.prefixes[&Afi::Ipv6],
        Prefixes {
            received: 0,
            sent: 1
        }
    );
    assert_eq!(
        (shown[1].neighbor.asn, shown[1].neighbor.state),
        (4_200_000_000, State::Active)
    );
}

#[test]
fn every_path_of_a_prefix_is_a_route_and_those_of_a_lost_session_are_stale() {
    let routes = table(TABLE, &protocols(PROTOCOLS).unwrap()).unwrap();
    let shown: Vec<_> = routes
        .iter()
        .map(|route| (route.prefix.to_string(), route.best, route.stale))
        .collect();
    assert_eq!(
        shown,
        [
            ("10.30.1.0/24".into(), true, true),
            ("10.30.1.0/24".into(), false, false),
            ("10.20.1.0/24".into(), true, false)
        ]
    );
    let first = &routes[0];
    assert_eq!(first.from, "fd00:9::3".parse().ok());
    assert_eq!(first.next_hops.len(), 2);
    assert_eq!(first.as_path, [65000, 65002, 65003]);
    assert_eq!(first.local_pref, Some(50));
    assert_eq!(
        first.communities,
        [Community(65000 << 16 | 1), Community(0xffff_ff01)]
    );
    assert_eq!(first.large_communities, [LargeCommunity(1, 2, 3)]);
    assert_eq!(routes[2].from, None);
}

#[test]
fn what_is_not_understood_is_shown() {
    let error = table(
        "Table master4:\n10.0.0.0/8 unicast [p1 1] * (100)\n\tBGP.local_pref: many\n",
        &[],
    )
    .unwrap_err();
    assert!(error.to_string().contains("many"), "{error}");
}
