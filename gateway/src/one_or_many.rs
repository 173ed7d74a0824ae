//! A list that usually has one entry, such as the connections of a user. A list of one entry needs no allocation.

use std::mem;

/// A list without entries, with one entry, or with several entries.
#[derive(Debug, Default)]
#[allow(
    clippy::box_collection,
    reason = "one pointer, because most users have one connection, and there are many users"
)]
pub(crate) enum OneOrMany<T> {
    #[default]
    None,
    One(T),
    Many(Box<Vec<T>>),
}

impl<T> OneOrMany<T> {
    /// The entries in the order in which they were added.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(only) => std::slice::from_ref(only),
            Self::Many(all) => all,
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    pub fn push(&mut self, entry: T) {
        *self = match mem::take(self) {
            Self::None => Self::One(entry),
            Self::One(first) => Self::Many(Box::new(vec![first, entry])),
            Self::Many(mut all) => {
                all.push(entry);
                Self::Many(all)
            }
        }
    }

    /// Removes the entries for which `is_removed` returns true. Returns whether an entry was removed.
    pub fn remove(&mut self, is_removed: impl Fn(&T) -> bool) -> bool {
        let before = self.as_slice().len();
        *self = match mem::take(self) {
            Self::One(only) if is_removed(&only) => Self::None,
            Self::Many(mut all) => {
                all.retain(|entry| !is_removed(entry));
                match all.len() {
                    0 | 1 => all.pop().map_or(Self::None, Self::One),
                    _ => Self::Many(all),
                }
            }
            other => other,
        };
        before > self.as_slice().len()
    }
}
