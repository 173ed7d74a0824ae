//! `tidings-persistence after-restore`: lets the services continue after PostgreSQL was restored to an earlier point in
//! time, or failed over to a standby that had lost commits. May be repeated, and may run while the services run. Runs as
//! the role that owns the schema, because it moves the counter of epochs.

use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use tidings_shared::log::{MarkedProcess, keys::Partition};

use crate::jobs::connection::ConnectionArgs;
use crate::jobs::sql::after_restore::open_epoch_after_restore;

/// The exit status if there is nothing to do.
const NOTHING_LOST: u8 = 3;

/// Arguments of `after-restore`.
#[derive(Debug, Clone, Args)]
pub struct AfterRestoreArgs {
    /// Open an epoch also if PostgreSQL has all that Redis knows to be stored, for example because Redis was emptied
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Opens an epoch in which every room continues from its stored head.
pub async fn run(arguments: AfterRestoreArgs) -> anyhow::Result<ExitCode> {
    let (db, log) = arguments.connection.connect().await?;
    let redis = arguments.connection.redis.client().map_err(anyhow::Error::msg)?;
    let map = log.map_watch().get().await.context("Redis")?;
    let mut shards = Vec::new();
    for address in map.addresses() {
        let process = MarkedProcess::connect(&redis.at(&address)).await.context("Redis")?;
        shards.push((process, map.partitions_of(&address).iter().collect::<Vec<_>>()));
    }
    let served = shards.iter().map(|(_, partitions)| partitions.len()).sum::<usize>();
    ensure!(
        served == Partition::all().count(),
        "Redis serves only {served} of 64 partitions; nothing was changed"
    );
    Ok(match open_epoch_after_restore(&db, &shards, arguments.force).await? {
        Some(epoch) => {
            println!("epoch {epoch} opened: all rooms continue from their heads in PostgreSQL");
            ExitCode::SUCCESS
        }
        None => {
            println!("PostgreSQL has all that Redis knows to be stored; nothing was changed");
            ExitCode::from(NOTHING_LOST)
        }
    })
}
