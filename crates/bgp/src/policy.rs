//! Export policy as data: an ordered list of rules, first match decides, no match rejects (RFC 8212).

use std::collections::BTreeSet;

use ipnet::IpNet;

/// A standard community (RFC 1997), high half the AS.
pub type Community = u32;

/// A large community (RFC 8092).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// Global administrator, usually an AS number.
    pub global: u32,
    /// First local part.
    pub local1: u32,
    /// Second local part.
    pub local2: u32,
}

/// Where a route came from, as far as policy may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Originated by this speaker.
    Local,
    /// Learned from a peer; only a rule that says so re-announces it.
    Learned,
}

/// Prefixes a rule applies to: those covered by `prefix` with a length within the bounds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixMatch {
    /// Covering prefix, host bits clear; its family must be the route's.
    pub prefix: IpNet,
    /// Shortest accepted length, inclusive.
    pub min_length: u8,
    /// Longest accepted length, inclusive.
    pub max_length: u8,
}

/// One rule: all conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRule {
    /// Which source the route must have.
    pub source: Source,
    /// Prefixes; `None` matches every prefix.
    pub prefixes: Option<BTreeSet<PrefixMatch>>,
    /// What happens to a matching route.
    pub verdict: ExportVerdict,
}

/// What a matching rule does with a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportVerdict {
    /// Announce it with these changes.
    Accept(SetAttributes),
    /// Do not announce it.
    Reject,
}

/// Changes to the attributes of an announced route.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SetAttributes {
    /// LOCAL_PREF, sent to iBGP peers only (RFC 4271 section 5.1.5); `None` means 100.
    pub local_preference: Option<u32>,
    /// Standard communities to add, sorted on the wire, without duplicates.
    pub communities: BTreeSet<Community>,
    /// Large communities to add.
    pub large_communities: BTreeSet<LargeCommunity>,
}

/// What is announced to a peer. Peers whose policies are equal share one computation and one set of encoded
/// bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportPolicy {
    /// Rules in order; first match decides; no match rejects.
    pub rules: Vec<ExportRule>,
}

/// Prefixes of which two policies may decide otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference {
    /// At most those that one of these matches. None match nothing.
    Within(BTreeSet<PrefixMatch>),
    /// Any.
    Anywhere,
}

impl Difference {
    /// Whether they may decide otherwise of `prefix`.
    pub(crate) fn concerns(&self, prefix: &IpNet) -> bool {
        match self {
            Self::Within(moved) => matches_any(moved, prefix),
            Self::Anywhere => true,
        }
    }
}

/// Above this many prefixes a rule is searched by covering prefix, below it scanned.
const SCAN_LIMIT: usize = 8;

impl PrefixMatch {
    /// Whether the rule's prefix covers `prefix` and its length is within the bounds.
    #[must_use]
    pub fn matches(&self, prefix: &IpNet) -> bool {
        (self.min_length..=self.max_length).contains(&prefix.prefix_len())
            && self.prefix.contains(prefix)
    }
}

impl ExportRule {
    fn matches(&self, prefix: &IpNet, source: Source) -> bool {
        self.source == source
            && self
                .prefixes
                .as_ref()
                .is_none_or(|set| matches_any(set, prefix))
    }
}

fn matches_any(set: &BTreeSet<PrefixMatch>, prefix: &IpNet) -> bool {
    if set.len() <= SCAN_LIMIT {
        return set.iter().any(|entry| entry.matches(prefix));
    }
    (0..=prefix.prefix_len()).rev().any(|length| {
        let Ok(covering) = IpNet::new(prefix.addr(), length) else {
            return false;
        };
        let covering = covering.trunc();
        let first = PrefixMatch {
            prefix: covering,
            min_length: 0,
            max_length: 0,
        };
        set.range(first..)
            .take_while(|entry| entry.prefix == covering)
            .any(|entry| entry.matches(prefix))
    })
}

impl ExportPolicy {
    /// The first rule that matches, as its position and the changes it makes; `None` if none matches or it
    /// rejects.
    #[must_use]
    pub fn evaluate(&self, prefix: &IpNet, source: Source) -> Option<(usize, &SetAttributes)> {
        let (position, rule) = self
            .rules
            .iter()
            .enumerate()
            .find(|(_, rule)| rule.matches(prefix, source))?;
        match &rule.verdict {
            ExportVerdict::Accept(changes) => Some((position, changes)),
            ExportVerdict::Reject => None,
        }
    }

    /// Where this policy and another may decide otherwise. Policies whose rules differ in the prefixes they name and in
    /// nothing else decide alike of every prefix that is matched by none of the entries that only one of the two has: it
    /// meets the same rule first. So a policy that names one prefix more need not be asked about all the others.
    pub(crate) fn difference(&self, other: &Self) -> Difference {
        if self.rules.len() != other.rules.len() {
            return Difference::Anywhere;
        }
        let mut moved = BTreeSet::new();
        for (one, another) in self.rules.iter().zip(&other.rules) {
            if (one.source, &one.verdict) != (another.source, &another.verdict) {
                return Difference::Anywhere;
            }
            match (&one.prefixes, &another.prefixes) {
                (None, None) => {}
                (Some(one), Some(another)) => {
                    moved.extend(one.symmetric_difference(another).cloned());
                }
                (None, Some(_)) | (Some(_), None) => return Difference::Anywhere,
            }
        }
        Difference::Within(moved)
    }

    /// Whether any rule could announce what was learned from a peer.
    #[must_use]
    pub fn announces_learned(&self) -> bool {
        self.rules.iter().any(|rule| {
            rule.source == Source::Learned && matches!(rule.verdict, ExportVerdict::Accept(_))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(prefix: &str, min_length: u8, max_length: u8) -> PrefixMatch {
        PrefixMatch {
            prefix: prefix.parse().unwrap(),
            min_length,
            max_length,
        }
    }

    fn accepting(source: Source, prefixes: Option<Vec<PrefixMatch>>) -> ExportRule {
        let prefixes = prefixes.map(BTreeSet::from_iter);
        ExportRule {
            source,
            prefixes,
            verdict: ExportVerdict::Accept(SetAttributes::default()),
        }
    }

    #[test]
    fn a_prefix_match_bounds_cover_family_and_length() {
        let entry = matching("10.0.0.0/8", 16, 24);
        for (prefix, matches) in [
            ("10.1.0.0/16", true),
            ("10.1.2.0/24", true),
            ("10.0.0.0/8", false),
            ("10.1.2.4/32", false),
            ("11.0.0.0/16", false),
            ("a00::/16", false),
        ] {
            assert_eq!(entry.matches(&prefix.parse().unwrap()), matches, "{prefix}");
        }
    }

    #[test]
    fn large_sets_match_what_a_scan_of_them_would() {
        let large: BTreeSet<_> = (0..40u8)
            .flat_map(|octet| {
                [
                    matching(&format!("10.{octet}.0.0/16"), 24, 32),
                    matching(&format!("fd00:{octet:x}::/32"), 64, 64),
                ]
            })
            .chain([matching("0.0.0.0/0", 3, 3)])
            .collect();
        for prefix in [
            "10.7.1.0/24",
            "10.39.0.0/16",
            "10.40.1.0/24",
            "10.0.0.1/32",
            "fd00:9:1::/64",
            "fd00:9::/48",
            "32.0.0.0/3",
        ] {
            let prefix = prefix.parse().unwrap();
            assert_eq!(
                matches_any(&large, &prefix),
                large.iter().any(|entry| entry.matches(&prefix)),
                "{prefix}"
            );
        }
    }

    #[test]
    fn policies_differ_where_the_prefixes_that_they_name_do() {
        let policy = |sets: &[&[&str]]| {
            let rules = sets.iter().map(|set| {
                let set = set.iter().map(|prefix| matching(prefix, 8, 32));
                accepting(Source::Local, Some(set.collect()))
            });
            ExportPolicy {
                rules: rules.collect(),
            }
        };
        let within = |moved: &[&str]| {
            let moved = moved.iter().map(|prefix| matching(prefix, 8, 32));
            Difference::Within(moved.collect())
        };
        let [a, b, c] = ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"];
        let mut rejecting = policy(&[&[a], &[b]]);
        rejecting.rules[0].verdict = ExportVerdict::Reject;
        let mut learned = policy(&[&[a], &[b]]);
        learned.rules[1].source = Source::Learned;
        let mut all = policy(&[&[a], &[b]]);
        all.rules[1].prefixes = None;
        let rows = [
            (policy(&[&[a], &[b]]), within(&[])),
            (policy(&[&[a, c], &[b]]), within(&[c])),
            (policy(&[&[], &[b, c]]), within(&[a, c])),
            (policy(&[&[b], &[a]]), within(&[a, b])),
            (policy(&[&[a]]), Difference::Anywhere),
            (policy(&[]), Difference::Anywhere),
            (rejecting, Difference::Anywhere),
            (learned, Difference::Anywhere),
            (all, Difference::Anywhere),
        ];
        let before = policy(&[&[a], &[b]]);
        for (after, expected) in rows {
            assert_eq!(before.difference(&after), expected, "{after:?}");
            assert_eq!(after.difference(&before), expected, "{after:?}");
        }
        let moved = within(&[c]);
        assert!(moved.concerns(&"10.3.7.0/24".parse().unwrap()));
        assert!(!moved.concerns(&"10.1.7.0/24".parse().unwrap()));
        assert!(Difference::Anywhere.concerns(&"fd00::/64".parse().unwrap()));
    }

    /// RFC 8212 section 2: without a policy nothing is announced.
    #[test]
    fn the_first_matching_rule_decides_and_none_rejects() {
        let ten = || Some(vec![matching("10.0.0.0/8", 8, 32)]);
        let mut reject = accepting(Source::Local, Some(vec![matching("10.9.0.0/16", 16, 32)]));
        reject.verdict = ExportVerdict::Reject;
        let policy = ExportPolicy {
            rules: vec![
                reject,
                accepting(Source::Local, ten()),
                accepting(Source::Local, None),
            ],
        };
        let decides = |prefix: &str, source| {
            policy
                .evaluate(&prefix.parse().unwrap(), source)
                .map(|(position, _)| position)
        };
        assert_eq!(decides("10.9.1.0/24", Source::Local), None);
        assert_eq!(decides("10.8.1.0/24", Source::Local), Some(1));
        assert_eq!(decides("fd00::/64", Source::Local), Some(2));
        assert_eq!(decides("10.8.1.0/24", Source::Learned), None);
        assert_eq!(
            ExportPolicy::default().evaluate(&"10.0.0.0/8".parse().unwrap(), Source::Local),
            None
        );
        assert!(!policy.announces_learned());
    }
}
