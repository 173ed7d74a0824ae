//! The results of a run, from which tables, JSON and plots are made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All scenarios of one run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Results {
    /// The environment: processor, cores, memory, kernel, versions of everything.
    pub machine: BTreeMap<String, String>,
    pub scenarios: Vec<Scenario>,
}

/// One scenario: its figures, targets and notes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Scenario {
    /// The name on the command line, such as `fanout`.
    pub name: String,
    /// The title, in one line.
    pub title: String,
    /// A description of how the scenario measures.
    pub method: String,
    pub rows: Vec<Row>,
    pub targets: Vec<Target>,
    /// Notes about this run: bottlenecks, and figures that could not be measured.
    pub notes: Vec<String>,
    /// The plots of this scenario.
    pub plots: Vec<Plot>,
}

/// Figures of one server in one setting.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Row {
    /// The server.
    pub subject: String,
    /// The setting, such as `10,000 connections`. The same setting has the same text for all servers.
    pub setting: String,
    /// Figures by name. The name includes the unit, such as `deliveries per CPU second` or `p99 (ms)`.
    pub figures: BTreeMap<String, Figure>,
}

/// One figure, measured several times.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Figure {
    #[serde(deserialize_with = "nan_as_null::deserialize_numbers")]
    pub samples: Vec<f64>,
}

impl Figure {
    /// The median; NaN without samples. For an even number of samples it is the mean of the two middle ones.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            count if count % 2 == 1 => sorted[count / 2],
            count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
        }
    }

    /// Minimum and maximum; NaN without samples.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        let fold = |with: fn(f64, f64) -> f64| self.samples.iter().copied().reduce(with).unwrap_or(f64::NAN);
        (fold(f64::min), fold(f64::max))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    pub what: String,
    /// The measured value; NaN if it was not measured.
    #[serde(deserialize_with = "nan_as_null::deserialize_number")]
    pub value: f64,
    pub bound: Bound,
    pub limit: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    AtMost,
    AtLeast,
}

impl Target {
    /// Whether the target is met. An unmeasured value never meets a target.
    #[must_use]
    pub fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtMost => self.value <= self.limit,
            Bound::AtLeast => self.value >= self.limit,
        }
    }
}

/// One picture of a scenario: bars of one figure, grouped by setting, one colour per subject.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Plot {
    /// The part of the file name that identifies this plot in its scenario.
    pub name: String,
    pub title: String,
    /// The figure that is drawn.
    pub figure: String,
    /// Whether the axis is logarithmic, for values that differ by orders of magnitude.
    pub logarithmic: bool,
}

impl Scenario {
    /// Adds a sample to a figure.
    pub fn add(&mut self, subject: &str, setting: &str, figure: &str, sample: f64) {
        let at = self.rows.iter().position(|row| row.subject == subject && row.setting == setting);
        let row = match at {
            Some(at) => &mut self.rows[at],
            None => {
                let row = Row { subject: subject.into(), setting: setting.into(), ..Row::default() };
                self.rows.push(row);
                self.rows.last_mut().expect("just pushed")
            }
        };
        row.figures.entry(figure.to_owned()).or_default().samples.push(sample);
    }

    /// Adds a note if the load generator may have limited a figure. Does not add the same note twice.
    pub fn note_if_generator_bound(&mut self, subject: &str, setting: &str, tally: &crate::load::Tally) {
        let note = format!(
            "{subject}, {setting}: the load generator was busy nearly all the time and may be what limited it."
        );
        if tally.is_generator_bound() && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The median of a figure; NaN if it was not measured.
    #[must_use]
    pub fn median(&self, subject: &str, setting: &str, figure: &str) -> f64 {
        let row = self.rows.iter().find(|row| row.subject == subject && row.setting == setting);
        row.and_then(|row| row.figures.get(figure)).map_or(f64::NAN, Figure::median)
    }

    /// Adds a target with its measured value.
    pub fn add_target(&mut self, what: &str, value: f64, bound: Bound, limit: f64) {
        self.targets.push(Target { what: what.to_owned(), value, bound, limit });
    }
}

/// Deserialisers that read `null` as NaN. JSON has no NaN, so serde_json writes it as `null`.
mod nan_as_null {
    use serde::{Deserialize, Deserializer};

    pub(super) fn deserialize_number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
    }

    pub(super) fn deserialize_numbers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
        let samples: Vec<Option<f64>> = Vec::deserialize(from)?;
        Ok(samples.into_iter().map(|sample| sample.unwrap_or(f64::NAN)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_even_number_is_the_mean_of_the_middle_two() {
        assert!((Figure { samples: vec![9.0, 1.0, 2.0, 4.0] }.median() - 3.0).abs() < 1e-9);
        assert!((Figure { samples: vec![9.0, 1.0, 2.0] }.median() - 2.0).abs() < 1e-9);
        assert!(Figure::default().median().is_nan());
    }

    #[test]
    fn unmeasured_value_meets_no_target() {
        for bound in [Bound::AtMost, Bound::AtLeast] {
            assert!(!Target { what: String::new(), value: f64::NAN, bound, limit: 1.0 }.is_met());
        }
    }
}
