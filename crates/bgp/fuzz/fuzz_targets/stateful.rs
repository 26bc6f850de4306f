//! A script of what can happen to a speaker with two peers: bytes, connections, time, configuration. Whatever happens,
//! nothing panics and everything it sends is well-formed.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| bgp_fuzz::world::World::new().play(script));
