//! A user who shares files: uploads one after the other, and sends a message with each.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;
use tokio::sync::watch;
use tokio::time::timeout;

use super::content::Content;
use super::image::ShownImage;
use super::upload::Uploader;
use crate::faults::load::LoadUser;
use crate::files::sha256_hex;
use crate::listener::{SendOptions, Sent, lock};

/// The pause between two files of a user.
const SHARE_PAUSE_MS: Range<u64> = 400..1600;

/// A complete file, and its message.
#[derive(Debug, Clone)]
pub(super) struct SharedFile {
    pub room: String,
    /// Size and checksum of what readers must get.
    pub size: usize,
    pub sha256: String,
    /// `None` if it is no image.
    pub image: Option<ShownImage>,
    /// The answer to the message; `None` if no message was sent.
    pub sent: Option<Sent>,
}

/// What the users did so far.
#[derive(Default)]
pub(super) struct Shared {
    /// The complete files by their ids.
    pub files: BTreeMap<String, SharedFile>,
    /// Guarantees of files that were broken.
    pub broken: Vec<String>,
    /// Errors of the messages.
    pub client_errors: Vec<String>,
    pub internal_errors: Vec<String>,
}

/// A user who shares files.
pub(super) struct Sharer {
    pub person: Arc<LoadUser>,
    pub others: Vec<String>,
    pub rooms: Vec<String>,
    pub shared: Arc<Mutex<Shared>>,
    /// Whether the files are in a bucket.
    pub with_bucket: bool,
}

impl Sharer {
    /// Shares one file after the other until `stop` is set.
    pub async fn share_files(self, mut uploader: Uploader, mut stop: watch::Receiver<bool>) {
        loop {
            let pause = Duration::from_millis(uploader.rng.random_range(SHARE_PAUSE_MS));
            if timeout(pause, stop.wait_for(|stopped| *stopped)).await.is_ok() {
                return;
            }
            if let Err(error) = self.share_file(&mut uploader).await {
                lock(&self.shared).broken.push(format!("{}: {error:#}", self.person.name));
            }
            lock(&self.shared).internal_errors.append(&mut uploader.internal_errors);
        }
    }

    /// Uploads a file, and sends it in a message. Some uploads are abandoned, and some files are not sent.
    async fn share_file(&self, uploader: &mut Uploader) -> Result<()> {
        let rng = &mut uploader.rng;
        let room = &self.rooms[rng.random_range(0..self.rooms.len())];
        let content = Content::random(rng, self.with_bucket)?;
        let is_sent = !rng.random_ratio(1, 12);
        let stop_at = rng.random_ratio(1, 12).then(|| rng.random_range(0..content.upload.len() as u64));
        let mut options = SendOptions { accepted: rng.random_ratio(1, 4), ..SendOptions::default() };
        if rng.random_ratio(1, 6) {
            options.visible_to = vec![self.others[rng.random_range(0..self.others.len())].clone()];
        }
        let Some(file) = uploader.upload(room, &content, stop_at).await? else { return Ok(()) };
        let id = file["id"].as_str().context("no id")?.to_owned();
        let (size, sha256) = (content.download().len(), sha256_hex(content.download()));
        let image = content.image().cloned();
        let shared = SharedFile { room: room.clone(), size, sha256, image, sent: None };
        lock(&self.shared).files.insert(id.clone(), shared);
        if let Err(error) = content.check_object(&file) {
            lock(&self.shared).broken.push(format!("{}: {error:#}", self.person.name));
        }
        if !is_sent {
            return Ok(());
        }
        options.attachments = vec![file["attachment"].clone()];
        let text = format!("{} shares {id} in {room}", self.person.name);
        let sent = self.person.listener.send_as(room, &text, options).await;
        let mut shared = lock(&self.shared);
        match sent {
            Ok(sent) => {
                shared.files.entry(id).and_modify(|file| file.sent = Some(sent));
            }
            Err(why) => shared.client_errors.push(format!("{} could not share: {why}", self.person.name)),
        }
        Ok(())
    }
}
