//! Opens the sessions of a shard: persistence opens the epochs of the partitions, and the process loads the scripts of
//! each epoch.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use super::{Session, SessionError, Shard, marks::EpochMarks};
use crate::{
    ids::Epoch,
    log::{
        authority::{Authority, AuthorityError, OpenedEpoch},
        keys::{PARTITIONS, Partition, PartitionSet},
        layout::Layout,
        process_id::ProcessId,
        scripts::Scripts,
    },
    sabotage,
};

/// The process and the epoch of a session that was opened, also after its end.
#[derive(Debug)]
pub struct LastEpoch {
    process: ProcessId,
    epoch: Epoch,
    opened_at: Instant,
}

impl LastEpoch {
    pub fn of(session: &Session) -> Self {
        let process = session.shard.process().clone();
        Self { process, epoch: session.epoch, opened_at: session.epoch_opened_at }
    }
}

/// For each partition the epoch of its last session.
pub type LastEpochs = [Option<Arc<LastEpoch>>; PARTITIONS as usize];

/// Opens the sessions of partitions at a shard, one for each epoch. Leaves out the partitions that the process does not
/// serve. If persistence is unavailable and a partition's last session was at the same Redis process, the new session
/// continues its epoch.
pub async fn open_sessions(
    shard: Arc<Shard>,
    authority: &dyn Authority,
    partitions: PartitionSet,
    last: &LastEpochs,
) -> Result<Vec<Session>, SessionError> {
    let partitions: Vec<Partition> = partitions.iter().collect();
    let opened = match authority.open_epochs(&shard.process().run_id, &partitions).await {
        Ok(opened) => opened,
        Err(error @ AuthorityError::Unavailable(_)) => {
            let continued = continue_epochs(&shard, &partitions, last).await?;
            if continued.is_empty() {
                return Err(error.into());
            }
            continued
        }
        // The map of persistence differs, or the process serves none of the partitions any more.
        Err(AuthorityError::OtherProcess) if shard.process().layout == Layout::Cluster => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut by_epoch: BTreeMap<Epoch, (OpenedEpoch, Vec<Partition>)> = BTreeMap::new();
    for (partition, opened) in opened {
        by_epoch.entry(opened.epoch).or_insert((opened, Vec::new())).1.push(partition);
    }
    let mut sessions = Vec::with_capacity(by_epoch.len());
    for (epoch, (opened, partitions)) in by_epoch {
        let scripts = Scripts::of(epoch, shard.process().layout);
        let mut pipe = redis::pipe();
        for script in scripts.all() {
            pipe.cmd("SCRIPT").arg("LOAD").arg(&script.text).ignore();
        }
        let () = pipe.query_async(&mut shard.connection()).await?;
        let epoch_opened_at = Instant::now().checked_sub(opened.age).unwrap_or_else(Instant::now);
        let (shard, partitions) = (shard.clone(), partitions.into_iter().collect());
        sessions.push(Session { shard, partitions, epoch, epoch_opened_at, scripts: Arc::new(scripts) });
    }
    Ok(sessions)
}

/// The epochs that continue without persistence: those of partitions whose last session was at the same process, and
/// whose mark is still there. A single Redis continues the epochs of all partitions or of none.
async fn continue_epochs(
    shard: &Shard,
    partitions: &[Partition],
    last: &LastEpochs,
) -> Result<Vec<(Partition, OpenedEpoch)>, SessionError> {
    let process = shard.process();
    let marks = EpochMarks::read_on(&mut shard.connection(), process.layout, partitions).await?;
    let mut continued = Vec::new();
    for partition in partitions {
        let last = last[usize::from(partition.0)].as_deref().filter(|last| {
            (process.continues(&last.process.run_id, Some(&last.process.replid))
                || sabotage::is_removed("only the same process continues its epoch"))
                && marks.may_continue(*partition, last.epoch)
        });
        match last {
            Some(last) => {
                let opened = OpenedEpoch { epoch: last.epoch, age: last.opened_at.elapsed() };
                continued.push((*partition, opened));
            }
            None if process.layout == Layout::Single => return Ok(Vec::new()),
            None => {}
        }
    }
    Ok(continued)
}
