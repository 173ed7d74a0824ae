//! Says why PostgreSQL cannot be used: logs the cause of an outage once, repeats it each minute with the number of
//! failures, and counts the failures by cause. Pools hide the cause, because they retry until their time limit. So
//! while failures are reported, this task opens connections of its own, one at a time.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::{ConnectOptions as _, Connection, postgres::PgConnectOptions};
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::writer::failure::{NO_ANSWER, OutageCause, OutageReports, redacted_cause};

/// Interval between two attempts to connect during an outage.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// How long an attempt to connect may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// An outage has ended when nothing has failed for this time.
const QUIET_PERIOD: Duration = Duration::from_secs(5);
/// Shortest time between two log lines about an outage whose cause changes.
const MIN_CHANGE_INTERVAL: Duration = Duration::from_secs(5);
/// Interval between log lines about an outage that goes on.
const REMINDER_INTERVAL: Duration = Duration::from_secs(60);

/// Watches for outages until `stop` is cancelled. Connects with the settings of the pool `db`, but uses none of its
/// connections.
pub async fn watch(db: DatabaseConnection, metrics: Metrics, stop: CancellationToken) {
    for cause in OutageCause::ALL {
        metrics.database_failures.with_label_values(&[cause.name()]).inc_by(0);
    }
    let options = (*db.get_postgres_connection_pool().connect_options()).clone();
    let options = options.application_name("tidings-persistence probe");
    let address = Arc::<str>::from(format!("{}:{}", options.get_host(), options.get_port()));
    let (mut reports, mut log) = (OutageReports::watch(), OutageLog::default());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = reports.wait(), if log.present.is_none() => {}
            () = tokio::time::sleep(PROBE_INTERVAL), if log.present.is_some() => {}
        }
        let reported = reports.take();
        if reported.is_empty() && log.present.is_none() {
            continue;
        }
        let probe = probe(&options).await.err();
        let (cause, failures) = attribute(&reported, probe.as_ref().and_then(OutageCause::of));
        for (cause, failures) in failures {
            metrics.database_failures.with_label_values(&[cause.name()]).inc_by(failures);
        }
        let failures = reported.iter().map(|(_, failures)| failures).sum();
        let line = log.observe(cause, failures, Instant::now());
        write_line(line, probe.as_ref(), &address);
    }
}

/// Opens a connection and closes it.
async fn probe(options: &PgConnectOptions) -> Result<(), DbErr> {
    let connected = tokio::time::timeout(PROBE_TIMEOUT, options.connect()).await;
    let connected = connected.map_err(|_| DbErr::Custom(format!("{NO_ANSWER} in {PROBE_TIMEOUT:?}")))?;
    let connection = connected.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))))?;
    // An error is ignored, because the connection is no longer needed.
    let _ = tokio::time::timeout(PROBE_TIMEOUT, connection.close()).await;
    Ok(())
}

/// The cause of the outage, None if there is none now, and the causes to which the failures are counted. `probed` is the
/// cause that the attempt to connect found. It also explains failures that are only symptoms.
fn attribute(
    reported: &[(OutageCause, u64)],
    probed: Option<OutageCause>,
) -> (Option<OutageCause>, Vec<(OutageCause, u64)>) {
    let explain = |(cause, failures): &(OutageCause, u64)| match probed {
        Some(probed) if cause.is_symptom() => (probed, *failures),
        _ => (*cause, *failures),
    };
    let failures: Vec<_> = reported.iter().map(explain).collect();
    (probed.or_else(|| failures.first().map(|(cause, _)| *cause)), failures)
}

/// What the log says about outages.
#[derive(Default)]
struct OutageLog {
    present: Option<Outage>,
}

struct Outage {
    cause: OutageCause,
    began: Instant,
    last_failure: Instant,
    logged: Instant,
    failures: u64,
}

/// A log line that is due.
#[derive(Debug, PartialEq, Eq)]
enum OutageLine {
    Failing { cause: OutageCause, since: Duration, failures: u64 },
    Ended { after: Duration, failures: u64 },
}

impl OutageLog {
    /// Notes the present cause and the number of new failures. Returns the line that is due, if any.
    fn observe(&mut self, cause: Option<OutageCause>, failures: u64, now: Instant) -> Option<OutageLine> {
        let Some(outage) = &mut self.present else {
            let cause = cause?;
            self.present = Some(Outage { cause, began: now, last_failure: now, logged: now, failures });
            return Some(OutageLine::Failing { cause, since: Duration::ZERO, failures });
        };
        outage.failures += failures;
        let Some(cause) = cause else {
            if now - outage.last_failure < QUIET_PERIOD {
                return None;
            }
            let (after, failures) = (now - outage.began, outage.failures);
            self.present = None;
            return Some(OutageLine::Ended { after, failures });
        };
        outage.last_failure = now;
        let due = if cause == outage.cause { REMINDER_INTERVAL } else { MIN_CHANGE_INTERVAL };
        if now - outage.logged < due {
            return None;
        }
        (outage.cause, outage.logged) = (cause, now);
        Some(OutageLine::Failing { cause, since: now - outage.began, failures: outage.failures })
    }
}

fn write_line(line: Option<OutageLine>, probe: Option<&DbErr>, address: &str) {
    match line {
        Some(OutageLine::Failing { cause, since, failures }) => {
            let (seconds, detail) = (since.as_secs(), probe.map(redacted_cause));
            tracing::warn!(
                cause = cause.name(),
                detail,
                address,
                seconds,
                failures,
                "PostgreSQL cannot be used: {}",
                cause.advice()
            );
        }
        Some(OutageLine::Ended { after, failures }) => {
            tracing::info!(address, seconds = after.as_secs(), failures, "PostgreSQL can be used again");
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use OutageCause::{Authentication, PoolExhausted, Refused, Starting};

    #[test]
    fn failed_probe_explains_symptoms_only() {
        let reported = [(Authentication, 2), (PoolExhausted, 5)];
        assert_eq!(
            attribute(&reported, Some(Refused)),
            (Some(Refused), vec![(Authentication, 2), (Refused, 5)])
        );
        assert_eq!(attribute(&reported[1..], None), (Some(PoolExhausted), vec![(PoolExhausted, 5)]));
        assert_eq!(attribute(&[], Some(Refused)), (Some(Refused), Vec::new()));
        assert_eq!(attribute(&[], None), (None, Vec::new()));
    }

    #[test]
    fn outage_is_logged_once_then_each_minute_and_at_its_end() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut log = OutageLog::default();
        assert_eq!(log.observe(None, 0, at(0)), None);
        let first = OutageLine::Failing { cause: Refused, since: Duration::ZERO, failures: 1 };
        assert_eq!(log.observe(Some(Refused), 1, at(0)), Some(first));
        for seconds in 1..60 {
            assert_eq!(log.observe(Some(Refused), 10, at(seconds)), None, "after {seconds} s");
        }
        let since = Duration::from_secs(60);
        let reminder = OutageLine::Failing { cause: Refused, since, failures: 591 };
        assert_eq!(log.observe(Some(Refused), 0, at(60)), Some(reminder));
        assert_eq!(log.observe(Some(Starting), 0, at(62)), None, "causes may alternate");
        let since = Duration::from_secs(65);
        let changed = OutageLine::Failing { cause: Starting, since, failures: 591 };
        assert_eq!(log.observe(Some(Starting), 0, at(65)), Some(changed));
        assert_eq!(log.observe(None, 0, at(69)), None, "it may fail again");
        let ended = OutageLine::Ended { after: Duration::from_secs(70), failures: 591 };
        assert_eq!(log.observe(None, 0, at(70)), Some(ended));
        assert!(log.observe(Some(Refused), 1, at(71)).is_some());
    }
}
