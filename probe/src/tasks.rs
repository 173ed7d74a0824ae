//! The subcommands of the probe.

use std::{net::SocketAddr, process::ExitCode, time::Instant};

use clap::{Args, Subcommand};
use serde_json::json;
use tidings_shared::{
    config::{
        load,
        problem::{Check, Problem},
    },
    health::HealthProbe,
    program::{self, DescribeCommand},
    telemetry,
};

use crate::{
    config::{Config, ProbeArgs},
    round::{Prober, StepReport},
};

/// Subcommands.
#[derive(Debug, Clone, Subcommand)]
pub enum Task {
    /// Run one round, and print each step as a line of JSON: exit code 0 if all steps succeeded, 1 if one failed
    Once(Box<ProbeArgs>),
    /// Ask the running probe for its health: exit code 0 when a round has ended
    Health(Health),
    #[command(flatten)]
    Describe(DescribeCommand),
}

/// The address of the running probe.
#[derive(Debug, Clone, Args)]
pub struct Health {
    /// Address of the probe
    #[arg(long, env = "TIDINGS_PROBE_LISTEN", default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub probe: HealthProbe,
}

impl Check for Task {
    fn check(&self) -> Vec<Problem> {
        match self {
            Self::Once(settings) => settings.check(),
            Self::Health(_) => Vec::new(),
            Self::Describe(describe) => describe.check(),
        }
    }
}

/// Runs a subcommand.
pub async fn run(task: Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Once(settings) => {
            telemetry::start("warn").map_err(anyhow::Error::msg)?;
            run_once(*settings).await
        }
        Task::Health(health) => Ok(health.probe.run(health.listen).await),
        Task::Describe(describe) => {
            program::print(&describe.text(load::command::<Config, Task>()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn run_once(settings: ProbeArgs) -> anyhow::Result<ExitCode> {
    let (mut prober, begun) = (Prober::new(settings)?, Instant::now());
    let mut print = |report: StepReport| {
        let mut line = json!({
            "step": report.step.name(),
            "outcome": if report.failure.is_none() { "ok" } else { "failed" },
            "seconds": report.took.as_secs_f64(),
        });
        if let Some(failure) = report.failure {
            line["code"] = json!(failure.code);
            line["message"] = json!(failure.message);
        }
        // An error means that nobody reads the output. The exit code still tells the outcome.
        let _ = program::print(&format!("{line}\n"));
    };
    let outcome = prober.run_round(&mut print).await;
    let mut line = json!({
        "step": "round",
        "outcome": if outcome.is_ok() { "ok" } else { "failed" },
        "seconds": begun.elapsed().as_secs_f64(),
        "certificates": prober.expiries.current(),
    });
    if let Err((step, failure)) = &outcome {
        line["failed_step"] = json!(step.name());
        line["code"] = json!(failure.code);
    }
    program::print(&format!("{line}\n"))?;
    Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
