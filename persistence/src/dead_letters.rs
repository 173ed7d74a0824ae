//! `tidings-persistence dead-letter`: what could not be written is listed, appended anew, or dropped.
//! Promises that a letter is taken away only once what it holds stands in the log, or in another letter, and that each
//! command may be repeated.

mod listing;
mod replaying;
mod sent;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use sea_orm::DbErr;
use tidings_shared::ids::RoomId;

use crate::jobs::Reach;
use crate::writer::{dead_letters, failure};
use replaying::{Outcome, Replayer};

/// Letters that are read at one time.
const AT_ONCE: u64 = 100;
/// So many refused one after the other: whatever refuses them was not mended, and each costs its room a void.
const REFUSED_IN_A_ROW: u32 = 10;

/// What `dead-letter` takes.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    #[command(subcommand)]
    pub task: Task,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Task {
    /// Tell what was put aside, and why
    List(List),
    /// Append letters anew, as new events of the same senders
    Replay(Replay),
    /// Take letters away for good
    Drop(Dropping),
}

/// What `list` takes.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// This room only
    #[arg(long, value_parser = |text: &str| RoomId::parse(text))]
    pub room: Option<RoomId>,
    /// One JSON object per line
    #[arg(long)]
    pub json: bool,
    /// What was said, too
    #[arg(long)]
    pub show: bool,
    /// Letters at most, the oldest first
    #[arg(long, default_value_t = AT_ONCE)]
    pub limit: u64,
    #[command(flatten)]
    pub reach: Reach,
}

/// Which letters are meant.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// Ids of letters, as `list` tells them
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    pub ids: Vec<i64>,
    /// All that are there now
    #[arg(long)]
    pub all: bool,
    /// With --all: this room only
    #[arg(long, requires = "all", conflicts_with = "ids", value_parser = |text: &str| RoomId::parse(text))]
    pub room: Option<RoomId>,
}

/// What `replay` takes.
#[derive(Debug, Clone, Args)]
pub struct Replay {
    #[command(flatten)]
    pub which: Which,
    /// Also of those who may not send in the room (any more)
    #[arg(long)]
    pub any_sender: bool,
    #[command(flatten)]
    pub reach: Reach,
}

/// What `drop` takes.
#[derive(Debug, Clone, Args)]
pub struct Dropping {
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub reach: Reach,
}

impl Arguments {
    /// What is needed to reach what the task is about.
    #[must_use]
    pub fn reach(&self) -> &Reach {
        match &self.task {
            Task::List(list) => &list.reach,
            Task::Replay(replay) => &replay.reach,
            Task::Drop(dropping) => &dropping.reach,
        }
    }
}

/// Does one of the tasks.
///
/// # Errors
/// Why it did not come to its end, or which letters are still there.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.task {
        Task::List(list) => listing::run(&list).await,
        Task::Replay(replay) => replay_all(replay).await,
        Task::Drop(drop) => drop_all(&drop).await,
    }
}

/// What a run of `replay` came to.
#[derive(Debug, Default)]
struct Sums {
    replayed: u64,
    refused: u64,
    left: u64,
    refused_in_a_row: u32,
}

async fn replay_all(arguments: Replay) -> anyhow::Result<()> {
    let (db, log) = arguments.reach.connect().await?;
    let _subscriber = arguments.reach.follow(&log)?;
    let replayer = Replayer { db, log, any_sender: arguments.any_sender };
    let (db, mut sums) = (&replayer.db, Sums::default());
    for id in &arguments.which.ids {
        match dead_letters::find(db, *id).await.map_err(told)? {
            Some(letter) => sums.add(*id, replayer.replay(&letter).await?)?,
            None => println!("{id}: there is no such letter (any more)"),
        }
    }
    // Those that are refused again come back as new letters: they are not of this run.
    let upto = if arguments.which.all { dead_letters::newest(db).await.map_err(told)? } else { 0 };
    let mut after = 0;
    loop {
        let room = arguments.which.room.as_ref();
        let page = dead_letters::page(db, room, after, upto, AT_ONCE).await.map_err(told)?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for letter in &page {
            sums.add(letter.id, replayer.replay(letter).await?)?;
        }
    }
    let Sums { replayed, refused, left, .. } = sums;
    println!("{replayed} replayed, {refused} refused again, {left} not replayed");
    if refused + left > 0 {
        bail!("{} letters are not replayed", refused + left);
    }
    Ok(())
}

impl Sums {
    /// Counts and tells what became of a letter.
    fn add(&mut self, id: i64, outcome: Outcome) -> anyhow::Result<()> {
        if !matches!(outcome, Outcome::RefusedAgain(_)) {
            self.refused_in_a_row = 0;
        }
        match outcome {
            Outcome::Stored { room, seq } => {
                self.replayed += 1;
                println!("{id}: stands in {room} at {seq}");
            }
            Outcome::RefusedAgain(kept) => {
                self.refused += 1;
                self.refused_in_a_row += 1;
                eprintln!("{id}: refused again ({}), and is letter {} now", kept.reason, kept.id);
                if self.refused_in_a_row >= REFUSED_IN_A_ROW {
                    bail!("{REFUSED_IN_A_ROW} letters in a row were refused again: mend the cause first");
                }
            }
            Outcome::Left(reason) => {
                self.left += 1;
                eprintln!("{id}: not replayed: {reason}");
            }
        }
        Ok(())
    }
}

async fn drop_all(arguments: &Dropping) -> anyhow::Result<()> {
    let db = arguments.reach.database().await?;
    let mut dropped = 0;
    for id in &arguments.which.ids {
        if dead_letters::remove(&db, *id).await.map_err(told)? {
            dropped += 1;
        } else {
            println!("{id}: there is no such letter (any more)");
        }
    }
    if arguments.which.all {
        let upto = dead_letters::newest(&db).await.map_err(told)?;
        let room = arguments.which.room.as_ref();
        dropped += dead_letters::remove_all(&db, room, upto).await.map_err(told)?;
    }
    println!("{dropped} dropped");
    Ok(())
}

fn told(error: DbErr) -> anyhow::Error {
    anyhow!(failure::without_data(&error))
}
