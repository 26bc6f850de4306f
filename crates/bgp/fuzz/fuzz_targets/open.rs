//! Any octets as the body of an OPEN.
#![no_main]

use bgp::wire::{HEADER_LENGTH, Open};

libfuzzer_sys::fuzz_target!(|body: &[u8]| match Open::decode(body) {
    Ok(open) => {
        // An OPEN may hold more than ours can: only what we can say must come back.
        let again = Open::decode(&open.encode()[HEADER_LENGTH..]);
        assert!(
            again.is_ok_and(|again| (again.asn, again.hold_time, again.router_id)
                == (open.asn, open.hold_time, open.router_id)
                || again.capabilities.four_octet_asn.is_none())
        );
        assert!(!open.capabilities.families().is_empty());
    }
    Err(error) => assert_eq!(error.notification().code, 2),
});
