//! Runs rounds for ever and serves their metrics, until a signal ends the process.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use tidings_shared::{admin, lifecycle::Lifecycle};
use tokio::time::MissedTickBehavior;

use crate::{config::Config, metrics::Metrics, round::Prober};

/// Runs until SIGTERM or SIGINT. A signal ends a running round at once.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let metrics = Metrics::new();
    metrics.create_series();
    let listener = TcpListener::bind(config.listen).with_context(|| format!("--listen {}", config.listen))?;
    listener.set_nonblocking(true)?;
    let has_round = Arc::new(AtomicBool::new(false));
    let (exported, has_ended) = (metrics.clone(), has_round.clone());
    // The probe is ready when it has a result, also a bad one: a failing installation must not hide the metrics.
    let server = admin::build_server(
        listener,
        move |_| exported.text(),
        move || {
            let missing =
                if has_ended.load(Ordering::Relaxed) { None } else { Some("no round has ended yet") };
            async move { missing.map(ToOwned::to_owned).into_iter().collect() }
        },
    )?;
    let handle = server.handle();
    tokio::spawn(server);
    let lifecycle = Lifecycle::default();
    let draining = lifecycle.draining.clone();
    let interval = Duration::from_millis(config.interval_ms);
    let mut prober = Prober::new(config.probe)?;
    lifecycle.tasks.spawn(async move {
        let rounds = run_rounds(&mut prober, &metrics, &has_round, interval);
        draining.run_until_cancelled(rounds).await;
    });
    tracing::info!(listen = %config.listen, "probe started");
    lifecycle.run(Duration::from_secs(1)).await?;
    handle.stop(false).await;
    Ok(())
}

/// Begins a round in each interval. A round that takes longer than the interval delays the next.
async fn run_rounds(prober: &mut Prober, metrics: &Metrics, has_round: &AtomicBool, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let outcome = prober.run_round(&mut |report| metrics.record_step(&report)).await;
        metrics.record_round(&outcome, &prober.expiries);
        has_round.store(true, Ordering::Relaxed);
        match outcome {
            Ok(()) => tracing::debug!("the round succeeded"),
            Err((step, failure)) => tracing::warn!(
                step = step.name(),
                code = failure.code,
                cause = failure.message,
                "the round failed"
            ),
        }
    }
}
