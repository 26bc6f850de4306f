//! The schema of an IP address as text.

/// Pattern that Cilium's schemas demand of peer and local addresses: an IPv4 or IPv6 address in any textual form,
/// with blanks around it, IPv6 with an optional zone. Built from its parts, because the whole is 1,199 characters.
pub(crate) fn pattern() -> String {
    const OCTET: &str = "([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])";
    const EMBEDDED: &str = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)";
    const GROUP: &str = "[0-9A-Fa-f]{1,4}";

    let v4 = format!(r"({EMBEDDED}(\.{EMBEDDED}){{3}})");
    // One alternative per number of leading groups, 7 down to 0: what may follow them up to the end.
    let rests = [
        format!("{GROUP}|:"),
        format!(":{GROUP}|{v4}|:"),
        format!("((:{GROUP}){{1,2}})|:{v4}|:"),
        format!("((:{GROUP}){{1,3}})|((:{GROUP})?:{v4})|:"),
        format!("((:{GROUP}){{1,4}})|((:{GROUP}){{0,2}}:{v4})|:"),
        format!("((:{GROUP}){{1,5}})|((:{GROUP}){{0,3}}:{v4})|:"),
        format!("((:{GROUP}){{1,6}})|((:{GROUP}){{0,4}}:{v4})|:"),
        format!("((:{GROUP}){{1,7}})|((:{GROUP}){{0,5}}:{v4})|:"),
    ];
    let v6: Vec<String> = (0..rests.len())
        .rev()
        .zip(&rests)
        .map(|(leading, rest)| match leading {
            0 => format!("(:({rest}))"),
            _ => format!("(({GROUP}:){{{leading}}}({rest}))"),
        })
        .collect();
    format!(
        r"((^\s*(({OCTET}\.){{3}}{OCTET})\s*$)|(^\s*({})(%.+)?\s*$))",
        v6.join("|")
    )
}
