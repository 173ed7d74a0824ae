//! What a server did that it may not do: all of it counted, the first few told.

/// How many sentences are kept; the counts go on.
const KEPT: usize = 20;

/// Counts of broken promises.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations {
    /// Events delivered twice within a chain.
    pub duplicated: u64,
    /// Events delivered after a later one.
    pub reordered: u64,
    /// Any other frame out of place.
    pub others: u64,
    /// The first few, in words.
    pub told: Vec<String>,
}

impl Violations {
    pub(crate) fn duplicated(&mut self, what: String) {
        self.duplicated += 1;
        self.tell(what);
    }

    pub(crate) fn reordered(&mut self, what: String) {
        self.reordered += 1;
        self.tell(what);
    }

    pub(crate) fn other(&mut self, what: String) {
        self.others += 1;
        self.tell(what);
    }

    fn tell(&mut self, what: String) {
        if self.told.len() < KEPT {
            self.told.push(what);
        }
    }

    /// How many in all.
    pub fn count(&self) -> u64 {
        self.duplicated + self.reordered + self.others
    }
}
