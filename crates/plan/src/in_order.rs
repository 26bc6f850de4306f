//! A walk through two things that are in one order, the order of their names.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

/// The next of `items` with this name, where they are in order of names and asked for in that order; what comes before it is
/// passed over, what comes after it stays.
///
/// Names that are equal are mostly one in memory, which tells without a look at them: so that is asked first.
pub fn next_named<I: Iterator, N: Ord + ?Sized>(
    items: &mut Peekable<I>,
    name: &N,
    name_of: impl Fn(&I::Item) -> &N,
) -> Option<I::Item> {
    next_named_past(items, name, name_of, drop)
}

/// The same, where somebody wants what is passed over.
pub(crate) fn next_named_past<I: Iterator, N: Ord + ?Sized>(
    items: &mut Peekable<I>,
    name: &N,
    name_of: impl Fn(&I::Item) -> &N,
    mut passed: impl FnMut(I::Item),
) -> Option<I::Item> {
    loop {
        if let Some(found) = items.next_if(|item| name_of(item) == name) {
            return Some(found);
        }
        passed(items.next_if(|item| name_of(item) < name)?);
    }
}

/// Tells of each name, in order, whose value is not the very same in both, with the value before and now.
pub(crate) fn differences<'a, N: Ord, V: ?Sized>(
    before: &'a BTreeMap<N, Arc<V>>,
    now: &'a BTreeMap<N, Arc<V>>,
    mut tell: impl FnMut(&'a N, Option<&'a Arc<V>>, Option<&'a Arc<V>>),
) {
    let mut before = before.iter().peekable();
    for (name, value) in now {
        let gone = |(name, value)| tell(name, Some(value), None);
        match next_named_past(&mut before, name, |(name, _)| *name, gone) {
            Some((_, same)) if Arc::ptr_eq(same, value) => {}
            known => tell(name, known.map(|(_, known)| known), Some(value)),
        }
    }
    for (name, value) in before {
        tell(name, Some(value), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_in_order_and_none_that_is_not_there() {
        let mut items = [1, 3, 3, 4, 7].into_iter().peekable();
        let mut found = |name| next_named(&mut items, &name, |item| item);
        let rows = [
            (0, None),
            (1, Some(1)),
            (1, None),
            (2, None),
            (3, Some(3)),
            (4, Some(4)),
            (8, None),
        ];
        for (name, expected) in rows {
            assert_eq!(found(name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_new_gone_or_another_differs_and_what_is_the_same_does_not() {
        let same = Arc::new('s');
        let map = |entries: &[(u8, &Arc<char>)]| -> BTreeMap<u8, Arc<char>> {
            let entries = entries.iter();
            entries
                .map(|(name, value)| (*name, Arc::clone(value)))
                .collect()
        };
        let (a, b) = (Arc::new('a'), Arc::new('b'));
        let before = map(&[(1, &a), (2, &same), (4, &a), (7, &same), (9, &a)]);
        let now = map(&[(2, &same), (3, &b), (4, &b), (7, &same)]);
        let mut told = Vec::new();
        differences(&before, &now, |name, before, now| {
            told.push((*name, before.map(|value| **value), now.map(|value| **value)));
        });
        let expected = [
            (1, Some('a'), None),
            (3, None, Some('b')),
            (4, Some('a'), Some('b')),
            (9, Some('a'), None),
        ];
        assert_eq!(told, expected);
    }
}
