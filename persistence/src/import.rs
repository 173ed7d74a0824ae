//! `tidings-persistence import`: rooms, members and messages of another system, as lines of JSON, through the log, so
//! that they are ordered, stored and told to whoever is online like any other.
//! Promises bounded memory, that each line is imported once however often it is repeated, and that a line which cannot
//! be imported is told with its number.

mod carrying;
mod checkpoint;
pub mod line;
mod places;

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, builder::RangedU64ValueParser};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::fs::File;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::jobs::Reach;
use carrying::{Carrier, Outcome};
use checkpoint::Checkpoint;
use line::{Line, Message, Passed};
use places::PLACES;

/// Messages that are carried at one time.
const MESSAGES_AT_ONCE: usize = 500;
/// Or fewer, when their lines are long.
const BYTES_AT_ONCE: u64 = 4 * 1024 * 1024;
/// Longest line: as long as the longest body that a room may be created with.
const MAX_LINE_BYTES: u64 = 256 * 1024;
/// Where there is no terminal for a bar.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// What `import` takes.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Files with one JSON object per line, in the order in which they are to be read
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Messages a second at most; 0: as fast as they are stored
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// Stop at the first line that cannot be imported
    #[arg(long)]
    pub strict: bool,
    /// Remember here how far it has come, and go on there the next time
    #[arg(long)]
    pub checkpoint: Option<PathBuf>,
    /// Longest message text, Unicode scalar values.
    #[arg(long, env = "TIDINGS_MAX_MESSAGE_CHARS", default_value_t = 1000, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub max_message_chars: usize,
    #[command(flatten)]
    pub reach: Reach,
}

/// What it came to.
#[derive(Debug, Default)]
struct Sums {
    messages: u64,
    users: u64,
    rooms: u64,
    members: u64,
    known: u64,
    refused: u64,
}

/// Runs to the end of all files.
///
/// # Errors
/// Why it stopped before.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut bytes = 0;
    for file in &arguments.files {
        bytes += std::fs::metadata(file).with_context(|| file.display().to_string())?.len();
    }
    let checkpoint = Checkpoint::open(arguments.checkpoint.clone())?;
    let (db, log) = arguments.reach.connect().await?;
    let _subscriber = arguments.reach.follow(&log)?;
    let mut import = Import {
        carrier: Carrier::new(db, log, arguments.max_message_chars),
        bar: bar(bytes),
        begun: Instant::now(),
        told: Instant::now(),
        sums: Sums::default(),
        passed: VecDeque::new(),
        checkpoint,
        arguments,
    };
    for file in import.arguments.files.clone() {
        import.file(&file).await?;
    }
    import.bar.finish_and_clear();
    println!("{}", import.told());
    Ok(())
}

fn bar(bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {elapsed}/{eta} {msg}");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

struct Import {
    carrier: Carrier,
    arguments: Arguments,
    checkpoint: Checkpoint,
    bar: ProgressBar,
    begun: Instant,
    told: Instant,
    sums: Sums,
    /// The last messages before where the checkpoint is, which later ones may answer, until they are looked up.
    passed: VecDeque<Passed>,
}

/// Messages that wait to be carried, each with its line's number.
type Batch = Vec<(u64, Message)>;

impl Import {
    async fn file(&mut self, path: &Path) -> anyhow::Result<()> {
        let file = File::open(path).await.with_context(|| path.display().to_string())?;
        let mut reader = BufReader::new(file);
        let done = self.checkpoint.lines(path);
        let (mut number, mut text, mut batch, mut bytes) = (0, Vec::new(), Batch::new(), 0);
        while let Some(length) = next_line(&mut reader, &mut text).await? {
            number += 1;
            bytes += length;
            self.bar.inc(length);
            if number <= done {
                self.pass(&text);
                continue;
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let line = match std::str::from_utf8(&text) {
                _ if length > MAX_LINE_BYTES => Err(format!("the line is over {MAX_LINE_BYTES} bytes")),
                Ok(text) => Line::parse(text, self.arguments.max_message_chars),
                Err(_) => Err("the line is not UTF-8".to_owned()),
            };
            match line {
                Ok(Line::Message(message)) => batch.push((number, *message)),
                Ok(line) => {
                    // It may be about what stands before it.
                    self.carry(path, &mut batch).await?;
                    self.carry_one(path, number, line).await?;
                }
                Err(reason) => self.refuse(path, number, &reason)?,
            }
            if batch.len() >= MESSAGES_AT_ONCE || bytes >= BYTES_AT_ONCE {
                bytes = 0;
                self.carry(path, &mut batch).await?;
                self.checkpoint.reached(path, number)?;
            }
            self.tell();
        }
        self.carry(path, &mut batch).await?;
        self.checkpoint.reached(path, number)
    }

    /// Keeps what is needed of a line that was imported before.
    fn pass(&mut self, text: &[u8]) {
        let passed = std::str::from_utf8(text).ok().and_then(Passed::parse);
        self.passed.extend(passed);
        if self.passed.len() > PLACES {
            self.passed.pop_front();
        }
    }

    async fn carry_one(&mut self, path: &Path, number: u64, line: Line) -> anyhow::Result<()> {
        let (outcome, sum) = match &line {
            Line::User { user, name, picture } => {
                let outcome = self.carrier.user(user, name.as_deref(), picture.as_deref()).await?;
                (outcome, &mut self.sums.users)
            }
            Line::Room { room, named } => (self.carrier.room(room, *named).await?, &mut self.sums.rooms),
            Line::Member { room, user, role } => {
                (self.carrier.member(room, user, role).await?, &mut self.sums.members)
            }
            Line::Message(_) => return Ok(()),
        };
        match outcome {
            Outcome::Done => *sum += 1,
            Outcome::Known => self.sums.known += 1,
            Outcome::Refused(reason) => self.refuse(path, number, &reason)?,
        }
        Ok(())
    }

    async fn carry(&mut self, path: &Path, batch: &mut Batch) -> anyhow::Result<()> {
        let (numbers, messages): (Vec<u64>, Vec<Message>) = std::mem::take(batch).into_iter().unzip();
        if messages.is_empty() {
            return Ok(());
        }
        // Only now: most runs that pass everything have nothing left that could answer.
        self.carrier.recall(std::mem::take(&mut self.passed).make_contiguous()).await?;
        let outcomes = self.carrier.messages(&messages).await?;
        for (number, outcome) in numbers.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Done => self.sums.messages += 1,
                Outcome::Known => self.sums.known += 1,
                Outcome::Refused(reason) => self.refuse(path, number, &reason)?,
            }
        }
        self.hold_back().await;
        Ok(())
    }

    /// Keeps to the rate in the long run.
    async fn hold_back(&self) {
        if self.arguments.rate > 0 {
            let due = Duration::from_secs_f64(self.sums.messages as f64 / self.arguments.rate as f64);
            tokio::time::sleep(due.saturating_sub(self.begun.elapsed())).await;
        }
    }

    fn refuse(&mut self, path: &Path, number: u64, reason: &str) -> anyhow::Result<()> {
        self.sums.refused += 1;
        let told = format!("{}:{number}: {reason}", path.display());
        if self.arguments.strict {
            bail!(told);
        }
        self.bar.suspend(|| eprintln!("{told}"));
        Ok(())
    }

    fn tell(&mut self) {
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            let told = self.told();
            if self.bar.is_hidden() {
                println!("{told}");
            } else {
                self.bar.set_message(told);
            }
        }
    }

    fn told(&self) -> String {
        let Sums { messages, users, rooms, members, known, refused } = &self.sums;
        format!(
            "{messages} messages, {rooms} rooms, {members} members, {users} users imported; \
             {known} were there already; {refused} lines refused"
        )
    }
}

/// The next line without its end, and its length with it; None at the end. Of a line that is too long only the
/// beginning is kept.
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
    async fn lines_are_read_one_by_one_and_never_whole_when_too_long() {
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
