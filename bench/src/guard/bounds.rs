//! The expected number of each count, and the comparison of a count with it. Pure except for reading and writing the
//! file of the expected numbers.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The expected number of a count, and its tolerance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountBound {
    /// The name of the count.
    pub name: String,
    /// Expected instructions per operation.
    pub instructions: u64,
    /// The tolerance in both directions, as a share of `instructions`.
    pub room: f64,
    /// The reason for the tolerance.
    pub why: String,
}

/// The content of `bench/guard.json`: the bounds of all counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    pub counts: Vec<CountBound>,
}

/// The result of comparing a count with its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Within,
    /// The count is above its tolerance.
    Above,
    /// The count is below its tolerance, so the expected number should be lowered.
    Below,
    /// The count has no expected number.
    Unknown,
}

impl Bounds {
    /// Reads the bounds.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not of the form", path.display()))
    }

    /// Writes the bounds.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }

    /// The bound of the operation with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&CountBound> {
        self.counts.iter().find(|bound| bound.name == name)
    }

    /// Compares a count with the bound of its name.
    #[must_use]
    pub fn compare(&self, name: &str, instructions: u64) -> Verdict {
        let Some(bound) = self.get(name) else { return Verdict::Unknown };
        let share = instructions as f64 / bound.instructions as f64;
        if share > 1.0 + bound.room {
            Verdict::Above
        } else if share < 1.0 - bound.room {
            Verdict::Below
        } else {
            Verdict::Within
        }
    }

    /// Sets the expected number. An existing bound keeps its tolerance and its reason.
    pub fn set_expected(&mut self, name: &str, instructions: u64) {
        match self.counts.iter_mut().find(|bound| bound.name == name) {
            Some(bound) => bound.instructions = instructions,
            None => self.counts.push(CountBound {
                name: name.to_owned(),
                instructions,
                room: DEFAULT_TOLERANCE,
                why: "how repeatable it is was not found out yet".to_owned(),
            }),
        }
    }
}

/// The tolerance of a new bound.
const DEFAULT_TOLERANCE: f64 = 0.15;

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
        let judged = [900, 1000, 1100].map(|count| bounds.compare("a", count));
        assert_eq!(judged, [Verdict::Within; 3]);
        assert_eq!(bounds.compare("a", 1101), Verdict::Above);
        assert_eq!(bounds.compare("a", 899), Verdict::Below);
    }

    #[test]
    fn each_count_is_compared_with_its_own_bound() {
        let bounds = bounds();
        assert_eq!(bounds.compare("b", 75), Verdict::Within);
        assert_eq!(bounds.compare("b", 1000), Verdict::Above);
        assert_eq!(bounds.compare("c", 1000), Verdict::Unknown);
    }

    #[test]
    fn new_expected_number_keeps_tolerance_and_reason() {
        let mut bounds = bounds();
        bounds.set_expected("b", 70);
        assert_eq!(bounds.get("b").map(|bound| (bound.instructions, bound.room)), Some((70, 0.5)));
        assert_eq!(bounds.get("b").map(|bound| bound.why.as_str()), Some("because"));
        bounds.set_expected("c", 7);
        assert_eq!(bounds.compare("c", 7), Verdict::Within);
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
        assert_eq!(names, crate::guard::CountedOperation::ALL.map(crate::guard::CountedOperation::name));
        for bound in &bounds.counts {
            assert!(bound.instructions > 0 && bound.room > 0.0 && bound.room <= 0.5, "{bound:?}");
            assert!(!bound.why.is_empty(), "{bound:?}");
        }
    }
}
