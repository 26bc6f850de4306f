//! A walk through two things that are in one order, the order of their names.

use std::iter::Peekable;

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
}
