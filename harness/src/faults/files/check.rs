//! The check at the end of a run: downloads every file that a stored message shows, and compares it with what was
//! uploaded.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep, timeout};

use super::sharer::SharedFile;
use super::upload::{describe, is_temporary};
use crate::files::{FileUser, Reply, sha256_hex};
use crate::history::{Rule, StoredLog, Violation};
use crate::postgres::Database;

/// How long the requests for a file are repeated, and how long one answer may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const RETRY_PAUSE: Duration = Duration::from_millis(200);
const FETCHES_AT_ONCE: usize = 8;
/// Limit of the violations that are reported.
const MAX_VIOLATIONS: usize = 20;

/// What the check at the end found.
#[derive(Debug, Default)]
pub(in crate::faults) struct SharedCounts {
    /// Files that stored messages show. Each was downloaded.
    pub shown: u64,
    /// Complete files that no stored message shows.
    pub unshown: u64,
}

/// What the check uses.
pub(super) struct FileCheck {
    /// Members of all rooms, at each replica.
    pub users: BTreeMap<String, Vec<FileUser>>,
    /// The complete files by their ids.
    pub files: BTreeMap<String, SharedFile>,
    /// Guarantees that were broken during the run.
    pub broken: Vec<String>,
}

impl FileCheck {
    pub async fn run(
        &self,
        database: &Database,
        stored: &BTreeMap<String, StoredLog>,
    ) -> Result<(SharedCounts, Vec<Violation>)> {
        let violation = |room: &str, seq, what| Violation {
            rule: Rule::File,
            room: room.to_owned(),
            seq,
            user: String::new(),
            what,
        };
        let mut violations: Vec<Violation> =
            self.broken.iter().map(|what| violation("", 0, what.clone())).collect();
        let shown = read_shown(database).await?;
        for (id, (room, seq)) in &shown {
            if !self.files.contains_key(id) {
                violations.push(violation(room, *seq, format!("a message shows the unknown file {id}")));
            }
        }
        let checks = self.files.iter().map(|(id, file)| {
            let seq = shown.get(id).map(|(_, seq)| *seq);
            async move {
                let checked = match (seq, stored.get(&file.room)) {
                    (Some(seq), Some(log)) => self.check_shown(id, file, seq, log).await,
                    (None, Some(log)) => self.check_unshown(id, file, log).await,
                    (_, None) => Err(anyhow!("its room is not stored")),
                };
                let broken = |error| violation(&file.room, seq.unwrap_or(0), format!("file {id}: {error:#}"));
                checked.err().map(broken)
            }
        });
        let found = stream::iter(checks).buffer_unordered(FETCHES_AT_ONCE).collect::<Vec<_>>().await;
        violations.extend(found.into_iter().flatten());
        violations.truncate(MAX_VIOLATIONS);
        let count = self.files.keys().filter(|id| shown.contains_key(*id)).count() as u64;
        Ok((SharedCounts { shown: count, unshown: self.files.len() as u64 - count }, violations))
    }

    /// Downloads a file that the message at `seq` shows, as a user who sees this message.
    async fn check_shown(&self, id: &str, file: &SharedFile, seq: u64, log: &StoredLog) -> Result<()> {
        let message = log.events.get(&seq).and_then(|events| events.first()).context("no message")?;
        let reader = self.users.keys().find(|user| message.is_visible_to(user)).context("no reader")?;
        let reply = retry(&self.users[reader], |user| download(user, &file.room, seq, id)).await?;
        ensure!(reply.status == 200, "{}", describe(&reply));
        ensure!(reply.bytes.len() == file.size, "{} of {} bytes", reply.bytes.len(), file.size);
        ensure!(sha256_hex(&reply.bytes) == file.sha256, "its bytes differ");
        Ok(())
    }

    /// Checks a file that no stored message shows, because its message was not sent or is lost. The message that is
    /// stored at its seq must not lead to the file.
    async fn check_unshown(&self, id: &str, file: &SharedFile, log: &StoredLog) -> Result<()> {
        let Some(sent) = file.sent.as_ref().filter(|sent| sent.seq <= log.head) else { return Ok(()) };
        let mut stored = log.events.get(&sent.seq).into_iter().flatten();
        ensure!(stored.all(|stored| stored.event.id != sent.id), "its message is stored without the file");
        let users = self.users.values().next().context("no user")?;
        let reply = retry(users, |user| user.address(&file.room, sent.seq, id)).await?;
        ensure!(reply.status == 404, "another message shows it: {}", describe(&reply));
        Ok(())
    }
}

/// Downloads a file of a message, or returns the refusal.
async fn download(user: &FileUser, room: &str, seq: u64, file: &str) -> Result<Reply> {
    let address = user.address(room, seq, file).await?;
    if address.status != 200 {
        return Ok(address);
    }
    user.get(address.json()["url"].as_str().context("no address")?).await
}

/// The files that stored messages show, by their ids, with room and seq.
async fn read_shown(database: &Database) -> Result<BTreeMap<String, (String, u64)>> {
    let rows = "SELECT attachments->0->>'file', room_id, seq FROM messages \
        WHERE NOT deleted AND attachments->0->>'file' IS NOT NULL";
    let mut shown = BTreeMap::new();
    for row in database.query(rows).await? {
        let [file, room, seq] = row.as_slice() else { bail!("a row of another form: {row:?}") };
        shown.insert(file.clone(), (room.clone(), seq.parse().context("a seq")?));
    }
    Ok(shown)
}

/// Repeats a request at the replicas in turn until one gives a final answer.
async fn retry<'a, F: Future<Output = Result<Reply>>>(
    users: &'a [FileUser],
    ask: impl Fn(&'a FileUser) -> F,
) -> Result<Reply> {
    let end = Instant::now() + FETCH_TIMEOUT;
    for user in users.iter().cycle() {
        match timeout(ANSWER_TIMEOUT, ask(user)).await.map_err(anyhow::Error::from).and_then(|reply| reply) {
            Ok(reply) if !is_temporary(reply.status) => return Ok(reply),
            Ok(reply) if Instant::now() > end => bail!("no answer but {}", describe(&reply)),
            Err(error) if Instant::now() > end => return Err(error),
            _ => sleep(RETRY_PAUSE).await,
        }
    }
    bail!("there is no replica")
}
