//! `tidings-persistence dead-letter`: lists dead letters (records that PostgreSQL refused), appends them again, or
//! deletes them. `replay` deletes a dead letter only when its event is stored, or when PostgreSQL refused the event
//! again and made a new dead letter. Each command may be repeated.

mod listing;
mod replayable;
mod replaying;

use anyhow::bail;
use clap::{Args, Subcommand};
use tidings_shared::ids::RoomId;

use crate::jobs::connection::{ConnectionArgs, connect_database};
use crate::jobs::sql::dead_letters;
use replaying::{ReplayOutcome, Replayer};

/// Maximum number of dead letters that one statement reads.
const PAGE_LETTERS: u64 = 100;
/// After this many refusals in a row the replay stops, because the cause of the refusals is not fixed yet and each
/// refusal adds a void to the room's log.
const MAX_REFUSALS_IN_A_ROW: u32 = 10;

/// Arguments of `dead-letter`.
#[derive(Debug, Clone, Args)]
pub struct DeadLetterArgs {
    #[command(subcommand)]
    pub command: LetterCommand,
}

/// The commands of `dead-letter`.
#[derive(Debug, Clone, Subcommand)]
pub enum LetterCommand {
    /// List the dead letters, with the reason why PostgreSQL refused each record
    List(ListArgs),
    /// Append dead letters again, as new events of the same senders
    Replay(ReplayArgs),
    /// Delete dead letters for good
    Drop(DropArgs),
}

/// Arguments of `list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// List only the dead letters of this room
    #[arg(long, value_parser = |text: &str| RoomId::parse(text))]
    pub room: Option<RoomId>,
    /// Print one JSON object per line
    #[arg(long)]
    pub json: bool,
    /// Also show the content of the records
    #[arg(long)]
    pub show: bool,
    /// Number of dead letters to list at most, the oldest first
    #[arg(long, default_value_t = PAGE_LETTERS)]
    pub limit: u64,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Selects dead letters: by their ids, or all of them, or all of one room.
#[derive(Debug, Clone, Args)]
pub struct LetterSelection {
    /// Ids of dead letters, as `list` shows them
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    pub ids: Vec<i64>,
    /// Select all dead letters that exist when the command starts
    #[arg(long)]
    pub all: bool,
    /// With --all: select only the dead letters of this room
    #[arg(long, requires = "all", conflicts_with = "ids", value_parser = |text: &str| RoomId::parse(text))]
    pub room: Option<RoomId>,
}

/// Arguments of `replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub selection: LetterSelection,
    /// Also replay dead letters whose senders are not allowed to send in the room
    #[arg(long)]
    pub any_sender: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Arguments of `drop`.
#[derive(Debug, Clone, Args)]
pub struct DropArgs {
    #[command(flatten)]
    pub selection: LetterSelection,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

impl DeadLetterArgs {
    /// The connection settings of the chosen command.
    #[must_use]
    pub fn connection(&self) -> &ConnectionArgs {
        match &self.command {
            LetterCommand::List(list) => &list.connection,
            LetterCommand::Replay(replay) => &replay.connection,
            LetterCommand::Drop(drop) => &drop.connection,
        }
    }
}

/// Runs one of the commands. The error says why the command stopped early, or how many dead letters were not replayed.
pub async fn run(arguments: DeadLetterArgs) -> anyhow::Result<()> {
    match arguments.command {
        LetterCommand::List(list) => listing::print_letters(&list).await,
        LetterCommand::Replay(replay) => replay_all(replay).await,
        LetterCommand::Drop(drop) => drop_all(&drop).await,
    }
}

#[derive(Debug, Default)]
struct ReplayTotals {
    replayed: u64,
    refused: u64,
    not_replayed: u64,
    refused_in_a_row: u32,
}

async fn replay_all(arguments: ReplayArgs) -> anyhow::Result<()> {
    let (db, log) = arguments.connection.connect().await?;
    let _subscriber = arguments.connection.subscribe_watermarks(&log)?;
    let replayer = Replayer { db, log, any_sender: arguments.any_sender };
    let (db, mut totals) = (&replayer.db, ReplayTotals::default());
    for id in &arguments.selection.ids {
        match dead_letters::find_letter(db, *id).await? {
            Some(letter) => totals.count_outcome(*id, replayer.replay(&letter).await?)?,
            None => println!("{id}: there is no such letter (any more)"),
        }
    }
    // A dead letter whose event is refused again becomes a new dead letter with a higher id, which this run ignores.
    let upto = if arguments.selection.all { dead_letters::newest_id(db).await? } else { 0 };
    let mut after = 0;
    loop {
        let room = arguments.selection.room.as_ref();
        let page = dead_letters::letters_page(db, room, after, upto, PAGE_LETTERS).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for letter in &page {
            totals.count_outcome(letter.id, replayer.replay(letter).await?)?;
        }
    }
    let ReplayTotals { replayed, refused, not_replayed, .. } = totals;
    println!("{replayed} replayed, {refused} refused again, {not_replayed} not replayed");
    if refused + not_replayed > 0 {
        bail!("{} letters are not replayed", refused + not_replayed);
    }
    Ok(())
}

impl ReplayTotals {
    /// Counts and prints the outcome of one dead letter.
    fn count_outcome(&mut self, id: i64, outcome: ReplayOutcome) -> anyhow::Result<()> {
        if !matches!(outcome, ReplayOutcome::RefusedAgain(_)) {
            self.refused_in_a_row = 0;
        }
        match outcome {
            ReplayOutcome::Stored { room, seq } => {
                self.replayed += 1;
                println!("{id}: stored in {room} at {seq}");
            }
            ReplayOutcome::RefusedAgain(kept) => {
                self.refused += 1;
                self.refused_in_a_row += 1;
                eprintln!("{id}: refused again ({}); it is letter {} now", kept.reason, kept.id);
                if self.refused_in_a_row >= MAX_REFUSALS_IN_A_ROW {
                    bail!("{MAX_REFUSALS_IN_A_ROW} letters in a row were refused again: fix the cause first");
                }
            }
            ReplayOutcome::NotReplayed(reason) => {
                self.not_replayed += 1;
                eprintln!("{id}: not replayed: {reason}");
            }
        }
        Ok(())
    }
}

async fn drop_all(arguments: &DropArgs) -> anyhow::Result<()> {
    let db = connect_database(&arguments.connection.database).await?;
    let mut dropped = 0;
    for id in &arguments.selection.ids {
        if dead_letters::delete_letter(&db, *id).await? {
            dropped += 1;
        } else {
            println!("{id}: there is no such letter (any more)");
        }
    }
    if arguments.selection.all {
        let upto = dead_letters::newest_id(&db).await?;
        let room = arguments.selection.room.as_ref();
        dropped += dead_letters::delete_letters(&db, room, upto).await?;
    }
    println!("{dropped} dropped");
    Ok(())
}
