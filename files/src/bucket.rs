//! Stores the contents of files in a bucket of S3, or of another server that speaks the S3 protocol. Clients send and
//! fetch the bytes at presigned URLs. Objects have the same names as the content files in a folder, so that a folder
//! can be copied into a bucket.
//!
//! Every upload is a multipart upload, even with a single part: the object appears only when this service completes
//! the upload, and no presigned URL can change it afterwards. A plain `PUT` could be repeated after the check.

mod http;
pub mod parts;
mod presign;
mod uploads;

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{Attribute, Attributes, Error, ObjectStore, ObjectStoreExt, PutOptions, RetryConfig};
use reqwest::Client;
use tidings_shared::http_client::innermost_cause;
use tidings_shared::ids::FileId;
use url::Url;

use self::presign::Presigner;
use crate::content_name::{Derived, MARKER, object_name};
use crate::inspection::{Inspection, Inspector};
use crate::media::UNKNOWN;

/// How long a failing request is repeated.
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_RETRIES: usize = 3;

/// A bucket, and the prefix of the names of objects in it.
#[derive(Clone)]
pub struct Bucket {
    store: Arc<AmazonS3>,
    presigner: Arc<Presigner>,
    http: Client,
    prefix: Path,
}

impl Bucket {
    /// Opens the bucket in a URL such as `s3://bucket/prefix`. Endpoint, region and credentials come from the `AWS_*`
    /// variables of the environment, or from the platform. Sends no request.
    ///
    /// # Errors
    /// The rule that the URL or a variable breaks.
    pub fn new(url: &Url) -> Result<Self, String> {
        let name = url
            .host_str()
            .filter(|name| url.scheme() == "s3" && !name.is_empty())
            .ok_or("must begin with s3://BUCKET")?;
        let is_plain = url.query().is_none() && url.fragment().is_none() && url.port().is_none();
        if !is_plain || !url.username().is_empty() {
            return Err("must be s3://BUCKET or s3://BUCKET/PREFIX".to_owned());
        }
        let prefix = Path::from_url_path(url.path()).map_err(text)?;
        let builder = AmazonS3Builder::from_env().with_bucket_name(name);
        let setting = |key| builder.get_config_value(&key).filter(|value| !value.is_empty());
        let endpoint =
            setting(AmazonS3ConfigKey::S3Endpoint).or_else(|| setting(AmazonS3ConfigKey::Endpoint));
        let region = setting(AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".to_owned());
        let presigner = Presigner::new(endpoint.as_deref(), name, &region)?;
        let http = http::client().map_err(innermost_cause)?;
        let retry =
            RetryConfig { max_retries: MAX_RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
        let store = builder
            .with_region(region)
            .with_virtual_hosted_style_request(presigner.is_virtual_hosted)
            .with_http_connector(http::Connector(http.clone()))
            .with_retry(retry)
            .build()
            .map_err(text)?;
        Ok(Self { store: Arc::new(store), presigner: Arc::new(presigner), http, prefix })
    }

    fn key(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn content_key(&self, file: &FileId) -> Path {
        self.key(&object_name(file))
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

    /// The whole content of a file. None if there is none.
    ///
    /// # Errors
    /// When the content has more than `max_bytes`, or the bucket fails.
    pub async fn read_all(&self, file: &FileId, max_bytes: u64) -> io::Result<Option<Bytes>> {
        let Some(object) = self.found(self.store.get(&self.content_key(file)).await).await? else {
            return Ok(None);
        };
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

    /// Reads the whole content in small pieces. None if there is none.
    pub async fn inspect(&self, file: &FileId) -> io::Result<Option<Inspection>> {
        let Some(object) = self.found(self.store.get(&self.content_key(file)).await).await? else {
            return Ok(None);
        };
        let (mut stream, mut inspector) = (object.into_stream(), Inspector::new());
        while let Some(piece) = stream.try_next().await.map_err(failure)? {
            inspector.update(&piece);
        }
        Ok(Some(inspector.finish()))
    }

    /// The URL at which a client fetches the content of a file, or what is derived from it, for `within`, with these
    /// headers of the answer.
    pub async fn content_url(
        &self,
        file: &FileId,
        derived: Option<Derived>,
        headers: &[(&'static str, &str)],
        within: Duration,
    ) -> io::Result<Url> {
        let key = derived.map_or_else(|| self.content_key(file), |derived| self.derived_key(file, derived));
        self.presigner.content(&self.store, &key, headers, within).await.map_err(failure)
    }
}

/// The stored headers of all objects: a download as unknown bytes. They apply when an object is read without the
/// headers of a presigned URL, for example in a bucket that is public by mistake.
fn as_attachment() -> Attributes {
    Attributes::from_iter([(Attribute::ContentType, UNKNOWN), (Attribute::ContentDisposition, "attachment")])
}

fn failure(error: Error) -> io::Error {
    io::Error::other(error)
}

fn text(error: impl Display) -> String {
    error.to_string()
}
