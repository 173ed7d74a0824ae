//! Violations of a server: all are counted, the first ones are described.

/// How many descriptions are kept; all violations are counted.
const KEPT: usize = 20;

/// Counts of violations.
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
