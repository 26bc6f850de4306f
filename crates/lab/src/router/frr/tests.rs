use super::*;
use crate::router::Remote;

#[test]
fn the_summary_joins_both_families_of_a_neighbour() {
    let text = r#"{
        "ipv4Unicast":{"as":65000,"peers":{
            "10.9.0.2":{"remoteAs":65001,"connectionsEstablished":2,"pfxRcd":1,"pfxSnt":2,"state":"Established","peerState":"OK"},
            "fd00:9::3":{"remoteAs":65000,"connectionsEstablished":0,"pfxRcd":0,"pfxSnt":0,"state":"Active","peerState":"NSF passive"}},
            "failedPeers":1},
        "ipv6Unicast":{"as":65000,"peers":{
            "10.9.0.2":{"remoteAs":65001,"connectionsEstablished":2,"pfxRcd":3,"pfxSnt":4,"state":"Established"}}}}"#;
    let neighbors = summary(text).unwrap();
    let first = &neighbors[0];
    assert_eq!(
        (first.asn, first.state, first.sessions),
        (65001, State::Established, Some(2))
    );
    assert_eq!((first.prefixes_received(), first.prefixes_sent()), (4, 6));
    assert_eq!(
        (neighbors[1].state, neighbors[1].sessions),
        (State::Active, Some(0))
    );
    assert!(summary("{}").unwrap().is_empty(), "no family is configured");
    assert!(summary("% BGP instance not found").is_err());
}

const PATH: &str = r#"{"aspath":{"string":"65001","segments":[{"type":"as-sequence","list":[65001]}],"length":1},
    "stale":true,"origin":"IGP","locPrf":50,"valid":true,"bestpath":{"overall":true},
    "community":{"string":"65001:7 no-export","list":["noExport","65001:7"]},
    "largeCommunity":{"string":"1:2:3","list":["1:2:3"]},
    "nexthops":[{"ip":"10.9.0.2","afi":"ipv4"}],"peer":{"peerId":"10.9.0.2","type":"external"}}"#;

#[test]
fn the_table_is_read_in_the_form_of_frr_8_and_of_frr_10() {
    let own = r#"{"aspath":{"string":"Local","segments":[]},"nexthops":[{"ip":"0.0.0.0"}],"peer":{"peerId":"0.0.0.0"}}"#;
    let old = format!(
        r#"{{"routes":{{"10.20.1.0/24":[{{"prefix":"10.20.1.0/24","version":1}},{PATH}],"10.10.1.0/24":[{{"prefix":"x"}},{own}]}}}}"#
    );
    let new = format!(
        r#"{{"routes":{{"10.20.1.0/24":{{"prefix":"10.20.1.0/24","paths":[{PATH}]}},"10.10.1.0/24":{{"paths":[{own}]}}}}}}"#
    );
    for text in [old, new] {
        let routes = table(&text).unwrap();
        assert_eq!(routes.len(), 2);
        assert_eq!(
            routes[0].from, None,
            "what the router originates comes from nobody"
        );
        let learned = &routes[1];
        assert_eq!(learned.from, "10.9.0.2".parse().ok());
        assert_eq!(learned.as_path, [65001]);
        assert_eq!(learned.local_pref, Some(50));
        assert_eq!(
            learned.communities,
            [Community(65001 << 16 | 7), Community(0xffff_ff01)]
        );
        assert_eq!(learned.large_communities, [LargeCommunity(1, 2, 3)]);
        assert!(learned.best && learned.stale);
    }
    assert!(table(r#"{"routes":{  }  }"#).unwrap().is_empty());
}

#[test]
fn the_configuration_activates_both_families_and_next_hops_of_the_other_one() {
    let peering = Peering {
        asn: 65000,
        router_id: "10.9.0.1".parse().unwrap(),
        neighbors: vec![
            Remote {
                address: "10.9.0.2".parse().unwrap(),
                asn: 65001,
            },
            Remote {
                address: "fd00:9::3".parse().unwrap(),
                asn: 65000,
            },
        ],
        networks: vec![
            "10.10.1.0/24".parse().unwrap(),
            "fd00:10::/64".parse().unwrap(),
        ],
        hold_time: 9,
    };
    assert_eq!(
        configuration(&peering),
        "router bgp 65000
  bgp router-id 10.9.0.1
  bgp graceful-restart
  no bgp ebgp-requires-policy
  no bgp default ipv4-unicast
  bgp bestpath as-path multipath-relax
  timers bgp 3 9
  neighbor 10.9.0.2 remote-as 65001
  neighbor fd00:9::3 remote-as 65000
  neighbor fd00:9::3 capability extended-nexthop
  address-family ipv4 unicast
    maximum-paths ibgp 4
    network 10.10.1.0/24
    neighbor 10.9.0.2 activate
    neighbor fd00:9::3 activate
  exit-address-family
  address-family ipv6 unicast
    maximum-paths ibgp 4
    network fd00:10::/64
    neighbor 10.9.0.2 activate
    neighbor fd00:9::3 activate
  exit-address-family
"
    );
}
