use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn expression(key: &str, operator: Operator, values: &[&str]) -> LabelSelector {
    let values = values.iter().map(|&value| value.to_owned()).collect();
    let requirement = LabelSelectorRequirement {
        key: key.into(),
        operator,
        values,
    };
    LabelSelector {
        match_expressions: vec![requirement],
        ..LabelSelector::default()
    }
}

#[test]
fn an_operator_matches_as_kubernetes_says() {
    use Operator::{DoesNotExist, Exists, In, NotIn};
    // Labels of the object: a value that is listed, one that is not, the empty one, no such label.
    let objects = [
        &[("zone", "a")][..],
        &[("zone", "c")],
        &[("zone", "")],
        &[("other", "a")],
    ];
    let rows = [
        (
            expression("zone", In, &["a", "b"]),
            [true, false, false, false],
        ),
        (expression("zone", In, &[""]), [false, false, true, false]),
        (
            expression("zone", NotIn, &["a", "b"]),
            [false, true, true, true],
        ),
        (expression("zone", Exists, &[]), [true, true, true, false]),
        (
            expression("zone", DoesNotExist, &[]),
            [false, false, false, true],
        ),
        (
            LabelSelector::label("zone", "a"),
            [true, false, false, false],
        ),
        (LabelSelector::default(), [true, true, true, true]),
    ];
    for (selector, expected) in rows {
        let parsed = selector.parse().expect("a valid selector");
        assert_eq!(
            objects.map(|object| parsed.matches(&labels(object))),
            expected,
            "{selector:?}"
        );
    }
}

#[test]
fn every_requirement_must_be_met() {
    let mut selector = expression("zone", Operator::Exists, &[]);
    selector.match_labels = labels(&[("bgp", "on")]);
    let selector = selector.parse().expect("a valid selector");
    assert!(selector.matches(&labels(&[("bgp", "on"), ("zone", "a")])));
    assert!(!selector.matches(&labels(&[("bgp", "on")])));
    assert!(!selector.matches(&labels(&[("zone", "a")])));
    assert!(!selector.matches(&labels(&[])));
}

#[test]
fn a_selector_that_means_nothing_is_refused_with_the_reason() {
    use InvalidSelectorReason::{Key, Value, ValuesForbidden, ValuesMissing};
    use Operator::{DoesNotExist, Exists, In, NotIn};
    let long = "x".repeat(64);
    let rows = [
        (expression("zone", In, &[]), ValuesMissing),
        (expression("zone", NotIn, &[]), ValuesMissing),
        (expression("zone", Exists, &["a"]), ValuesForbidden),
        (expression("zone", DoesNotExist, &["a"]), ValuesForbidden),
        (expression("zone", In, &["a", "b c"]), Value("b c".into())),
        (expression("zone", NotIn, &["-a"]), Value("-a".into())),
        (expression("zone", In, &[&long]), Value(long.clone())),
        (expression("", Exists, &[]), Key),
        (expression("-zone", Exists, &[]), Key),
        (expression("zone.", Exists, &[]), Key),
        (expression("a/b/c", Exists, &[]), Key),
        (expression("/zone", Exists, &[]), Key),
        (expression("example.com/", Exists, &[]), Key),
        (expression("Example.com/zone", Exists, &[]), Key),
        (expression("example..com/zone", Exists, &[]), Key),
        (expression("zön", Exists, &[]), Key),
        (expression(&long, DoesNotExist, &[]), Key),
        (LabelSelector::label("a b", "c"), Key),
        (LabelSelector::label("zone", "a b"), Value("a b".into())),
    ];
    for (selector, reason) in rows {
        let key = selector
            .match_expressions
            .first()
            .map(|expression| expression.key.clone());
        let key = key
            .or_else(|| selector.match_labels.keys().next().cloned())
            .expect("one requirement");
        assert_eq!(
            selector.parse(),
            Err(InvalidSelector { key, reason }),
            "{selector:?}"
        );
    }
}

#[test]
fn names_that_kubernetes_admits_are_admitted() {
    let longest = format!(
        "{}/{}",
        [
            "a".repeat(63),
            "b".repeat(63),
            "c".repeat(63),
            "d".repeat(61)
        ]
        .join("."),
        "x".repeat(63)
    );
    for key in [
        "zone",
        "Zone_1.x",
        "topology.kubernetes.io/zone",
        "0/0",
        "x",
        &longest,
    ] {
        assert!(
            LabelSelector::label(key, "A.b_c-1").parse().is_ok(),
            "{key:?}"
        );
    }
}

#[test]
fn the_reason_reads_as_a_sentence() {
    let invalid = expression("zone", Operator::In, &[])
        .parse()
        .expect_err("no values");
    assert_eq!(
        invalid.to_string(),
        r#"label "zone": operators In and NotIn need at least one value"#
    );
}
