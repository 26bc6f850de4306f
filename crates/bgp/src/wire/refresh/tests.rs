use super::*;
use crate::family::{Afi, Safi};

#[test]
fn every_subtype_and_family_comes_back() {
    for subtype in (0..=255).map(RefreshSubtype::from) {
        for family in [
            Family::IPV4_UNICAST,
            Family::IPV6_UNICAST,
            Family {
                afi: Afi::Other(25),
                safi: Safi::Other(70),
            },
        ] {
            let refresh = RouteRefresh { family, subtype };
            assert_eq!(
                RouteRefresh::decode(&refresh.encode()[HEADER_LENGTH..]),
                Ok(refresh)
            );
        }
    }
}

#[test]
fn rfc_7313_section_3_2_the_subtype_is_between_afi_and_safi() {
    let message = RouteRefresh {
        family: Family::IPV6_UNICAST,
        subtype: RefreshSubtype::End,
    }
    .encode();
    assert_eq!(message[16..], [0, 23, 5, 0, 2, 2, 1]);
}

#[test]
fn rfc_7313_section_5_a_wrong_length_is_answered_with_the_whole_message() {
    for body in [&[][..], &[0, 1, 0], &[0, 1, 1, 1, 0], &[0; 300]] {
        let mut whole = BytesMut::new();
        message(&mut whole, MessageKind::RouteRefresh, |out| {
            out.put_slice(body);
        });
        let notification = RouteRefresh::decode(body)
            .expect_err("a wrong length")
            .notification();
        assert_eq!((notification.code, notification.subcode), (7, 1));
        assert_eq!(notification.data, whole);
    }
}
