//! Presigned URLs. `object_store` has the credentials, which it renews; `rusty_s3` signs, because the signatures of
//! `object_store` leave out the length of a body.

use std::time::Duration;

use object_store::aws::AmazonS3;
use object_store::path::Path;
use rusty_s3::actions::{GetObject, ListParts, UploadPart};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use url::Url;

use super::parts::Part;

/// How long the service itself may use a URL.
const OWN_TTL: Duration = Duration::from_secs(60);

/// Signs URLs of a bucket.
pub struct Presigner {
    bucket: Bucket,
    /// Whether the bucket is a part of the host. A bucket then has an origin of its own.
    pub is_virtual_hosted: bool,
}

impl Presigner {
    /// Without an endpoint the bucket is at AWS. Servers of others often have no names for buckets, so there the bucket
    /// is a part of the path.
    pub fn new(endpoint: Option<&str>, bucket: &str, region: &str) -> Result<Self, String> {
        // The certificates of AWS do not match names with more labels.
        let is_virtual_hosted = endpoint.is_none() && !bucket.contains('.');
        let style = if is_virtual_hosted { UrlStyle::VirtualHost } else { UrlStyle::Path };
        let aws = format!("https://s3.{region}.amazonaws.com");
        let endpoint = Url::parse(endpoint.unwrap_or(&aws)).map_err(|_| "AWS_ENDPOINT_URL is not a URL")?;
        let bucket = Bucket::new(endpoint, style, bucket.to_owned(), region.to_owned())
            .map_err(|error| format!("the endpoint cannot be used: {error}"))?;
        Ok(Self { bucket, is_virtual_hosted })
    }

    pub async fn list_parts(&self, store: &AmazonS3, key: &Path, upload: &str) -> object_store::Result<Url> {
        let credentials = credentials(store).await?;
        Ok(ListParts::new(&self.bucket, Some(&credentials), key.as_ref(), upload).sign(OWN_TTL))
    }

    pub async fn part(
        &self,
        store: &AmazonS3,
        key: &Path,
        upload: &str,
        part: Part,
        within: Duration,
    ) -> object_store::Result<Url> {
        let credentials = credentials(store).await?;
        let mut action = UploadPart::new(&self.bucket, Some(&credentials), key.as_ref(), part.number, upload);
        // The server refuses a body of another length, so nobody stores more than was declared.
        action.headers_mut().insert("content-length", part.size.to_string());
        Ok(action.sign(within))
    }

    pub async fn content(
        &self,
        store: &AmazonS3,
        key: &Path,
        headers: &[(&'static str, &str)],
        within: Duration,
    ) -> object_store::Result<Url> {
        let credentials = credentials(store).await?;
        let mut action = GetObject::new(&self.bucket, Some(&credentials), key.as_ref());
        for (name, value) in headers {
            action.query_mut().insert(format!("response-{name}"), (*value).to_owned());
        }
        Ok(action.sign(within))
    }
}

async fn credentials(store: &AmazonS3) -> object_store::Result<Credentials> {
    let found = store.credentials().get_credential().await?;
    Ok(match &found.token {
        Some(token) => Credentials::new_with_token(&found.key_id, &found.secret_key, token),
        None => Credentials::new(&found.key_id, &found.secret_key),
    })
}
