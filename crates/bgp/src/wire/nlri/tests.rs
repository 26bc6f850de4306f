use super::*;

fn ipv4(bytes: &[u8]) -> Option<Vec<String>> {
    Ipv4Prefixes::parse(bytes).map(|prefixes| prefixes.map(|prefix| prefix.to_string()).collect())
}

fn ipv6(bytes: &[u8]) -> Option<Vec<String>> {
    Ipv6Prefixes::parse(bytes).map(|prefixes| prefixes.map(|prefix| prefix.to_string()).collect())
}

#[test]
fn rfc_4271_section_4_3_a_prefix_takes_as_many_octets_as_its_bits_need() {
    for (bytes, expected) in [
        (&[][..], Some(vec![])),
        (&[0], Some(vec!["0.0.0.0/0"])),
        (&[1, 0xFF], Some(vec!["128.0.0.0/1"])),
        (&[8, 10], Some(vec!["10.0.0.0/8"])),
        (&[9, 10, 0xFF], Some(vec!["10.128.0.0/9"])),
        (
            &[24, 192, 0, 2, 32, 192, 0, 2, 1],
            Some(vec!["192.0.2.0/24", "192.0.2.1/32"]),
        ),
        (&[24, 192, 0], None),
        (&[33, 1, 2, 3, 4, 5], None),
        (&[255], None),
        (&[8, 10, 8], None),
    ] {
        let expected = expected.map(|prefixes| prefixes.into_iter().map(str::to_owned).collect());
        assert_eq!(ipv4(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn rfc_4760_section_5_ipv6_prefixes_go_up_to_128_bits() {
    let host = [
        &[128][..],
        &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    ]
    .concat();
    for (bytes, expected) in [
        (&[0][..], Some(vec!["::/0"])),
        (&[32, 0x20, 1, 0xd, 0xb8], Some(vec!["2001:db8::/32"])),
        (
            &[33, 0x20, 1, 0xd, 0xb8, 0xFF],
            Some(vec!["2001:db8:8000::/33"]),
        ),
        (&host, Some(vec!["2001:db8::1/128"])),
        (
            &[129, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            None,
        ),
        (&host[..16], None),
    ] {
        let expected = expected.map(|prefixes| prefixes.into_iter().map(str::to_owned).collect());
        assert_eq!(ipv6(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn rfc_4271_section_6_3_prefixes_that_are_no_unicast_routes_are_ignored() {
    assert_eq!(
        ipv4(&[4, 0xE0, 24, 239, 1, 1, 8, 10, 3, 0xE0]),
        Some(vec!["10.0.0.0/8".into(), "224.0.0.0/3".into()])
    );
    assert_eq!(
        ipv6(&[8, 0xFF, 10, 0xFE, 0x80, 7, 0xFE]),
        Some(vec!["fe00::/7".into()])
    );
}

#[test]
fn only_our_families_have_prefixes() {
    use crate::family::{Afi, Safi};
    let vpn = Family {
        afi: Afi::Ipv4,
        safi: Safi::Other(128),
    };
    assert_eq!(Nlri::parse(vpn, &[]), None);
    let both = [
        (Family::IPV4_UNICAST, "10.0.0.0/8"),
        (Family::IPV6_UNICAST, "a00::/8"),
    ];
    for (family, prefix) in both {
        let mut nlri = Nlri::parse(family, &[8, 10]).expect("parseable");
        assert_eq!((nlri.family(), nlri.is_empty()), (family, false));
        assert_eq!(
            nlri.next().map(|prefix| prefix.to_string()).as_deref(),
            Some(prefix)
        );
        assert!(nlri.is_empty());
    }
}
