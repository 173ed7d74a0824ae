//! The multipart uploads of a bucket.

use std::io;
use std::time::Duration;

use object_store::PutMultipartOptions;
use object_store::multipart::{MultipartStore, PartId};
use reqwest::StatusCode;
use rusty_s3::actions::{ListParts, PartsContent};
use tidings_shared::http_client::{innermost_cause, read_body};
use tidings_shared::ids::FileId;
use url::Url;

use super::parts::{Part, ReceivedPart};
use super::{Bucket, as_attachment, failure};

/// Longest list of the parts of an upload. An entry has about 250 bytes.
const MAX_LIST_BYTES: usize = 2 << 20;

impl Bucket {
    /// Begins the upload of a file. Returns its id in the bucket.
    pub async fn begin_upload(&self, file: &FileId) -> io::Result<String> {
        let options = PutMultipartOptions { attributes: as_attachment(), ..PutMultipartOptions::default() };
        self.store.create_multipart_opts(&self.content_key(file), options).await.map_err(failure)
    }

    /// Ends an upload, and removes its parts. Does nothing if it has ended.
    pub async fn abort_upload(&self, file: &FileId, upload: &str) -> io::Result<()> {
        self.found(self.store.abort_multipart(&self.content_key(file), &upload.to_owned()).await)
            .await
            .map(drop)
    }

    /// The parts of an upload that the bucket has. None if there is no such upload: it was completed or aborted.
    pub async fn received_parts(&self, file: &FileId, upload: &str) -> io::Result<Option<Vec<ReceivedPart>>> {
        let url =
            self.presigner.list_parts(&self.store, &self.content_key(file), upload).await.map_err(failure)?;
        let answer =
            self.http.get(url).send().await.map_err(|error| io::Error::other(innermost_cause(error)))?;
        let status = answer.status();
        if status == StatusCode::NOT_FOUND {
            return self.require_marker().await.map(|()| None);
        }
        let body = read_body(answer, MAX_LIST_BYTES).await.map_err(io::Error::other)?;
        if status != StatusCode::OK {
            return Err(io::Error::other(format!("the list of parts was answered with {status}")));
        }
        let list = ListParts::parse_response(std::str::from_utf8(&body).map_err(io::Error::other)?);
        let list =
            list.map_err(|error| io::Error::other(format!("the list of parts is not readable: {error}")))?;
        let part =
            |part: PartsContent| ReceivedPart { number: part.number, size: part.size, etag: part.etag };
        Ok(Some(list.parts.into_iter().map(part).collect()))
    }

    /// Completes an upload: the bucket makes the object from `parts`, which must be all parts of the file with their
    /// listed etags. The bucket refuses a part that was replaced meanwhile. Does nothing if the upload was completed or
    /// aborted before.
    pub async fn complete_upload(
        &self,
        file: &FileId,
        upload: &str,
        parts: Vec<(Part, String)>,
    ) -> io::Result<()> {
        let parts = parts.into_iter().map(|(_, etag)| PartId { content_id: etag }).collect();
        let (key, upload) = (self.content_key(file), upload.to_owned());
        self.found(self.store.complete_multipart(&key, &upload, parts).await).await.map(drop)
    }

    /// The URL at which a client sends a part of an upload, valid for `within`. It accepts only a body of the part's
    /// length.
    pub async fn part_url(
        &self,
        file: &FileId,
        upload: &str,
        part: Part,
        within: Duration,
    ) -> io::Result<Url> {
        self.presigner.part(&self.store, &self.content_key(file), upload, part, within).await.map_err(failure)
    }
}
