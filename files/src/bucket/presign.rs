//! Presigned URLs. `object_store` has the credentials, which it renews; `rusty_s3` signs, because the signatures of
//! `object_store` leave out the length of a body.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3;
use object_store::path::Path;
use reqwest::{Client, Response};
use rusty_s3::actions::{GetObject, ListParts, UploadPart};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use tidings_shared::http_client::innermost_cause;
use url::Url;

use super::parts::Part;

/// How long the service itself may use a URL.
const OWN_TTL: Duration = Duration::from_secs(60);

/// Signs URLs of a bucket of S3.
pub struct Presigner {
    store: Arc<AmazonS3>,
    bucket: Bucket,
    http: Client,
}

impl Presigner {
    pub fn new(store: Arc<AmazonS3>, bucket: Bucket, http: Client) -> Self {
        Self { store, bucket, http }
    }

    /// The bucket with its endpoint, and whether the host contains the name of the bucket, which then has an origin of its
    /// own.
    /// Without an endpoint the bucket is at AWS. Servers of others often have no names for buckets, so there the bucket
    /// is a part of the path.
    pub fn address(endpoint: Option<&str>, bucket: &str, region: &str) -> Result<(bool, Bucket), String> {
        // The certificates of AWS do not match names with more labels.
        let is_virtual_hosted = endpoint.is_none() && !bucket.contains('.');
        let style = if is_virtual_hosted { UrlStyle::VirtualHost } else { UrlStyle::Path };
        let aws = format!("https://s3.{region}.amazonaws.com");
        let endpoint = Url::parse(endpoint.unwrap_or(&aws)).map_err(|_| "AWS_ENDPOINT_URL is not a URL")?;
        let bucket = Bucket::new(endpoint, style, bucket.to_owned(), region.to_owned())
            .map_err(|error| format!("the endpoint cannot be used: {error}"))?;
        Ok((is_virtual_hosted, bucket))
    }

    /// Requests the list of the received parts of an upload, which `object_store` does not offer.
    pub async fn request_parts(&self, key: &Path, upload: &str) -> io::Result<Response> {
        let credentials = self.credentials().await.map_err(io::Error::other)?;
        let url = ListParts::new(&self.bucket, Some(&credentials), key.as_ref(), upload).sign(OWN_TTL);
        self.http.get(url).send().await.map_err(|error| io::Error::other(innermost_cause(error)))
    }

    pub async fn part(
        &self,
        key: &Path,
        upload: &str,
        part: Part,
        within: Duration,
    ) -> object_store::Result<Url> {
        let credentials = self.credentials().await?;
        let mut action = UploadPart::new(&self.bucket, Some(&credentials), key.as_ref(), part.number, upload);
        // The server refuses a body of another length, so nobody stores more than was declared.
        action.headers_mut().insert("content-length", part.size.to_string());
        Ok(action.sign(within))
    }

    pub async fn content(
        &self,
        key: &Path,
        headers: &[(&'static str, &str)],
        within: Duration,
    ) -> object_store::Result<Url> {
        let credentials = self.credentials().await?;
        let mut action = GetObject::new(&self.bucket, Some(&credentials), key.as_ref());
        for (name, value) in headers {
            action.query_mut().insert(format!("response-{name}"), (*value).to_owned());
        }
        Ok(action.sign(within))
    }

    async fn credentials(&self) -> object_store::Result<Credentials> {
        let found = self.store.credentials().get_credential().await?;
        Ok(match &found.token {
            Some(token) => Credentials::new_with_token(&found.key_id, &found.secret_key, token),
            None => Credentials::new(&found.key_id, &found.secret_key),
        })
    }
}
