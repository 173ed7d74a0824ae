//! `import --check`: reads the files of an import as the import itself does, and reports the lines that it would refuse.
//! Connects to nothing and writes nothing, so it does not find what depends on stored data.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tidings_shared::ids::RoomId;
use tokio::fs::File;
use tokio::io::BufReader;

use super::line::{CLOCK_TOLERANCE_MS, ImportLine, LineRules};
use super::lines::{next_line, parse_line};
use super::refusal::{LineRefusal, RefusalCode};

/// Maximum number of rooms whose last times are remembered, about 100 MB. All are dropped when it would be exceeded.
const MAX_ROOMS: usize = 1_000_000;

/// Checks all files. Fails if a line would be refused.
pub async fn run(files: &[PathBuf], rules: &LineRules) -> anyhow::Result<()> {
    let (mut order, mut accepted, mut refused) = (TimeOrder::default(), 0_u64, 0_u64);
    for path in files {
        let (number_accepted, number_refused) = check_file(path, rules, &mut order).await?;
        accepted += number_accepted;
        refused += number_refused;
    }
    println!("{accepted} lines can be imported; {refused} lines would be refused");
    if refused > 0 {
        bail!("{refused} lines would be refused");
    }
    Ok(())
}

/// Returns the numbers of accepted and refused lines.
async fn check_file(path: &Path, rules: &LineRules, order: &mut TimeOrder) -> anyhow::Result<(u64, u64)> {
    let file = File::open(path).await.with_context(|| path.display().to_string())?;
    let (mut reader, mut text) = (BufReader::new(file), Vec::new());
    let (mut number, mut accepted, mut refused) = (0_u64, 0, 0);
    while let Some(length) = next_line(&mut reader, &mut text).await? {
        number += 1;
        let Some(line) = parse_line(&text, length, rules) else { continue };
        if let Ok(ImportLine::Message(message)) = &line {
            message.left_out.iter().for_each(|refusal| eprintln!("{}:{number}: {refusal}", path.display()));
        }
        match line.and_then(|line| order.check(&line)) {
            Ok(()) => accepted += 1,
            Err(refusal) => {
                refused += 1;
                eprintln!("{}:{number}: {refusal}", path.display());
            }
        }
    }
    Ok((accepted, refused))
}

/// The time of the latest message of each room, ms since 1970.
#[derive(Default)]
struct TimeOrder(HashMap<RoomId, i64>);

impl TimeOrder {
    /// Refuses a message that is earlier than a message before it in its room.
    fn check(&mut self, line: &ImportLine) -> Result<(), LineRefusal> {
        let ImportLine::Message(message) = line else { return Ok(()) };
        let Some(at_ms) = message.at_ms else { return Ok(()) };
        let last_ms = self.0.get(&message.room).copied();
        if last_ms.is_some_and(|last_ms| at_ms < last_ms - CLOCK_TOLERANCE_MS) {
            let reason = format!("an earlier line of the room {} has a later time", message.room);
            return Err(LineRefusal::new(RefusalCode::OutOfOrder, reason));
        }
        if self.0.len() >= MAX_ROOMS {
            self.0.clear();
        }
        self.0.insert(message.room.clone(), last_ms.max(Some(at_ms)).unwrap_or(at_ms));
        Ok(())
    }
}
