//! Any octets as the value of each attribute there is, in an UPDATE that is otherwise good.
#![no_main]

use bgp::wire::iana::AttributeCode;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [context, code, flags, value @ ..] = data else {
        return;
    };
    let value = &value[..value.len().min(4000)];
    // Half of the codes are those with a row of their own, in turn; the other half is any.
    let known = AttributeCode::ALL[usize::from(*code) % AttributeCode::ALL.len()];
    let (code, own_flags) = if code & 1 == 0 {
        (known.number(), known.flags())
    } else {
        (*code, 0xC0)
    };
    let flags = if flags & 0x0F == 0 {
        flags & 0xE0
    } else {
        own_flags
    };
    let mut block = vec![flags | 0x10, code];
    block.extend(u16::try_from(value.len()).expect("short").to_be_bytes());
    block.extend_from_slice(value);
    for (other, attribute) in [
        (1, &[0x40, 1, 1, 0][..]),
        (
            2,
            if context & 1 == 0 {
                &[0x40, 2, 6, 2, 1, 0, 0, 0xFD, 0xE9]
            } else {
                &[0x40, 2, 4, 2, 1, 0xFD, 0xE9]
            },
        ),
        (3, &[0x40, 3, 4, 192, 0, 2, 1]),
    ] {
        if other != code {
            block.extend_from_slice(attribute);
        }
    }
    let mut body = vec![0, 0];
    body.extend(u16::try_from(block.len()).expect("short").to_be_bytes());
    body.extend(block);
    body.extend([24, 198, 51, 100]);
    bgp_fuzz::check_update(&body, &bgp_fuzz::context(*context));
});
