//! The services that have buckets, and how the bucket of a URL is opened. Credentials come from variables of the
//! environment or from the platform; `object_store` renews them.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ObjectStore, RetryConfig};
use tidings_shared::http_client::innermost_cause;
use url::Url;

use super::http::{self, Connector};
use super::parts::{MAX_FILE_BYTES, MAX_PROXIED_FILE_BYTES};
use super::presign::Presigner;

/// How long a failing request is repeated.
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_RETRIES: usize = 3;

/// A store of objects that takes them in parts.
pub trait Store: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Store for T {}

/// The kind of storage service that holds the bucket.
#[derive(Clone)]
pub enum Service {
    /// S3, or an S3-compatible server. Clients send and fetch bytes at presigned URLs.
    S3(Arc<Presigner>),
    /// Bytes pass through `tidings-files`, because a shared access signature binds neither the length nor the part.
    Azure,
    /// Bytes pass through `tidings-files`, because the signed URLs of `object_store` do not bind the length.
    Google,
}

impl Service {
    /// Size limit of a file, in bytes. It is lower if the bytes pass through this service.
    pub fn max_file_bytes(&self) -> u64 {
        if let Self::S3(_) = self { MAX_FILE_BYTES } else { MAX_PROXIED_FILE_BYTES }
    }
}

/// Opens the bucket in a URL: `s3://BUCKET/PREFIX`, `az://CONTAINER/PREFIX` or `gs://BUCKET/PREFIX`. Sends no request.
///
/// # Errors
/// The rule that the URL or a variable breaks.
pub fn open(url: &Url) -> Result<(Arc<dyn Store>, Service, Path), String> {
    let is_plain = url.query().is_none() && url.fragment().is_none() && url.port().is_none();
    let name = url.host_str().filter(|name| !name.is_empty() && is_plain && url.username().is_empty());
    let name = name.ok_or("must be s3://BUCKET/PREFIX, az://CONTAINER/PREFIX or gs://BUCKET/PREFIX")?;
    let prefix = Path::from_url_path(url.path()).map_err(text)?;
    let (store, service) = match url.scheme() {
        "s3" => open_s3(name)?,
        "az" => (open_azure(name)?, Service::Azure),
        "gs" => (open_google(name)?, Service::Google),
        _ => return Err("must begin with s3://, az:// or gs://".to_owned()),
    };
    Ok((store, service, prefix))
}

fn open_s3(bucket: &str) -> Result<(Arc<dyn Store>, Service), String> {
    let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    let setting = |key| builder.get_config_value(&key).filter(|value| !value.is_empty());
    let endpoint = setting(AmazonS3ConfigKey::S3Endpoint).or_else(|| setting(AmazonS3ConfigKey::Endpoint));
    let region = setting(AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".to_owned());
    let (is_virtual_hosted, bucket) = Presigner::address(endpoint.as_deref(), bucket, &region)?;
    let http = http::client().map_err(innermost_cause)?;
    let store = builder
        .with_region(region)
        .with_virtual_hosted_style_request(is_virtual_hosted)
        .with_http_connector(Connector(http.clone()))
        .with_retry(retry())
        .build()
        .map_err(text)?;
    let store = Arc::new(store);
    Ok((store.clone(), Service::S3(Arc::new(Presigner::new(store, bucket, http)))))
}

fn open_azure(container: &str) -> Result<Arc<dyn Store>, String> {
    let builder = MicrosoftAzureBuilder::from_env().with_container_name(container);
    let builder = builder.with_http_connector(Connector(http::client().map_err(innermost_cause)?));
    Ok(Arc::new(builder.with_retry(retry()).build().map_err(text)?))
}

fn open_google(bucket: &str) -> Result<Arc<dyn Store>, String> {
    let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
    let builder = builder.with_http_connector(Connector(http::client().map_err(innermost_cause)?));
    Ok(Arc::new(builder.with_retry(retry()).build().map_err(text)?))
}

fn retry() -> RetryConfig {
    RetryConfig { max_retries: MAX_RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() }
}

fn text(error: impl Display) -> String {
    error.to_string()
}
