//! The subcommands of the program.

use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use tidings_shared::{
    config::{
        load,
        problem::{Check, Problem},
    },
    program,
};

use crate::config::Config;
use crate::web_push::vapid::VapidKey;

mod common {
    use crate::config::Config;

    tidings_persistence::companion_tasks!(
        Config,
        "TIDINGS_PUSH_LISTEN",
        "TIDINGS_PUSH_ADMIN_LISTEN",
        "127.0.0.1:8085"
    );
}

/// Subcommands, those of this program alone first.
#[derive(Debug, Clone, Subcommand)]
pub enum PushTask {
    /// Make a key pair for Web Push, and print it
    Vapid,
    #[command(flatten)]
    Common(common::Task),
}

impl Check for PushTask {
    fn check(&self) -> Vec<Problem> {
        match self {
            Self::Common(task) => task.check(),
            Self::Vapid => Vec::new(),
        }
    }
}

/// Runs a subcommand.
pub async fn run(task: PushTask) -> anyhow::Result<ExitCode> {
    match task {
        // Describes all subcommands, also the one that is not common.
        PushTask::Common(common::Task::Describe(describe)) => {
            program::print(&describe.text(load::command::<Config, PushTask>()))?;
        }
        PushTask::Common(task) => return common::run(task).await,
        PushTask::Vapid => {
            let key = VapidKey::generate().context("the system has no random numbers")?;
            let pair = VapidKey::parse(&key, "").map_err(anyhow::Error::msg)?;
            program::print(&format!("private key: {key}\npublic key:  {}\n", pair.public()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
