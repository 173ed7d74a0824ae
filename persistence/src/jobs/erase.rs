//! `tidings-persistence erase`: erases users as `DELETE /me` does, also blocked users. The job begins the erasures and
//! waits. The replicas of the service carry them out, even if the job is stopped. The job may be repeated.

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use tidings_shared::ids::UserId;

use crate::database::DatabaseArgs;
use crate::job_error::JobError;
use crate::jobs::connection::connect_database;
use crate::writer::erasure::{self, ErasureStatus};

/// Interval at which the job checks whether an erasure is finished.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Arguments of `erase`.
#[derive(Debug, Clone, Args)]
pub struct EraseArgs {
    /// Ids of the users to erase for good
    #[arg(value_name = "USER", required = true, value_parser = |text: &str| UserId::parse(text))]
    pub users: Vec<UserId>,
    /// How long the job waits for the service to finish the next erasure; after this time it fails, and the erasures go on
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub wait_s: u64,
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// Begins the erasures of all users and waits until they are finished. Erases no user if one of them is unknown.
pub async fn run(arguments: EraseArgs) -> anyhow::Result<()> {
    let db = connect_database(&arguments.database).await?;
    for user in &arguments.users {
        if erasure::erasure_status(&db, user).await.map_err(JobError::from)? == ErasureStatus::UnknownUser {
            bail!("there is no user {user}; nobody was erased");
        }
    }
    for user in &arguments.users {
        erasure::begin_erasure(&db, user, None).await.map_err(JobError::from)?;
    }
    println!(
        "erasures of {} users begun; the service continues them if this is stopped",
        arguments.users.len()
    );
    let max_wait = Duration::from_secs(arguments.wait_s);
    for (index, user) in arguments.users.iter().enumerate() {
        let begun = Instant::now();
        while erasure::erasure_status(&db, user).await.map_err(JobError::from)? != ErasureStatus::Erased {
            if begun.elapsed() >= max_wait {
                bail!(
                    "{user} is not erased after {} s, {} users are left; check that the service runs and that no \
                     partition rests, then run the job again to wait for them",
                    arguments.wait_s,
                    arguments.users.len() - index
                );
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        println!("{user} is erased");
    }
    Ok(())
}
