//! The statements that PostgreSQL is given, by pg_stat_statements.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tidings_harness::postgres::Database;

/// Not those of whoever counts.
const COUNTS: &str = "SELECT queryid, calls, regexp_replace(query, '\\s+', ' ', 'g') FROM pg_stat_statements s \
     JOIN pg_database d ON d.oid = s.dbid \
     WHERE d.datname = current_database() AND query NOT LIKE '%pg_stat_statements%' AND toplevel";

/// What is run at intervals may fall into a time so often more than its length tells.
const BY_CHANCE: u64 = 2;

#[derive(Debug, Clone, Default)]
struct Calls {
    text: String,
    count: u64,
}

/// How often each statement was run, in how long.
#[derive(Debug, Clone, Default)]
pub struct Statements {
    /// By PostgreSQL's id of a statement: its text depends on whether it was parsed or only run since the last reset.
    calls: BTreeMap<String, Calls>,
    time: Duration,
}

impl Statements {
    /// What there is more of than at rest: other statements, and of the same more than the time allows.
    pub fn beyond(&self, at_rest: &Statements) -> BTreeMap<String, u64> {
        let times = self.time.as_secs_f64() / at_rest.time.as_secs_f64();
        let mut beyond = BTreeMap::new();
        for (id, calls) in &self.calls {
            let allowed = |calls: &Calls| (calls.count as f64 * times).ceil() as u64 + BY_CHANCE;
            let more = calls.count.saturating_sub(at_rest.calls.get(id).map_or(0, allowed));
            if more > 0 {
                *beyond.entry(calls.text.clone()).or_default() += more;
            }
        }
        beyond
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.calls.values().map(|calls| calls.count).sum()
    }

    /// Counts these too.
    pub fn add(&mut self, others: Statements) {
        for (id, calls) in others.calls {
            self.count_more(&id, &calls.text, calls.count);
        }
        self.time += others.time;
    }

    fn count_more(&mut self, id: &str, text: &str, count: u64) {
        let calls = self.calls.entry(id.to_owned()).or_default();
        text.clone_into(&mut calls.text);
        calls.count += count;
    }
}

/// Makes them countable.
pub async fn prepare(database: &Database) -> Result<()> {
    database.query("CREATE EXTENSION IF NOT EXISTS pg_stat_statements").await?;
    Ok(())
}

/// What was run while something went on.
pub async fn during<T>(
    database: &Database,
    what: impl Future<Output = Result<T>>,
) -> Result<(T, Statements)> {
    database.query("SELECT pg_stat_statements_reset()").await?;
    let begun = Instant::now();
    let outcome = what.await?;
    let mut statements = Statements { time: begun.elapsed(), ..Statements::default() };
    for row in database.query(COUNTS).await? {
        let [id, count, text] = &row[..] else { anyhow::bail!("three columns were asked for") };
        statements.count_more(id, text, count.parse().context("calls")?);
    }
    Ok((outcome, statements))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_rest_is_what_is_new_or_more_often_than_the_time_allows() {
        let of = |seconds: u64, calls: &[(&str, u64)]| {
            let mut statements = Statements { time: Duration::from_secs(seconds), ..Statements::default() };
            calls.iter().for_each(|(name, count)| statements.count_more(name, name, *count));
            statements
        };
        let mut at_rest = of(8, &[("often", 10), ("seldom", 1)]);
        at_rest.add(of(2, &[("often", 10)]));
        let more = of(1, &[("often", 5), ("seldom", 1), ("new", 2)]).beyond(&at_rest);
        assert_eq!(more.into_iter().collect::<Vec<_>>(), [("new".to_owned(), 2), ("often".to_owned(), 1)]);
    }
}
