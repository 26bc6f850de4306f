use super::*;

#[test]
fn a_neighbour_is_read_with_state_and_counts() {
    let text = r#"{"conf":{"peer_asn":65001},"state":{"neighbor_address":"fd00:9::2","peer_asn":65001,"session_state":6,"router_id":"10.9.0.2"},
        "afi_safis":[
            {"state":{"family":{"afi":1,"safi":1},"enabled":true,"received":2,"accepted":2,"advertised":1}},
            {"state":{"family":{"afi":2,"safi":1},"enabled":true}}]}"#;
    let neighbor = parse::<NeighborShown>(text).unwrap().read();
    assert_eq!((neighbor.asn, neighbor.state), (65001, State::Established));
    assert_eq!(
        neighbor.prefixes[&Afi::Ipv4],
        Prefixes {
            received: 2,
            sent: 1
        }
    );
    assert_eq!(neighbor.prefixes[&Afi::Ipv6], Prefixes::default());

    let down = r#"{"state":{"neighbor_address":"10.0.0.1","peer_asn":1,"session_state":3}}"#;
    let neighbor = parse::<NeighborShown>(down).unwrap().read();
    assert_eq!(neighbor.state, State::Active);
}

#[test]
fn the_table_is_read_with_attributes_by_number() {
    let text = r#"{"10.30.1.0/24":[{"Family":0,"nlri":{"prefix":"10.30.1.0/24"},"age":1,"best":true,"attrs":[
            {"type":1,"value":2},{"type":2,"as_paths":[{"segment_type":2,"num":1,"asns":[65001,65002]}]},
            {"type":5,"value":50},{"type":8,"communities":[4294967041,4259840001]},
            {"type":32,"value":[{"ASN":1,"LocalData1":2,"LocalData2":3}]},{"type":3,"nexthop":"10.9.0.2"}],
            "stale":true,"peer-id":"10.9.0.2","peer-address":"10.9.0.2","RemoteID":0,"LocalID":0}],
        "10.40.0.0/16":[{"best":true,"attrs":[{"type":3,"nexthop":"0.0.0.0"}],"stale":false}]}"#;
    let routes = table(text).unwrap();
    let learned = &routes[0];
    assert_eq!(learned.next_hops, ["10.9.0.2".parse::<IpAddr>().unwrap()]);
    assert_eq!(learned.as_path, [65001, 65002]);
    assert_eq!(learned.local_pref, Some(50));
    assert_eq!(
        learned.communities,
        [Community(4_259_840_001), Community(0xffff_ff01)]
    );
    assert_eq!(learned.large_communities, [LargeCommunity(1, 2, 3)]);
    assert!(learned.best && learned.stale);
    assert_eq!(routes[1].from, None);
    assert!(table("{}").unwrap().is_empty());
}
