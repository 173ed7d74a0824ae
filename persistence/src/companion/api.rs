//! What the APIs of programs beside persistence have in common.

use std::net::TcpListener;
use std::time::Duration;

use actix_server::Server;
use actix_web::{App, HttpRequest, Resource, Route, web};
use serde::de::DeserializeOwned;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::security_headers::forbid_sniffing;

use crate::http::STALLED_CONNECTION_TIMEOUT;
use crate::http::body::read_bytes;
use crate::http::problem::Problem;
use crate::http_server::{self, ServerSettings};

/// Longest body of a request.
const MAX_BODY_BYTES: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
const SHUTDOWN_TIMEOUT_S: u64 = 5;

/// Serves an API on one thread.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve<F>(
    listener: TcpListener,
    configure: impl Fn() -> F + Clone + Send + 'static,
) -> anyhow::Result<Server>
where
    F: FnOnce(&mut web::ServiceConfig),
{
    let settings = ServerSettings { name: "api", workers: Some(1), shutdown_timeout_s: SHUTDOWN_TIMEOUT_S };
    let prepare = http_server::limit_write_idle(STALLED_CONNECTION_TIMEOUT);
    Ok(http_server::serve(settings, listener, prepare, move || {
        App::new().wrap(forbid_sniffing()).configure(configure())
    })?)
}

/// A resource with its routes. Refuses other methods with the list of the allowed ones, `methods`.
pub fn resource<const N: usize>(path: &str, methods: &'static str, routes: [Route; N]) -> Resource {
    let resource = routes.into_iter().fold(web::resource(path), Resource::route);
    resource.default_service(web::to(move || async move {
        Err::<web::Bytes, _>(Problem::method_not_allowed(methods))
    }))
}

/// The answer where there is no resource.
///
/// # Errors
/// Always, with `not_found`.
pub async fn not_found(request: HttpRequest) -> Result<web::Bytes, Problem> {
    Err(Refusal::new(ErrorCode::NotFound, format!("there is nothing at {}", request.path())).into())
}

/// Refuses paths that are not UTF-8.
#[must_use]
pub fn path_config() -> web::PathConfig {
    web::PathConfig::default()
        .error_handler(|_, _| Problem::new(ErrorCode::BadRequest, "the path is not valid UTF-8").into())
}

/// Reads a body as JSON.
///
/// # Errors
/// When the body is too long, is late, or has another form.
pub async fn read_form<T: DeserializeOwned>(payload: web::Payload) -> Result<T, Problem> {
    parse(&read_bytes(payload, MAX_BODY_BYTES, BODY_TIMEOUT).await?)
}

/// Reads a body as JSON. An empty body and `null` are an empty object.
///
/// # Errors
/// As [`read_form`].
pub async fn read_optional_form<T: DeserializeOwned>(payload: web::Payload) -> Result<T, Problem> {
    let bytes = read_bytes(payload, MAX_BODY_BYTES, BODY_TIMEOUT).await?;
    parse(if matches!(bytes.trim_ascii(), b"" | b"null") { b"{}" } else { &bytes })
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    // serde would also read the fields of a struct from a list.
    if !text.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::new(ErrorCode::BadRequest, "the body must be a JSON object"));
    }
    serde_json::from_slice(text)
        .map_err(|error| Problem::new(ErrorCode::BadRequest, format!("the body is not valid: {error}")))
}
