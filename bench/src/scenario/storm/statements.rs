//! Counts the statements of PostgreSQL with pg_stat_statements.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tidings_harness::postgres::Database;

/// The number of calls of each statement since the last reset. Excludes queries on `pg_stat_statements` itself.
const CALLS_QUERY: &str = "SELECT queryid, calls, regexp_replace(query, '\\s+', ' ', 'g') FROM pg_stat_statements s \
     JOIN pg_database d ON d.oid = s.dbid \
     WHERE d.datname = current_database() AND query NOT LIKE '%pg_stat_statements%' AND toplevel";

/// Calls of a statement that may come on top of those of an idle system in the same time, because the statement is
/// periodic.
const PERIODIC_ALLOWANCE: u64 = 2;

#[derive(Debug, Clone, Default)]
struct StatementCalls {
    text: String,
    count: u64,
}

/// The number of calls of each statement in a period, and the length of the period.
#[derive(Debug, Clone, Default)]
pub struct StatementCounts {
    /// The calls by PostgreSQL's `queryid`. The text is no key, because it depends on whether PostgreSQL has parsed the
    /// statement since the last reset.
    calls: BTreeMap<String, StatementCalls>,
    time: Duration,
}

impl StatementCounts {
    /// The calls above those of an idle system, by text: all calls of statements that `at_rest` does not contain, and
    /// of the others the calls above those of `at_rest` in the same time.
    pub fn calls_beyond(&self, at_rest: &StatementCounts) -> BTreeMap<String, u64> {
        let times = self.time.as_secs_f64() / at_rest.time.as_secs_f64();
        let mut beyond = BTreeMap::new();
        for (id, calls) in &self.calls {
            let allowed =
                |calls: &StatementCalls| (calls.count as f64 * times).ceil() as u64 + PERIODIC_ALLOWANCE;
            let extra_calls = calls.count.saturating_sub(at_rest.calls.get(id).map_or(0, allowed));
            if extra_calls > 0 {
                *beyond.entry(calls.text.clone()).or_default() += extra_calls;
            }
        }
        beyond
    }

    /// The number of calls of all statements.
    pub fn total_calls(&self) -> u64 {
        self.calls.values().map(|calls| calls.count).sum()
    }

    /// Adds the calls and the length of another period.
    pub fn add(&mut self, period: StatementCounts) {
        for (id, calls) in period.calls {
            self.add_calls(&id, &calls.text, calls.count);
        }
        self.time += period.time;
    }

    fn add_calls(&mut self, id: &str, text: &str, count: u64) {
        let calls = self.calls.entry(id.to_owned()).or_default();
        text.clone_into(&mut calls.text);
        calls.count += count;
    }
}

/// Creates the extension pg_stat_statements, which counts statements.
pub async fn create_extension(database: &Database) -> Result<()> {
    database.query("CREATE EXTENSION IF NOT EXISTS pg_stat_statements").await?;
    Ok(())
}

/// Runs the future `what`. Returns its output, and the calls of all statements in the meantime.
pub async fn count_during<T>(
    database: &Database,
    what: impl Future<Output = Result<T>>,
) -> Result<(T, StatementCounts)> {
    database.query("SELECT pg_stat_statements_reset()").await?;
    let begun = Instant::now();
    let outcome = what.await?;
    let mut statements = StatementCounts { time: begun.elapsed(), ..StatementCounts::default() };
    for row in database.query(CALLS_QUERY).await? {
        let [id, count, text] = &row[..] else { anyhow::bail!("three columns were asked for") };
        statements.add_calls(id, text, count.parse().context("calls")?);
    }
    Ok((outcome, statements))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_beyond_rest_are_new_or_more_frequent() {
        let of = |seconds: u64, calls: &[(&str, u64)]| {
            let mut statements =
                StatementCounts { time: Duration::from_secs(seconds), ..StatementCounts::default() };
            calls.iter().for_each(|(name, count)| statements.add_calls(name, name, *count));
            statements
        };
        let mut at_rest = of(8, &[("often", 10), ("seldom", 1)]);
        at_rest.add(of(2, &[("often", 10)]));
        let more = of(1, &[("often", 5), ("seldom", 1), ("new", 2)]).calls_beyond(&at_rest);
        assert_eq!(more.into_iter().collect::<Vec<_>>(), [("new".to_owned(), 2), ("often".to_owned(), 1)]);
    }
}
