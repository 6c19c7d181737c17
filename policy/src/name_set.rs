//! One axis of a scope: names, or `*` for all of them.

use std::collections::HashSet;

/// A set of names that is asked by hash lookup. Empty, it allows nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct NameSet {
    any: bool,
    names: HashSet<Box<str>>,
}

impl NameSet {
    /// Whether `name` is in the set.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.any || self.names.contains(name)
    }

    /// Whether the set allows every name.
    pub(crate) fn is_any(&self) -> bool {
        self.any
    }

    /// Whether nothing is in the set.
    pub(crate) fn is_empty(&self) -> bool {
        !self.any && self.names.is_empty()
    }
}

impl<T: AsRef<str>> FromIterator<T> for NameSet {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        let mut set = Self::default();
        for name in names {
            match name.as_ref() {
                "*" => set.any = true,
                name => _ = set.names.insert(name.into()),
            }
        }
        set
    }
}
