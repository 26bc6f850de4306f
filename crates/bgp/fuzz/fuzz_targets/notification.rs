//! Any octets as the body of a NOTIFICATION.
#![no_main]

use bgp::wire::{HEADER_LENGTH, Notification};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let Ok(notification) = Notification::decode(body) else {
        return;
    };
    let words = notification.to_string();
    assert!(!words.is_empty() && !words.contains(char::is_control));
    let inner = notification.inside_hard_reset();
    assert!(inner.is_none_or(|inner| Notification::hard_reset(&inner) == notification));
    let again = Notification::decode(&notification.encode()[HEADER_LENGTH..])
        .expect("our own NOTIFICATION");
    assert_eq!(
        (again.code, again.subcode),
        (notification.code, notification.subcode)
    );
    assert!(notification.data.starts_with(&again.data));
});
