//! What other implementations really send: recorded sessions decode to what is written beside them.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use bgp::wire::attribute::{Attribute, RawAttribute};
use bgp::wire::nlri::{Nlri, Prefix};
use bgp::wire::{
    DecodeContext, EXTENDED_MAXIMUM_LENGTH, Framer, HEADER_LENGTH, MAXIMUM_LENGTH, MessageKind,
    NextHop, Notification, Open, PeerKind, RouteRefresh, Update, keepalive, update,
};
use bytes::{Bytes, BytesMut};

/// One recorded connection: who sent which message.
struct Capture {
    messages: Vec<(String, Vec<u8>)>,
}

impl Capture {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("a capture");
        let message = |line: &str| {
            let (sender, hex) = line.split_once(' ').expect("sender and octets");
            let octet = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
            (
                sender.to_owned(),
                (0..hex.len()).step_by(2).map(octet).collect(),
            )
        };
        Self {
            messages: text.lines().map(message).collect(),
        }
    }

    /// The OPEN of `sender`, and the one of the other side.
    fn opens(&self, sender: &str) -> (Open, Open) {
        let open = |own: bool| {
            let mut opens = self
                .messages
                .iter()
                .filter(|(from, message)| (from == sender) == own && message[18] == 1);
            let (_, message) = opens.next().expect("both sides opened");
            Open::decode(&message[HEADER_LENGTH..]).expect("a good OPEN")
        };
        (open(true), open(false))
    }

    /// What the receiver of `sender`'s messages knows.
    fn context(&self, sender: &str) -> DecodeContext {
        let (theirs, ours) = self.opens(sender);
        let peer_kind = if theirs.asn == ours.asn {
            PeerKind::Internal
        } else {
            PeerKind::External
        };
        let both = |open: &Open| open.capabilities.families().to_vec();
        DecodeContext {
            four_octet: theirs.capabilities.four_octet_asn.is_some()
                && ours.capabilities.four_octet_asn.is_some(),
            peer_kind,
            families: both(&theirs)
                .into_iter()
                .filter(|family| both(&ours).contains(family))
                .collect(),
            local_asn: ours.asn,
            first_asn: (peer_kind == PeerKind::External).then_some(theirs.asn),
            reject_as_sets: false,
        }
    }

    fn limit(&self, sender: &str) -> usize {
        let (theirs, ours) = self.opens(sender);
        let extended = theirs.capabilities.extended_message && ours.capabilities.extended_message;
        if extended {
            EXTENDED_MAXIMUM_LENGTH
        } else {
            MAXIMUM_LENGTH
        }
    }

    fn described(&self) -> String {
        let mut text = String::new();
        for (sender, message) in &self.messages {
            let mut framer = Framer::new();
            framer.push(message);
            let frame = framer
                .next(self.limit(sender))
                .expect("well-framed")
                .expect("whole");
            let (words, again) = describe(frame.kind, frame.body, &self.context(sender));
            let same = if again[..] == message[..] { " =" } else { "" };
            writeln!(text, "{sender} {}{words}{same}", frame.kind).expect("a string takes all");
        }
        text
    }
}

/// What a message says, and the same encoded by us.
fn describe(kind: MessageKind, body: &[u8], context: &DecodeContext) -> (String, Bytes) {
    match kind {
        MessageKind::Open => {
            let open = Open::decode(body).expect("a good OPEN");
            let again = open.encode();
            assert_eq!(Open::decode(&again[HEADER_LENGTH..]), Ok(open.clone()));
            let Open {
                asn,
                hold_time,
                router_id,
                capabilities,
            } = open;
            (
                format!(" AS{asn} {router_id} hold {hold_time} {capabilities:?}"),
                again,
            )
        }
        MessageKind::Update => {
            let update = update::decode(body, context).expect("a good UPDATE");
            let again = encode(&update);
            let four_octet = DecodeContext {
                four_octet: true,
                ..context.clone()
            };
            let reread =
                update::decode(&again[HEADER_LENGTH..], &four_octet).expect("our own UPDATE");
            assert_eq!(reread, update);
            (describe_update(&update), again)
        }
        MessageKind::Notification => {
            let notification = Notification::decode(body).expect("a good NOTIFICATION");
            (format!(" {notification}"), notification.encode())
        }
        MessageKind::Keepalive => (String::new(), keepalive()),
        MessageKind::RouteRefresh => {
            let refresh = RouteRefresh::decode(body).expect("a good ROUTE-REFRESH");
            (
                format!(" {} {:?}", refresh.family, refresh.subtype),
                refresh.encode(),
            )
        }
    }
}

fn describe_update(update: &Update<'_>) -> String {
    let mut text = String::new();
    let mut list = |name: &str, prefixes: &mut dyn Iterator<Item = String>| {
        let prefixes: Vec<String> = prefixes.collect();
        if !prefixes.is_empty() {
            write!(text, " {name} {}", prefixes.join(" ")).expect("a string takes all");
        }
    };
    list(
        "withdraws",
        &mut update.withdrawn.map(|prefix| prefix.to_string()),
    );
    list(
        "announces",
        &mut update.announced.map(|prefix| prefix.to_string()),
    );
    list(
        "withdraws (MP)",
        &mut update
            .mp_unreach
            .into_iter()
            .flatten()
            .map(|prefix| prefix.to_string()),
    );
    if let Some(reach) = update.mp_reach {
        list(
            &format!("announces (MP, {:?})", reach.next_hop),
            &mut reach.nlri.map(|prefix| prefix.to_string()),
        );
    }
    if let Some(family) = update.end_of_rib {
        write!(text, " End-of-RIB {family}").expect("a string takes all");
    } else if !update.attributes.bytes().is_empty() {
        let attributes: Vec<String> =
            bgp::wire::attribute::Attributes::of(update.attributes.bytes())
                .raw()
                .map(describe_attribute)
                .collect();
        write!(text, " [{}] {:?}", attributes.join(", "), update.treatment)
            .expect("a string takes all");
    }
    text
}

fn describe_attribute(attribute: RawAttribute<'_>) -> String {
    match attribute.typed() {
        Attribute::Origin(origin) => format!("{origin:?}"),
        Attribute::AsPath(path) => format!("path {path}"),
        Attribute::NextHop(address) => format!("via {address}"),
        Attribute::MultiExitDisc(med) => format!("MED {med}"),
        Attribute::LocalPref(local_pref) => format!("preference {local_pref}"),
        Attribute::AtomicAggregate => "atomic aggregate".to_owned(),
        Attribute::Aggregator(aggregator) => {
            format!("aggregated by AS{} {}", aggregator.asn, aggregator.address)
        }
        Attribute::Communities(list) => {
            format!("communities {:08x?}", list.numbers().collect::<Vec<_>>())
        }
        Attribute::OriginatorId(router_id) => format!("originated by {router_id}"),
        Attribute::ClusterList(list) => {
            format!("clusters {:08x?}", list.numbers().collect::<Vec<_>>())
        }
        Attribute::ExtendedCommunities(list) => {
            format!("extended communities {:02x?}", list.octets())
        }
        Attribute::Ipv6ExtendedCommunities(list) => {
            format!("IPv6 extended communities {:02x?}", list.octets())
        }
        Attribute::LargeCommunities(list) => {
            let shown: Vec<String> = list
                .large_communities()
                .map(|one| format!("{}:{}:{}", one.global, one.local1, one.local2))
                .collect();
            format!("large communities {}", shown.join(" "))
        }
        Attribute::OnlyToCustomer(asn) => format!("only to customers of AS{asn}"),
        Attribute::Other(raw) => format!(
            "attribute {} flags {:02x} {:02x?}",
            raw.code, raw.flags, raw.value
        ),
    }
}

/// The UPDATE, as we send it: of each of its parts one message.
fn encode(update: &Update<'_>) -> Bytes {
    let mut out = BytesMut::new();
    let attributes = update.attributes.bytes();
    if let Some(family) = update.end_of_rib {
        update::end_of_rib(&mut out, family);
    }
    update::withdraw_ipv4(
        &mut out,
        EXTENDED_MAXIMUM_LENGTH,
        &mut update.withdrawn.peekable(),
    );
    update::announce_ipv4(
        &mut out,
        EXTENDED_MAXIMUM_LENGTH,
        attributes,
        &mut update.announced.peekable(),
    )
    .expect("room");
    match update.mp_unreach {
        Some(Nlri::Ipv4(prefixes)) => unreach(&mut out, prefixes),
        Some(Nlri::Ipv6(prefixes)) => unreach(&mut out, prefixes),
        None => {}
    }
    match update.mp_reach.map(|reach| (reach.nlri, reach.next_hop)) {
        Some((Nlri::Ipv4(prefixes), next_hop)) => {
            announce(&mut out, attributes, next_hop, prefixes);
        }
        Some((Nlri::Ipv6(prefixes), next_hop)) => {
            announce(&mut out, attributes, next_hop, prefixes);
        }
        None => {}
    }
    out.freeze()
}

fn announce<P: Prefix>(
    out: &mut BytesMut,
    attributes: &[u8],
    next_hop: NextHop,
    prefixes: impl Iterator<Item = P>,
) {
    update::announce(
        out,
        EXTENDED_MAXIMUM_LENGTH,
        attributes,
        next_hop,
        &mut prefixes.peekable(),
    )
    .expect("room");
}

fn unreach<P: Prefix>(out: &mut BytesMut, prefixes: impl Iterator<Item = P>) {
    update::withdraw(out, EXTENDED_MAXIMUM_LENGTH, &mut prefixes.peekable());
}

fn captures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let entries = std::fs::read_dir(folder).expect("the captures");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "hex"));
    paths.sort();
    paths
}

#[test]
fn recorded_sessions_decode_to_what_is_written_beside_them() {
    let captures = captures();
    assert!(captures.len() >= 7, "only {} captures", captures.len());
    for path in captures {
        let described = Capture::read(&path).described();
        let expected = path.with_extension("txt");
        if std::env::var_os("UPDATE_CAPTURES").is_some() {
            std::fs::write(&expected, &described).expect("writable");
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        for (number, (is, should)) in described.lines().zip(expected.lines()).enumerate() {
            assert_eq!(is, should, "{}, message {}", path.display(), number + 1);
        }
        assert_eq!(
            described.lines().count(),
            expected.lines().count(),
            "{}",
            path.display()
        );
    }
}
