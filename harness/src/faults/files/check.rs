//! The check at the end of a run: downloads every file that a stored message shows, and compares it with what was
//! uploaded. Decodes the previews of images.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures_util::{StreamExt, stream};

use super::fetch::{download, retry};
use super::image::{ShownImage, has_position};
use super::sharer::SharedFile;
use super::upload::describe;
use crate::files::{FileUser, sha256_hex};
use crate::history::{Rule, StoredLog, Violation};
use crate::postgres::Database;

const FETCHES_AT_ONCE: usize = 8;
/// Limit of the violations that are reported.
const MAX_VIOLATIONS: usize = 20;

/// What the check at the end found.
#[derive(Debug, Default)]
pub(in crate::faults) struct SharedCounts {
    /// Files that stored messages show. Each was downloaded.
    pub shown: u64,
    /// How many of these are images. The preview of each was decoded.
    pub images: u64,
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
        let mut counts = SharedCounts::default();
        for (id, file) in &self.files {
            let is_shown = shown.contains_key(id);
            *if is_shown { &mut counts.shown } else { &mut counts.unshown } += 1;
            counts.images += u64::from(is_shown && file.image.is_some());
        }
        Ok((counts, violations))
    }

    /// Downloads a file that the message at `seq` shows, as a user who sees this message.
    async fn check_shown(&self, id: &str, file: &SharedFile, seq: u64, log: &StoredLog) -> Result<()> {
        let message = log.events.get(&seq).and_then(|events| events.first()).context("no message")?;
        let reader = self.users.keys().find(|user| message.is_visible_to(user)).context("no reader")?;
        let users = &self.users[reader];
        let reply = retry(users, |user| download(user, &file.room, seq, id)).await?;
        ensure!(reply.status == 200, "{}", describe(&reply));
        ensure!(file.image.is_none() || !has_position(&reply.bytes), "an image tells its position");
        ensure!(reply.bytes.len() == file.size, "{} of {} bytes", reply.bytes.len(), file.size);
        ensure!(sha256_hex(&reply.bytes) == file.sha256, "its bytes differ");
        match &file.image {
            Some(image) => check_preview(users, id, file, image, seq).await.context("its preview"),
            None => Ok(()),
        }
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

/// Fetches the preview of an image of the message at `seq`, and decodes it.
async fn check_preview(
    users: &[FileUser],
    id: &str,
    file: &SharedFile,
    image: &ShownImage,
    seq: u64,
) -> Result<()> {
    let preview = format!("{id}?preview=1");
    let reply = retry(users, |user| download(user, &file.room, seq, &preview)).await?;
    ensure!(reply.status == 200, "{}", describe(&reply));
    // Without a preview, its address leads to the image itself.
    ensure!(sha256_hex(&reply.bytes) != file.sha256, "it is the image itself");
    ensure!(reply.header("content-type") == "image/jpeg", "{:?}", reply.headers);
    image.check_preview(&reply.bytes)
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
