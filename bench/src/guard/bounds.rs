//! What was expected of each count, and whether a count is within that. Pure but for reading and writing its file.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What a count is held against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// Which count.
    pub name: String,
    /// Instructions that are expected, each time.
    pub instructions: u64,
    /// By which share it may be more; as much less is told of.
    pub room: f64,
    /// Why that much room.
    pub why: String,
}

/// All of them, as in their file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    pub counts: Vec<Bound>,
}

/// What a count is, by its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Within,
    /// It costs more than it may.
    Above,
    /// It costs so much less that the bound would no longer notice much.
    Below,
    /// Nothing is expected of it.
    Unknown,
}

impl Bounds {
    /// Reads them.
    ///
    /// # Errors
    /// When the file cannot be read, or is not of the form.
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

    /// The one of this name.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&Bound> {
        self.counts.iter().find(|bound| bound.name == name)
    }

    /// Holds a count against the one of its name.
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

    /// Expects this from now on; room and reason stay.
    pub fn expect(&mut self, name: &str, instructions: u64) {
        match self.counts.iter_mut().find(|bound| bound.name == name) {
            Some(bound) => bound.instructions = instructions,
            None => self.counts.push(Bound {
                name: name.to_owned(),
                instructions,
                room: ROOM_UNTIL_KNOWN,
                why: "how repeatable it is was not found out yet".to_owned(),
            }),
        }
    }
}

/// Of a count that was not there before.
const ROOM_UNTIL_KNOWN: f64 = 0.15;

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> Bounds {
        let bound = |name: &str, instructions, room| Bound {
            name: name.to_owned(),
            instructions,
            room,
            why: "because".to_owned(),
        };
        Bounds { counts: vec![bound("a", 1000, 0.1), bound("b", 50, 0.5)] }
    }

    #[test]
    fn a_count_may_differ_by_its_room_and_no_more() {
        let bounds = bounds();
        let judged = [900, 1000, 1100].map(|count| bounds.judge("a", count));
        assert_eq!(judged, [Verdict::Within; 3]);
        assert_eq!(bounds.judge("a", 1101), Verdict::Above);
        assert_eq!(bounds.judge("a", 899), Verdict::Below);
    }

    #[test]
    fn each_count_is_held_against_its_own_bound() {
        let bounds = bounds();
        assert_eq!(bounds.judge("b", 75), Verdict::Within);
        assert_eq!(bounds.judge("b", 1000), Verdict::Above);
        assert_eq!(bounds.judge("c", 1000), Verdict::Unknown);
    }

    #[test]
    fn a_new_expectation_keeps_room_and_reason() {
        let mut bounds = bounds();
        bounds.expect("b", 70);
        assert_eq!(bounds.of("b").map(|bound| (bound.instructions, bound.room)), Some((70, 0.5)));
        assert_eq!(bounds.of("b").map(|bound| bound.why.as_str()), Some("because"));
        bounds.expect("c", 7);
        assert_eq!(bounds.judge("c", 7), Verdict::Within);
        assert_eq!(bounds.counts.len(), 3);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        bounds().write(file.path()).unwrap();
        assert_eq!(Bounds::read(file.path()).unwrap(), bounds());
    }

    #[test]
    fn the_expectations_of_this_repository_are_of_all_counts_and_leave_little_room() {
        let bounds = Bounds::read(&crate::guard::bounds_file()).unwrap();
        let names: Vec<&str> = bounds.counts.iter().map(|bound| bound.name.as_str()).collect();
        assert_eq!(names, crate::guard::Count::ALL.map(crate::guard::Count::name));
        for bound in &bounds.counts {
            assert!(bound.instructions > 0 && bound.room > 0.0 && bound.room <= 0.5, "{bound:?}");
            assert!(!bound.why.is_empty(), "{bound:?}");
        }
    }
}
