//! A part of a snapshot that many snapshots have alike.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A value that costs nothing to clone. It is copied by whoever changes it while somebody else has it too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyOnWrite<T>(Arc<T>);

impl<T> CopyOnWrite<T> {
    /// Whether the two are one, which tells without a look at them that they are equal.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> From<T> for CopyOnWrite<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Deref for CopyOnWrite<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for CopyOnWrite<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<'a, T> IntoIterator for &'a CopyOnWrite<T>
where
    &'a T: IntoIterator,
{
    type Item = <&'a T as IntoIterator>::Item;
    type IntoIter = <&'a T as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for CopyOnWrite<BTreeMap<K, V>> {
    fn from(entries: [(K, V); N]) -> Self {
        Self(Arc::new(entries.into()))
    }
}

impl<A, T: FromIterator<A>> FromIterator<A> for CopyOnWrite<T> {
    fn from_iter<I: IntoIterator<Item = A>>(entries: I) -> Self {
        Self(Arc::new(entries.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_shares_until_one_of_the_two_is_changed() {
        let one: CopyOnWrite<BTreeMap<_, _>> = [(1, 'a')].into();
        let mut other = one.clone();
        assert!(one.is(&other));
        other.insert(2, 'b');
        assert!(!one.is(&other));
        assert_eq!((one.len(), other.len()), (1, 2));
    }
}
