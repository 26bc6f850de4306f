//! A context and any octets as the body of an UPDATE.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let [flags, body @ ..] = data {
        bgp_fuzz::check_update(body, &bgp_fuzz::context(*flags));
    }
});
