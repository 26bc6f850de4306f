use super::*;

fn block(cidr: &str, start: &str, stop: &str) -> Block {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Block {
        cidr: text(cidr),
        start: text(start),
        stop: text(stop),
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn a_block_is_its_first_and_last_address() {
    let rows = [
        (block("10.0.0.0/24", "", ""), "10.0.0.0 - 10.0.0.255"),
        (block("10.0.0.12/24", "", ""), "10.0.0.0 - 10.0.0.255"),
        (
            block("10.0.0.0/24", "junk", "10.0.0.1"),
            "10.0.0.0 - 10.0.0.255",
        ),
        (block("10.0.0.1/32", "", ""), "10.0.0.1 - 10.0.0.1"),
        (block("0.0.0.0/0", "", ""), "0.0.0.0 - 255.255.255.255"),
        (block("fd00::5/127", "", ""), "fd00::4 - fd00::5"),
        (
            block("::/0", "", ""),
            ":: - ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ),
        (block("", "10.0.0.7", ""), "10.0.0.7 - 10.0.0.7"),
        (block("", "10.0.0.7", "10.0.1.2"), "10.0.0.7 - 10.0.1.2"),
        (block("", "fd00::1", "fd00::1"), "fd00::1 - fd00::1"),
    ];
    for (block, expected) in rows {
        let parsed = BlockRange::parse(&block, None).expect("a range");
        assert_eq!(parsed.range.to_string(), expected, "{block:?}");
    }
}

#[test]
fn a_block_that_is_no_range_says_why() {
    let text = str::to_owned;
    let rows = [
        (block("", "", ""), BlockFault::Empty),
        (block("", "", "10.0.0.1"), BlockFault::StartMissing),
        (
            block("10.0.0.0", "", ""),
            BlockFault::Cidr(text("10.0.0.0")),
        ),
        (
            block("10.0.0.0/33", "", ""),
            BlockFault::Cidr(text("10.0.0.0/33")),
        ),
        (block("", "junk", ""), BlockFault::Start(text("junk"))),
        (
            block("", "10.0.0.0/24", ""),
            BlockFault::Start(text("10.0.0.0/24")),
        ),
        (block("", "10.0.0.1", "x"), BlockFault::Stop(text("x"))),
        (
            block("", "10.0.0.1", "fd00::1"),
            BlockFault::Families {
                start: address("10.0.0.1"),
                stop: address("fd00::1"),
            },
        ),
        (
            block("", "10.0.0.2", "10.0.0.1"),
            BlockFault::Reversed {
                start: address("10.0.0.2"),
                stop: address("10.0.0.1"),
            },
        ),
        (block("::ffff:10.0.0.0/120", "", ""), BlockFault::Ipv4Mapped),
        (
            block("", "::ffff:10.0.0.1", "::ffff:10.0.0.9"),
            BlockFault::Ipv4Mapped,
        ),
    ];
    for (block, fault) in rows {
        assert_eq!(BlockRange::parse(&block, None), Err(fault), "{block:?}");
    }
}

#[test]
fn first_and_last_are_reserved_in_cidrs_of_more_than_two_addresses() {
    use AllowFirstLastIPs::{No, Yes};
    let rows = [
        (block("10.0.0.0/24", "", ""), Some(No), 2),
        (block("10.0.0.0/24", "", ""), Some(Yes), 0),
        (block("10.0.0.0/24", "", ""), None, 0),
        (block("10.0.0.0/30", "", ""), Some(No), 2),
        (block("10.0.0.0/31", "", ""), Some(No), 0),
        (block("10.0.0.0/32", "", ""), Some(No), 0),
        (block("fd00::/126", "", ""), Some(No), 2),
        (block("fd00::/127", "", ""), Some(No), 0),
        (block("fd00::/128", "", ""), Some(No), 0),
        (block("", "10.0.0.0", "10.0.0.255"), Some(No), 0),
        (block("0.0.0.0/24", "", ""), None, 1),
        (block("0.0.0.0/24", "", ""), Some(No), 2),
        (block("::/64", "", ""), Some(No), (1 << 32) + 2),
        (block("::ffff:0:0/95", "", ""), None, 1 << 32),
    ];
    for (block, allow, expected) in rows {
        let parsed = BlockRange::parse(&block, allow).expect("a range");
        let reserved = union(parsed.reserved());
        let size: u128 = reserved.iter().map(Range::size).sum();
        assert_eq!(size, expected, "{block:?} {allow:?}");
        for range in reserved {
            assert!(parsed.is_reserved(range.first) && parsed.is_reserved(range.last));
        }
    }
}

#[test]
fn sizes_do_not_overflow() {
    let whole = |cidr: &str| BlockRange::parse(&block(cidr, "", ""), None).expect("a range");
    assert_eq!(whole("::/0").range.size(), u128::MAX);
    assert_eq!(whole("0.0.0.0/0").range.size(), 1 << 32);
    assert_eq!(whole("fd00::/64").range.size(), 18_446_744_073_709_551_616);
    assert_eq!(whole("10.0.0.0/32").range.size(), 1);
}

#[test]
fn a_union_keeps_families_apart_and_counts_nothing_twice() {
    let range = |first: &str, last: &str| Range {
        first: address(first),
        last: address(last),
    };
    let merged = union(vec![
        range("fd00::1", "fd00::9"),
        range("10.0.0.5", "10.0.0.9"),
        range("10.0.0.1", "10.0.0.6"),
        range("10.0.0.2", "10.0.0.3"),
        range("fd00::9", "fd00::a"),
    ]);
    assert_eq!(
        merged,
        [range("10.0.0.1", "10.0.0.9"), range("fd00::1", "fd00::a")]
    );
}
