//! The HTTP client of the bucket, and also of its credentials: that of the other programs, with their TLS and the
//! authorities that they trust. The one of `object_store` would bring a second client and other authorities.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use reqwest::{Body, Client};
use rustls::ClientConfig;
use tidings_shared::{http_client, tls::trusted_roots};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may pause. An answer as a whole may take longer, because it may be a whole file.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Builds the client.
pub fn client() -> Result<Client, reqwest::Error> {
    let tls = ClientConfig::builder().with_root_certificates(trusted_roots()).with_no_client_auth();
    http_client::builder()
        .use_preconfigured_tls(tls)
        .user_agent("tidings-files")
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .build()
}

/// Gives the client to `object_store`.
#[derive(Debug, Clone)]
pub struct Connector(pub Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = request.map(Body::wrap).try_into().map_err(failure)?;
        let answer: http::Response<Body> = self.0.execute(request).await.map_err(failure)?.into();
        Ok(answer.map(|body| HttpResponseBody::new(body.map_err(failure))))
    }
}

/// An error with its kind, which decides whether `object_store` tries again, and without its URL, which may hold a
/// signature.
fn failure(error: reqwest::Error) -> HttpError {
    let error = error.without_url();
    let kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_request() || error.is_body() || error.is_decode() {
        // The connection ended before the answer did.
        HttpErrorKind::Interrupted
    } else {
        HttpErrorKind::Unknown
    };
    HttpError::new(kind, error)
}
