//! The expected number of each count, and whether a count is within its bound. Pure except for reading and writing its
//! file.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The expected number of a count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountBound {
    /// The name of the count.
    pub name: String,
    /// Expected instructions per operation.
    pub instructions: u64,
    /// The tolerance as a share. A count that is lower by as much is reported too.
    pub room: f64,
    /// The reason for the tolerance.
    pub why: String,
}

/// All bounds, as in their file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    pub counts: Vec<CountBound>,
}

/// The result of comparing a count with its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Within,
    /// It is above its tolerance.
    Above,
    /// It is so low that the bound should be lowered.
    Below,
    /// There is no expected number.
    Unknown,
}

impl Bounds {
    /// Reads them.
    ///
    /// # Errors
    /// When the file cannot be read, or is malformed.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not of the form", path.display()))
    }

    /// Writes them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }

    /// The bound with this name.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&CountBound> {
        self.counts.iter().find(|bound| bound.name == name)
    }

    /// Compares a count with the bound of its name.
    #[must_use]
    pub fn judge(&self, name: &str, instructions: u64) -> Verdict {
        let Some(bound) = self.of(name) else { return Verdict::Unknown };
        let share = instructions as f64 / bound.instructions as f64;
        if share > 1.0 + bound.room {
            Verdict::Above
        } else if share < 1.0 - bound.room {
            Verdict::Below
        } else {
            Verdict::Within
        }
    }

    /// Sets the expected number; tolerance and reason stay.
    pub fn expect(&mut self, name: &str, instructions: u64) {
        match self.counts.iter_mut().find(|bound| bound.name == name) {
            Some(bound) => bound.instructions = instructions,
            None => self.counts.push(CountBound {
                name: name.to_owned(),
                instructions,
                room: ROOM_UNTIL_KNOWN,
                why: "how repeatable it is was not found out yet".to_owned(),
            }),
        }
    }
}

/// The tolerance of a new count.
const ROOM_UNTIL_KNOWN: f64 = 0.15;

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> Bounds {
        let bound = |name: &str, instructions, room| CountBound {
            name: name.to_owned(),
            instructions,
            room,
            why: "because".to_owned(),
        };
        Bounds { counts: vec![bound("a", 1000, 0.1), bound("b", 50, 0.5)] }
    }

    #[test]
    fn count_may_differ_by_its_tolerance() {
        let bounds = bounds();
        let judged = [900, 1000, 1100].map(|count| bounds.judge("a", count));
        assert_eq!(judged, [Verdict::Within; 3]);
        assert_eq!(bounds.judge("a", 1101), Verdict::Above);
        assert_eq!(bounds.judge("a", 899), Verdict::Below);
    }

    #[test]
    fn each_count_is_compared_with_its_own_bound() {
        let bounds = bounds();
        assert_eq!(bounds.judge("b", 75), Verdict::Within);
        assert_eq!(bounds.judge("b", 1000), Verdict::Above);
        assert_eq!(bounds.judge("c", 1000), Verdict::Unknown);
    }

    #[test]
    fn new_expected_number_keeps_tolerance_and_reason() {
        let mut bounds = bounds();
        bounds.expect("b", 70);
        assert_eq!(bounds.of("b").map(|bound| (bound.instructions, bound.room)), Some((70, 0.5)));
        assert_eq!(bounds.of("b").map(|bound| bound.why.as_str()), Some("because"));
        bounds.expect("c", 7);
        assert_eq!(bounds.judge("c", 7), Verdict::Within);
        assert_eq!(bounds.counts.len(), 3);
    }

    #[test]
    fn bounds_round_trip_through_their_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        bounds().write(file.path()).unwrap();
        assert_eq!(Bounds::read(file.path()).unwrap(), bounds());
    }

    #[test]
    fn repository_bounds_cover_all_counts_with_small_tolerances() {
        let bounds = Bounds::read(&crate::guard::bounds_file()).unwrap();
        let names: Vec<&str> = bounds.counts.iter().map(|bound| bound.name.as_str()).collect();
        assert_eq!(names, crate::guard::Count::ALL.map(crate::guard::Count::name));
        for bound in &bounds.counts {
            assert!(bound.instructions > 0 && bound.room > 0.0 && bound.room <= 0.5, "{bound:?}");
            assert!(!bound.why.is_empty(), "{bound:?}");
        }
    }
}
