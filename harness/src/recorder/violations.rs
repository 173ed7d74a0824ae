//! Violations of the protocol by a server. All violations are counted, the first ones are described.

/// Limit of the descriptions. The counts contain all violations.
const MAX_DESCRIPTIONS: usize = 20;

/// The counts of violations, and descriptions of the first ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations {
    /// Events that were delivered twice.
    pub duplicated: u64,
    /// Events that were delivered after a later event.
    pub reordered: u64,
    /// Other frames that the protocol does not allow.
    pub others: u64,
    /// Descriptions of the first violations.
    pub descriptions: Vec<String>,
}

impl Violations {
    pub(crate) fn duplicated(&mut self, what: String) {
        self.duplicated += 1;
        self.describe(what);
    }

    pub(crate) fn reordered(&mut self, what: String) {
        self.reordered += 1;
        self.describe(what);
    }

    pub(crate) fn other(&mut self, what: String) {
        self.others += 1;
        self.describe(what);
    }

    fn describe(&mut self, what: String) {
        if self.descriptions.len() < MAX_DESCRIPTIONS {
            self.descriptions.push(what);
        }
    }

    /// Number of all violations.
    pub fn count(&self) -> u64 {
        self.duplicated + self.reordered + self.others
    }
}
