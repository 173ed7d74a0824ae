//! Headers that keep the bytes of a user from running in the page of the service.

use actix_web::HttpResponse;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};

use super::disposition::content_disposition;
use crate::file::StoredFile;

/// The answer may be cached as long as its URL is valid. The content of an id never changes.
pub const CACHE: &str = "private, max-age=300, immutable";
const POLICY: &str = "default-src 'none'; sandbox";
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Adds the headers that keep the bytes of a user from running in the page of the service.
pub fn protect(answer: &mut HttpResponse, file: &StoredFile, inline: bool) {
    let headers = answer.headers_mut();
    if let Ok(disposition) = HeaderValue::from_str(&content_disposition(&file.name, inline)) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(CACHE));
}
