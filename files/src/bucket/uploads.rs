//! The multipart uploads of a bucket.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use object_store::PutMultipartOptions;
use object_store::multipart::PartId;
use reqwest::StatusCode;
use rusty_s3::actions::{ListParts, PartsContent};
use tidings_shared::http_client::read_body;
use tidings_shared::ids::FileId;
use url::Url;
use uuid::Uuid;

use super::parts::{Part, ReceivedPart};
use super::presign::Presigner;
use super::service::Service;
use super::{Bucket, as_attachment, failure};

/// Longest list of the parts of an upload. An entry has about 250 bytes.
const MAX_LIST_BYTES: usize = 2 << 20;

impl Bucket {
    /// Begins the upload of a file. Returns its id in the bucket.
    pub async fn begin_upload(&self, file: &FileId) -> io::Result<String> {
        if let Service::Azure = self.service {
            // Azure has no uploads, only blocks of an object.
            return Ok(Uuid::now_v7().to_string());
        }
        let options = PutMultipartOptions { attributes: as_attachment(), ..PutMultipartOptions::default() };
        self.store.create_multipart_opts(&self.content_key(file), options).await.map_err(failure)
    }

    /// Stores a part of an upload. Returns the identifier of its content. None if there is no such upload.
    pub async fn put_part(
        &self,
        file: &FileId,
        upload: &str,
        part: Part,
        content: Bytes,
    ) -> io::Result<Option<String>> {
        let (key, index) = (self.content_key(file), usize::from(part.number) - 1);
        let stored = self.store.put_part(&key, &upload.to_owned(), index, content.into()).await;
        Ok(self.upload_found(stored).await?.map(|part| part.content_id))
    }

    /// Like [`Bucket::found`], also for the error of an unknown upload, for which `object_store` has no kind.
    async fn upload_found<T>(&self, result: object_store::Result<T>) -> io::Result<Option<T>> {
        match result {
            Err(error) if error.to_string().contains("NoSuchUpload") => Ok(None),
            result => self.found(result).await,
        }
    }

    /// Ends an upload that no row names, and removes its parts. Does nothing if it has ended.
    pub async fn abort_upload(&self, file: &FileId, upload: &str) -> io::Result<()> {
        let aborted = self.store.abort_multipart(&self.content_key(file), &upload.to_owned()).await;
        self.upload_found(aborted).await.map(drop)
    }

    /// Ends the upload of a file that is removed. A completion that still runs fails, or finds other content.
    pub async fn end_upload(&self, file: &FileId, upload: &str) -> io::Result<()> {
        if let Service::Azure = self.service {
            // Azure keeps uncommitted blocks for a week. Committing an empty list drops them.
            return self.complete_upload(file, upload, Vec::new()).await.map(drop);
        }
        self.abort_upload(file, upload).await
    }

    /// The parts of an upload that a bucket of S3 has. None if there is no such upload: it was completed or aborted.
    pub async fn listed_parts(
        &self,
        presigner: &Presigner,
        file: &FileId,
        upload: &str,
    ) -> io::Result<Option<Vec<ReceivedPart>>> {
        let answer = presigner.request_parts(&self.content_key(file), upload).await?;
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
    /// etags. S3 and Google refuse a part that was replaced meanwhile. Returns false if there is no such upload, because it
    /// was completed or aborted; Azure has no uploads, and writes the object again.
    pub async fn complete_upload(
        &self,
        file: &FileId,
        upload: &str,
        parts: Vec<(Part, String)>,
    ) -> io::Result<bool> {
        let parts = parts.into_iter().map(|(_, etag)| PartId { content_id: etag }).collect();
        let (key, upload) = (self.content_key(file), upload.to_owned());
        let completed = self.store.complete_multipart(&key, &upload, parts).await;
        Ok(self.upload_found(completed).await?.is_some())
    }

    /// The presigned URL at which a client sends a part of an upload, valid for `within`. It accepts only a body of the
    /// part's length.
    pub async fn part_url(
        &self,
        presigner: &Presigner,
        file: &FileId,
        upload: &str,
        part: Part,
        within: Duration,
    ) -> io::Result<Url> {
        presigner.part(&self.content_key(file), upload, part, within).await.map_err(failure)
    }
}
