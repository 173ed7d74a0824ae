//! Headers of all answers that protect browsers.

use actix_web::http::header::X_CONTENT_TYPE_OPTIONS;
use actix_web::middleware::DefaultHeaders;

/// The value of `X-Content-Type-Options`.
pub const NOSNIFF: &str = "nosniff";

/// The middleware that adds `X-Content-Type-Options: nosniff`, so that a browser never takes an answer with texts of
/// users for a page or a script. It must be the outermost middleware.
#[must_use]
pub fn forbid_sniffing() -> DefaultHeaders {
    DefaultHeaders::new().add((X_CONTENT_TYPE_OPTIONS, NOSNIFF))
}
