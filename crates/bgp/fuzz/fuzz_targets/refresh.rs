//! Any octets as the body of a ROUTE-REFRESH.
#![no_main]

use bgp::wire::{HEADER_LENGTH, RouteRefresh};

libfuzzer_sys::fuzz_target!(|body: &[u8]| match RouteRefresh::decode(body) {
    Ok(refresh) => assert_eq!(refresh.encode()[HEADER_LENGTH..], *body),
    Err(error) => {
        let notification = error.notification();
        assert_eq!((notification.code, notification.subcode), (7, 1));
        assert_eq!(notification.data[HEADER_LENGTH..], *body);
    }
});
