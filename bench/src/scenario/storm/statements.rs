//! Counts the statements of PostgreSQL with pg_stat_statements.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tidings_harness::postgres::Database;

/// Excludes the counting statements themselves.
const COUNTS: &str = "SELECT queryid, calls, regexp_replace(query, '\\s+', ' ', 'g') FROM pg_stat_statements s \
     JOIN pg_database d ON d.oid = s.dbid \
     WHERE d.datname = current_database() AND query NOT LIKE '%pg_stat_statements%' AND toplevel";

/// Periodic statements may occur this much more often in a period than its length suggests.
const BY_CHANCE: u64 = 2;

#[derive(Debug, Clone, Default)]
struct Calls {
    text: String,
    count: u64,
}

/// The number of calls of each statement, in a period.
#[derive(Debug, Clone, Default)]
pub struct Statements {
    /// By PostgreSQL's id of a statement, because its text depends on whether it was parsed since the last reset.
    calls: BTreeMap<String, Calls>,
    time: Duration,
}

impl Statements {
    /// The calls beyond those at rest: new statements, and more calls than the length of the period explains.
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

    /// The number of calls.
    pub fn count(&self) -> u64 {
        self.calls.values().map(|calls| calls.count).sum()
    }

    /// Adds others.
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

/// Prepares counting.
pub async fn prepare(database: &Database) -> Result<()> {
    database.query("CREATE EXTENSION IF NOT EXISTS pg_stat_statements").await?;
    Ok(())
}

/// The statements during a future.
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
    fn statements_beyond_rest_are_new_or_more_frequent() {
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
