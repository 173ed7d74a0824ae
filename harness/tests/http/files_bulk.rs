//! Fifty clients upload a gigabyte in parallel and fetch it again. Meanwhile the service is killed several times, and
//! the clients resume. The memory of the service stays bounded.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::digest::{Context, SHA256};
use futures_util::future::try_join_all;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use reqwest::header::{CONTENT_TYPE, RANGE};
use reqwest::{Method, Response};
use tidings_harness::files::{FileUser, FilesNode, Reply, sha256_hex};
use tidings_harness::memory;

use crate::files_uploads::{id_of, send_file, start_stack, upload_of};

const CLIENTS: usize = 50;
const FILE_BYTES: usize = 20 << 20;
const ALL_BYTES: u64 = (CLIENTS * FILE_BYTES) as u64;
/// The service is killed when it has received, and later sent, this percentage of all bytes.
const KILLS_AT_PERCENT: [u64; 3] = [20, 50, 80];
const DOWNTIME: Duration = Duration::from_millis(300);
/// Limit of the resident memory of the service at any time. A request for each client needs a few hundred KiB.
const MAX_PEAK_BYTES: u64 = 256 << 20;
const RETRY_PAUSE: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(280);

/// The client of one file.
struct BulkClient {
    name: String,
    user: FileUser,
    content: &'static [u8],
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: uploads and fetches a gigabyte"]
async fn gigabyte_of_fifty_clients_survives_kills_in_bounded_memory() -> Result<()> {
    tokio::time::timeout(TIMEOUT, upload_and_fetch()).await.context("not in time")?
}

async fn upload_and_fetch() -> Result<()> {
    let stack = start_stack().await?;
    let node = FilesNode::start(&stack, "files", &[]).await?;
    let clients: Vec<BulkClient> = contents()
        .into_iter()
        .enumerate()
        .map(|(number, content)| {
            let name = format!("client-{number}");
            BulkClient { user: node.user(&stack.token(&name)), name, content }
        })
        .collect();
    let others: Vec<&str> = clients[1..].iter().map(|client| client.name.as_str()).collect();
    let room = stack.http(&clients[0].name).new_room(&others).await?;

    let (resumed, peak, begun) = (AtomicU64::new(0), AtomicU64::new(0), Instant::now());
    let uploads = try_join_all(clients.iter().map(|client| client.upload(&room, &resumed)));
    let kills = kill_at_progress(&node, &peak, || folder_bytes(node.folder()));
    let (files, ()) = tokio::try_join!(uploads, kills)?;
    let uploaded_s = begun.elapsed().as_secs_f64();
    let mut messages = Vec::new();
    for (client, file) in clients.iter().zip(&files) {
        messages.push((send_file(&stack.http(&client.name), &room, file).await?, id_of(file)));
    }

    // Each client fetches the file of another one.
    messages.rotate_left(1);
    let (continued, received, begun) = (AtomicU64::new(0), AtomicU64::new(0), Instant::now());
    let fetches = try_join_all(clients.iter().zip(&messages).map(|(client, (seq, file))| {
        fetch(&client.user, format!("/v1/rooms/{room}/messages/{seq}/files/{file}"), &received, &continued)
    }));
    let kills = kill_at_progress(&node, &peak, || received.load(Ordering::Relaxed));
    let (hashes, ()) = tokio::try_join!(fetches, kills)?;
    let fetched_s = begun.elapsed().as_secs_f64();

    let expected = clients.iter().cycle().skip(1).map(|client| sha256_hex(client.content));
    for (number, (hash, expected)) in hashes.into_iter().zip(expected).enumerate() {
        ensure!(hash == expected, "client {number} fetched other bytes");
    }
    note_peak(&node, &peak)?;
    let (resumed, continued) = (resumed.into_inner(), continued.into_inner());
    let peak = peak.into_inner();
    eprintln!(
        "{ALL_BYTES} bytes: uploaded in {uploaded_s:.1} s with {resumed} resumed uploads, fetched in {fetched_s:.1} s \
         with {continued} continued downloads, at most {:.1} MiB resident",
        peak as f64 / f64::from(1 << 20)
    );
    ensure!(resumed >= 3 && continued >= 3, "{resumed} uploads and {continued} downloads were resumed");
    ensure!(peak < MAX_PEAK_BYTES, "{peak} bytes are resident");
    Ok(())
}

/// The contents of the files: different parts of the same random bytes, so that the test itself needs little memory.
fn contents() -> Vec<&'static [u8]> {
    const SHIFT: usize = 4096;
    let mut bytes = vec![0; FILE_BYTES + CLIENTS * SHIFT];
    StdRng::seed_from_u64(1).fill_bytes(&mut bytes);
    let bytes: &'static [u8] = bytes.leak();
    (0..CLIENTS).map(|number| &bytes[number * SHIFT..][..FILE_BYTES]).collect()
}

/// Kills the service and starts it again each time the progress has reached the next percentage of all bytes.
async fn kill_at_progress(node: &FilesNode, peak: &AtomicU64, progress: impl Fn() -> u64) -> Result<()> {
    for percent in KILLS_AT_PERCENT {
        while progress() < ALL_BYTES * percent / 100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        note_peak(node, peak)?;
        node.kill();
        tokio::time::sleep(DOWNTIME).await;
        node.restart().await?;
    }
    Ok(())
}

/// Keeps the largest memory that the running process ever had.
fn note_peak(node: &FilesNode, peak: &AtomicU64) -> Result<()> {
    peak.fetch_max(memory::peak(node.pid().context("the service has ended")?)?, Ordering::Relaxed);
    Ok(())
}

/// The size of all files in a folder.
fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => folder_bytes(&entry.path()),
        found => found.map_or(0, |found| found.len()),
    };
    entries.map(size).sum()
}

impl BulkClient {
    /// Uploads the content, and resumes it at the reported offset whenever a request fails. Returns the file object.
    async fn upload(&self, room: &str, resumed: &AtomicU64) -> Result<serde_json::Value> {
        let create = || self.user.create(room, "bulk.bin", "application/octet-stream", self.content);
        let created = retry(create).await?.expect(201).json();
        let upload = upload_of(&created);
        let complete = format!("/v1/rooms/{room}/files/{}/complete", id_of(&created));
        let (mut sent, mut reported) = (false, 0);
        loop {
            let ask = || self.user.send(self.user.request(Method::HEAD, &upload));
            let offset = retry(ask).await?.expect(204).offset().context("no offset")?;
            ensure!(offset >= reported, "the offset went back from {reported} to {offset}");
            reported = offset;
            let rest = &self.content[usize::try_from(offset)?..];
            if rest.is_empty() {
                let reply = retry(|| self.user.post(&complete)).await?;
                // A request of a closed connection may still hold the lock.
                if reply.status == 409 {
                    continue;
                }
                return Ok(reply.expect(200).json());
            }
            if sent && offset > 0 {
                resumed.fetch_add(1, Ordering::Relaxed);
            }
            let request = self.user.request(Method::PATCH, &upload).header("Upload-Offset", offset);
            let request =
                request.header(CONTENT_TYPE, "application/partial-upload").timeout(TIMEOUT).body(rest);
            // The offset tells what came of a request that failed.
            match self.user.send(request).await {
                Ok(reply) if reply.status == 204 => {}
                _ => tokio::time::sleep(RETRY_PAUSE).await,
            }
            sent = true;
        }
    }
}

/// Fetches a file of a message, and continues after the received bytes whenever a connection breaks. Returns the
/// SHA-256.
async fn fetch(user: &FileUser, path: String, all: &AtomicU64, continued: &AtomicU64) -> Result<String> {
    let ask = || user.send(user.request(Method::GET, &path).header("accept", "application/json"));
    let address = retry(ask).await?.expect(200).json();
    let url = address["url"].as_str().context("no address")?;
    let (mut context, mut received) = (Context::new(&SHA256), 0);
    while received < FILE_BYTES {
        let request =
            user.request(Method::GET, url).header(RANGE, format!("bytes={received}-")).timeout(TIMEOUT);
        if let Ok(answer) = request.send().await {
            ensure!([206, 503].contains(&answer.status().as_u16()), "{}", answer.status());
            if answer.status() == 206 {
                continued.fetch_add(u64::from(received > 0), Ordering::Relaxed);
                received += read(answer, &mut context, all).await;
            }
        }
        if received < FILE_BYTES {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
    ensure!(received == FILE_BYTES, "{received} bytes");
    Ok(context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Reads a body until it ends or breaks. Returns the number of bytes.
async fn read(mut answer: Response, context: &mut Context, all: &AtomicU64) -> usize {
    let mut received = 0;
    while let Ok(Some(bytes)) = answer.chunk().await {
        context.update(&bytes);
        received += bytes.len();
        all.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
    received
}

/// Repeats a request while the service is away or has no slot.
async fn retry<F: Future<Output = Result<Reply>>>(ask: impl Fn() -> F) -> Result<Reply> {
    loop {
        match ask().await {
            Ok(reply) if ![429, 503].contains(&reply.status) => return Ok(reply),
            _ => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}
