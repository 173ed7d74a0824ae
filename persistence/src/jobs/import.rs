//! `tidings-persistence import`: reads users, rooms, members, messages and read marks of another system as lines of JSON.
//! Members and messages are appended to the log, so they are numbered and stored like all others, but messages keep their
//! original times. Memory is bounded. A repeated import imports no line twice. A refused line is reported with its number.

mod check;
mod checkpoint;
mod importer;
pub mod line;
mod lines;
mod refusal;
mod reply_targets;

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, builder::RangedU64ValueParser};
use indicatif::{ProgressBar, ProgressStyle};
use tidings_shared::clock::unix_ms;
use tokio::fs::File;
use tokio::io::BufReader;

use crate::jobs::connection::ConnectionArgs;
use checkpoint::Checkpoint;
use importer::{ImportOutcome, ImportedBatch, Importer};
use line::{CLOCK_TOLERANCE_MS, ImportLine, ImportMessage, LineRules, SkippedMessage};
use lines::{next_line, parse_line};
use refusal::LineRefusal;
use reply_targets::MAX_REPLY_TARGETS;

/// A batch of messages ends when it has this many messages.
const MAX_BATCH_MESSAGES: usize = 500;
/// A batch of messages also ends when its lines reach this size.
const MAX_BATCH_BYTES: u64 = 4 * 1024 * 1024;
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Arguments of `import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// Files with one JSON object per line, in the order in which they are read
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Messages per second at most; with 0 the import is as fast as messages are stored
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// Stop at the first line that cannot be imported
    #[arg(long)]
    pub strict: bool,
    /// Only check the lines, without a connection to PostgreSQL and Redis; the exit code is 1 if a line is refused
    #[arg(long, conflicts_with_all = ["strict", "checkpoint"])]
    pub check: bool,
    /// Save the progress to this file, and continue from it when the import is repeated
    #[arg(long)]
    pub checkpoint: Option<PathBuf>,
    /// Longest message text, in Unicode scalar values
    #[arg(long, env = "TIDINGS_MAX_MESSAGE_CHARS", default_value_t = 1000, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub max_message_chars: usize,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Debug, Default)]
struct ImportTotals {
    messages: u64,
    users: u64,
    rooms: u64,
    members: u64,
    changes: u64,
    read_marks: u64,
    existing: u64,
    refused: u64,
    /// Reactions that are not imported although their message is.
    left_out: u64,
}

/// Imports all files. A refused line ends the import only with `--strict`.
pub async fn run(arguments: ImportArgs) -> anyhow::Result<()> {
    let mut bytes = 0;
    for file in &arguments.files {
        bytes += std::fs::metadata(file).with_context(|| file.display().to_string())?.len();
    }
    let latest_ms = unix_ms() + CLOCK_TOLERANCE_MS;
    let rules = LineRules { max_message_chars: arguments.max_message_chars, latest_ms };
    if arguments.check {
        return check::run(&arguments.files, &rules).await;
    }
    let checkpoint = Checkpoint::open(arguments.checkpoint.clone())?;
    let (db, log) = arguments.connection.connect().await?;
    let _subscriber = arguments.connection.subscribe_watermarks(&log)?;
    let mut import = ImportJob {
        importer: Importer::new(db, log, arguments.max_message_chars),
        bar: new_progress_bar(bytes),
        begun: Instant::now(),
        printed_at: Instant::now(),
        totals: ImportTotals::default(),
        skipped: VecDeque::new(),
        rules,
        checkpoint,
        arguments,
    };
    for file in import.arguments.files.clone() {
        import.import_file(&file).await?;
    }
    import.bar.finish_and_clear();
    println!("{}", import.summary());
    Ok(())
}

fn new_progress_bar(bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {elapsed}/{eta} {msg}");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

struct ImportJob {
    importer: Importer,
    arguments: ImportArgs,
    rules: LineRules,
    checkpoint: Checkpoint,
    bar: ProgressBar,
    begun: Instant,
    printed_at: Instant,
    totals: ImportTotals,
    /// The last messages of an earlier run, until `import_batch` looks up their seqs. Later messages may reply to them.
    skipped: VecDeque<SkippedMessage>,
}

/// Messages that wait to be imported, each with its line number.
type MessageBatch = Vec<(u64, ImportMessage)>;

impl ImportJob {
    async fn import_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let file = File::open(path).await.with_context(|| path.display().to_string())?;
        let mut reader = BufReader::new(file);
        let done = self.checkpoint.finished_lines(path);
        let (mut number, mut text, mut batch, mut bytes) = (0, Vec::new(), MessageBatch::new(), 0);
        while let Some(length) = next_line(&mut reader, &mut text).await? {
            number += 1;
            bytes += length;
            self.bar.inc(length);
            if number <= done {
                self.remember_skipped(&text);
                continue;
            }
            let Some(line) = parse_line(&text, length, &self.rules) else { continue };
            match line {
                Ok(ImportLine::Message(mut message)) => {
                    for refusal in std::mem::take(&mut message.left_out) {
                        self.totals.left_out += 1;
                        self.report(path, number, &refusal)?;
                    }
                    batch.push((number, *message));
                }
                Ok(line) => {
                    // Keeps the order of the lines by importing the messages before this line first.
                    self.import_batch(path, &mut batch).await?;
                    self.import_line(path, number, line).await?;
                }
                Err(refusal) => self.refuse(path, number, &refusal)?,
            }
            if batch.len() >= MAX_BATCH_MESSAGES || bytes >= MAX_BATCH_BYTES {
                bytes = 0;
                self.import_batch(path, &mut batch).await?;
                self.checkpoint.save(path, number)?;
            }
            self.show_progress();
        }
        self.import_batch(path, &mut batch).await?;
        self.checkpoint.save(path, number)
    }

    /// Keeps a message that an earlier run imported, because later messages may reply to it.
    fn remember_skipped(&mut self, text: &[u8]) {
        let skipped = std::str::from_utf8(text).ok().and_then(SkippedMessage::parse);
        self.skipped.extend(skipped);
        if self.skipped.len() > MAX_REPLY_TARGETS {
            self.skipped.pop_front();
        }
    }

    async fn import_line(&mut self, path: &Path, number: u64, line: ImportLine) -> anyhow::Result<()> {
        let (outcome, count) = match &line {
            ImportLine::User { user, name, picture } => {
                let outcome = self.importer.import_user(user, name.as_deref(), picture.as_deref()).await?;
                (outcome, &mut self.totals.users)
            }
            ImportLine::Room { room, has_id } => {
                (self.importer.import_room(room, *has_id).await?, &mut self.totals.rooms)
            }
            ImportLine::Member { room, user, role } => {
                (self.importer.import_member(room, user, role).await?, &mut self.totals.members)
            }
            ImportLine::Read { room, user, upto_ms, at_ms } => {
                let outcome = self.importer.import_read_mark(room, user, [*upto_ms, *at_ms]).await?;
                (outcome, &mut self.totals.read_marks)
            }
            ImportLine::Message(_) => return Ok(()),
        };
        match outcome {
            ImportOutcome::Done => *count += 1,
            ImportOutcome::Exists => self.totals.existing += 1,
            ImportOutcome::Refused(refusal) => self.refuse(path, number, &refusal)?,
        }
        Ok(())
    }

    async fn import_batch(&mut self, path: &Path, batch: &mut MessageBatch) -> anyhow::Result<()> {
        let (numbers, messages): (Vec<u64>, Vec<ImportMessage>) = std::mem::take(batch).into_iter().unzip();
        if messages.is_empty() {
            return Ok(());
        }
        // Skipped messages are looked up only here, because a run that skips every line needs no look-up.
        self.importer.look_up_skipped(std::mem::take(&mut self.skipped).make_contiguous()).await?;
        let ImportedBatch { outcomes, changes } = self.importer.import_messages(&messages).await?;
        self.totals.changes += changes;
        for (number, outcome) in numbers.into_iter().zip(outcomes) {
            match outcome {
                ImportOutcome::Done => self.totals.messages += 1,
                ImportOutcome::Exists => self.totals.existing += 1,
                ImportOutcome::Refused(refusal) => self.refuse(path, number, &refusal)?,
            }
        }
        self.limit_rate().await;
        Ok(())
    }

    /// Sleeps until the average rate of imported messages is at most the limit `--rate`.
    async fn limit_rate(&self) {
        if self.arguments.rate > 0 {
            let due = Duration::from_secs_f64(self.totals.messages as f64 / self.arguments.rate as f64);
            tokio::time::sleep(due.saturating_sub(self.begun.elapsed())).await;
        }
    }

    fn refuse(&mut self, path: &Path, number: u64, refusal: &LineRefusal) -> anyhow::Result<()> {
        self.totals.refused += 1;
        self.report(path, number, refusal)
    }

    /// Prints what is not imported; with `--strict` the import ends.
    fn report(&self, path: &Path, number: u64, refusal: &LineRefusal) -> anyhow::Result<()> {
        let refusal = format!("{}:{number}: {refusal}", path.display());
        if self.arguments.strict {
            bail!(refusal);
        }
        self.bar.suspend(|| eprintln!("{refusal}"));
        Ok(())
    }

    fn show_progress(&mut self) {
        if self.printed_at.elapsed() >= PROGRESS_INTERVAL {
            self.printed_at = Instant::now();
            let summary = self.summary();
            if self.bar.is_hidden() {
                println!("{summary}");
            } else {
                self.bar.set_message(summary);
            }
        }
    }

    fn summary(&self) -> String {
        let ImportTotals {
            messages,
            users,
            rooms,
            members,
            changes,
            read_marks,
            existing,
            refused,
            left_out,
        } = &self.totals;
        let left_out = match left_out {
            0 => String::new(),
            left_out => format!(", {left_out} reactions left out"),
        };
        format!(
            "{messages} messages, {rooms} rooms, {members} members, {users} users, {changes} changes, \
             {read_marks} read marks imported; {existing} were there already; {refused} lines refused{left_out}"
        )
    }
}
