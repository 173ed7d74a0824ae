//! `tidings-persistence import`: reads users, rooms, members and messages of another system as lines of JSON. Members
//! and messages are appended to the log, so they are ordered, stored and delivered to online users like all others.
//! Memory is bounded. A repeated import imports no line twice. A refused line is reported with its number.

mod checkpoint;
mod importer;
pub mod line;
mod reply_targets;

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, builder::RangedU64ValueParser};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::fs::File;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::connection::ConnectionArgs;
use checkpoint::Checkpoint;
use importer::{ImportOutcome, Importer};
use line::{ImportLine, ImportMessage, SkippedMessage};
use reply_targets::MAX_REPLY_TARGETS;

/// A batch of messages ends when it has this many messages.
const MAX_BATCH_MESSAGES: usize = 500;
/// A batch of messages also ends when its lines reach this size.
const MAX_BATCH_BYTES: u64 = 4 * 1024 * 1024;
/// Longest accepted line. It equals the longest body of a request that creates a room.
const MAX_LINE_BYTES: u64 = 256 * 1024;
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
    existing: u64,
    refused: u64,
}

/// Imports all files. A refused line ends the import only with `--strict`.
pub async fn run(arguments: ImportArgs) -> anyhow::Result<()> {
    let mut bytes = 0;
    for file in &arguments.files {
        bytes += std::fs::metadata(file).with_context(|| file.display().to_string())?.len();
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
            if text.trim_ascii().is_empty() {
                continue;
            }
            let line = match std::str::from_utf8(&text) {
                _ if length > MAX_LINE_BYTES => Err(format!("the line is over {MAX_LINE_BYTES} bytes")),
                Ok(text) => ImportLine::parse(text, self.arguments.max_message_chars),
                Err(_) => Err("the line is not UTF-8".to_owned()),
            };
            match line {
                Ok(ImportLine::Message(message)) => batch.push((number, *message)),
                Ok(line) => {
                    // Keeps the order of the lines by importing the messages before this line first.
                    self.import_batch(path, &mut batch).await?;
                    self.import_line(path, number, line).await?;
                }
                Err(reason) => self.refuse(path, number, &reason)?,
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
            ImportLine::Message(_) => return Ok(()),
        };
        match outcome {
            ImportOutcome::Done => *count += 1,
            ImportOutcome::Exists => self.totals.existing += 1,
            ImportOutcome::Refused(reason) => self.refuse(path, number, &reason)?,
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
        let outcomes = self.importer.import_messages(&messages).await?;
        for (number, outcome) in numbers.into_iter().zip(outcomes) {
            match outcome {
                ImportOutcome::Done => self.totals.messages += 1,
                ImportOutcome::Exists => self.totals.existing += 1,
                ImportOutcome::Refused(reason) => self.refuse(path, number, &reason)?,
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

    fn refuse(&mut self, path: &Path, number: u64, reason: &str) -> anyhow::Result<()> {
        self.totals.refused += 1;
        let refusal = format!("{}:{number}: {reason}", path.display());
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
        let ImportTotals { messages, users, rooms, members, existing, refused } = &self.totals;
        format!(
            "{messages} messages, {rooms} rooms, {members} members, {users} users imported; \
             {existing} were there already; {refused} lines refused"
        )
    }
}

/// Reads the next line into `line`, without its line break. Returns the length with the line break, or None at the end
/// of the file. Keeps only the first `MAX_LINE_BYTES` of a longer line.
async fn next_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> std::io::Result<Option<u64>> {
    line.clear();
    let mut length = (&mut *reader).take(MAX_LINE_BYTES).read_until(b'\n', line).await? as u64;
    if length == 0 {
        return Ok(None);
    }
    while line.last() != Some(&b'\n') {
        let mut rest = Vec::new();
        let more = (&mut *reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut rest).await? as u64;
        length += more;
        if more == 0 || rest.last() == Some(&b'\n') {
            return Ok(Some(length));
        }
    }
    line.pop();
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn line_over_the_limit_is_truncated() {
        let long = "x".repeat(3 * usize::try_from(MAX_LINE_BYTES).unwrap());
        let text = format!("one\n\n{long}\nlast");
        let (mut reader, mut line, mut read) = (BufReader::new(text.as_bytes()), Vec::new(), Vec::new());
        while let Some(length) = next_line(&mut reader, &mut line).await.unwrap() {
            assert!(line.len() as u64 <= MAX_LINE_BYTES);
            read.push((length, String::from_utf8_lossy(&line[..line.len().min(4)]).into_owned()));
        }
        let long = 3 * MAX_LINE_BYTES + 1;
        assert_eq!(read, [(4, "one".into()), (1, String::new()), (long, "xxxx".into()), (4, "last".into())]);
    }
}
