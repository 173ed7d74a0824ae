//! Stores the contents of files in a bucket of S3 or an S3-compatible server, of Azure Blob Storage, or of Google Cloud
//! Storage. Objects have the same names as the content files in a folder, so that a folder can be copied into a
//! bucket. With S3 clients send and fetch the bytes at presigned URLs; with the others the bytes pass through this
//! service ([`Service`]).
//!
//! Every upload is a multipart upload, even with a single part: the object appears only when this service completes
//! the upload. A plain `PUT` could be repeated after the check.

mod http;
pub mod parts;
mod presign;
mod service;
mod uploads;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, GetResult, ObjectStore, ObjectStoreExt, PutOptions,
};
use tidings_shared::ids::FileId;
use url::Url;

pub use self::presign::Presigner;
use self::service::{Service, Store};
use crate::content_name::{Derived, MARKER, object_name};
use crate::inspection::{Inspection, Inspector};
use crate::media::UNKNOWN;

/// A bucket, and the prefix of the names of objects in it.
#[derive(Clone)]
pub struct Bucket {
    store: Arc<dyn Store>,
    service: Service,
    prefix: Path,
}

impl Bucket {
    /// Opens the bucket in a URL such as `s3://bucket/prefix`. Endpoint, region and credentials come from the variables
    /// of its service, or from the platform. Sends no request.
    ///
    /// # Errors
    /// The rule that the URL or a variable breaks.
    pub fn new(url: &Url) -> Result<Self, String> {
        let (store, service, prefix) = service::open(url)?;
        Ok(Self { store, service, prefix })
    }

    /// Size limit of a file in this bucket, in bytes.
    pub fn max_file_bytes(&self) -> u64 {
        self.service.max_file_bytes()
    }

    /// Signs the URLs at which clients reach the bucket. None if the bytes pass through this service.
    pub fn presigner(&self) -> Option<&Presigner> {
        match &self.service {
            Service::S3(presigner) => Some(presigner),
            Service::Azure | Service::Google => None,
        }
    }

    fn key(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn content_key(&self, file: &FileId) -> Path {
        self.key(&object_name(file))
    }

    fn object_key(&self, file: &FileId, derived: Option<Derived>) -> Path {
        derived.map_or_else(|| self.content_key(file), |derived| self.derived_key(file, derived))
    }

    fn derived_key(&self, file: &FileId, derived: Derived) -> Path {
        self.key(&format!("{}.{}", object_name(file), derived.suffix()))
    }

    /// Whether the marker is there.
    pub async fn is_marked(&self) -> io::Result<bool> {
        match self.store.head(&self.key(MARKER)).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failure(error)),
        }
    }

    /// Makes the marker of a new bucket.
    pub async fn mark(&self) -> io::Result<()> {
        self.store.put(&self.key(MARKER), Bytes::new().into()).await.map(drop).map_err(failure)
    }

    /// Maps "not found" to None, but only in a bucket with the marker. Another bucket, for example after a wrong
    /// change of settings, proves nothing about the file.
    async fn found<T>(&self, result: object_store::Result<T>) -> io::Result<Option<T>> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => self.require_marker().await.map(|()| None),
            Err(error) => Err(failure(error)),
        }
    }

    async fn require_marker(&self) -> io::Result<()> {
        if self.is_marked().await? {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "the bucket has no object `{}`: is this the right bucket?",
            self.key(MARKER)
        )))
    }

    /// The size of the content of a file. None if there is no object, for example before the upload is completed.
    pub async fn size(&self, file: &FileId) -> io::Result<Option<u64>> {
        Ok(self.found(self.store.head(&self.content_key(file)).await).await?.map(|object| object.size))
    }

    /// Opens the content of a file, or what is derived from it. None if the object does not exist, or has another etag than
    /// `options` requires.
    pub async fn open(
        &self,
        file: &FileId,
        derived: Option<Derived>,
        options: GetOptions,
    ) -> io::Result<Option<GetResult>> {
        match self.store.get_opts(&self.object_key(file, derived), options).await {
            Err(Error::Precondition { .. }) => Ok(None),
            result => self.found(result).await,
        }
    }

    /// Reads the whole content of a file. Returns None if there is no object, or if its etag is another one.
    ///
    /// # Errors
    /// When the content has more than `max_bytes`, or the bucket fails.
    pub async fn read_all(
        &self,
        file: &FileId,
        etag: Option<&str>,
        max_bytes: u64,
    ) -> io::Result<Option<Bytes>> {
        let options = GetOptions::new().with_if_match(etag);
        let Some(object) = self.open(file, None, options).await? else { return Ok(None) };
        if object.meta.size > max_bytes {
            return Err(io::Error::other(format!("the object has more than {max_bytes} bytes")));
        }
        object.bytes().await.map(Some).map_err(failure)
    }

    /// Stores something that is derived from the content of a file.
    pub async fn put(&self, file: &FileId, derived: Derived, bytes: Bytes) -> io::Result<()> {
        let options = PutOptions { attributes: as_attachment(), ..PutOptions::default() };
        let key = self.derived_key(file, derived);
        self.store.put_opts(&key, bytes.into(), options).await.map(drop).map_err(failure)
    }

    /// Removes the uploaded object of a file that is served from its [`Derived::Clean`] object.
    pub async fn remove_original(&self, file: &FileId) -> io::Result<()> {
        self.found(self.store.delete(&self.content_key(file)).await).await.map(drop)
    }

    /// Removes the content of a file, and what is derived from it. Does nothing if there is none.
    pub async fn remove(&self, file: &FileId) -> io::Result<()> {
        for derived in Derived::ALL {
            self.found(self.store.delete(&self.derived_key(file, derived)).await).await?;
        }
        self.remove_original(file).await
    }

    /// Inspects the content in small pieces. Returns the result and the etag, or None if there is no object.
    pub async fn inspect(&self, file: &FileId) -> io::Result<Option<(Inspection, Option<String>)>> {
        let Some(object) = self.open(file, None, GetOptions::new()).await? else { return Ok(None) };
        let etag = object.meta.e_tag.clone();
        let (mut stream, mut inspector) = (object.into_stream(), Inspector::new());
        while let Some(piece) = stream.try_next().await.map_err(failure)? {
            inspector.update(&piece);
        }
        Ok(Some((inspector.finish(), etag)))
    }

    /// The presigned URL at which a client fetches the content of a file, or what is derived from it, for `within`, with
    /// these headers of the answer.
    pub async fn content_url(
        &self,
        presigner: &Presigner,
        file: &FileId,
        derived: Option<Derived>,
        headers: &[(&'static str, &str)],
        within: Duration,
    ) -> io::Result<Url> {
        presigner.content(&self.object_key(file, derived), headers, within).await.map_err(failure)
    }
}

/// The stored headers of objects, except uploads to Azure: a download as unknown bytes. They apply when an object is read
/// without the headers of a presigned URL, for example in a bucket that is public by mistake.
fn as_attachment() -> Attributes {
    Attributes::from_iter([(Attribute::ContentType, UNKNOWN), (Attribute::ContentDisposition, "attachment")])
}

fn failure(error: Error) -> io::Error {
    io::Error::other(error)
}
