//! Serves content from Azure and Google Cloud. The bytes are passed on as they come, so memory stays small. Only content
//! with the etag that was checked is served. A copy of the bucket, and a simultaneous completion in Azure, change the
//! etag, so content with another one is checked again.

use std::io::ErrorKind;
use std::ops::Range;
use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::http::header::{
    ACCEPT_RANGES, CONTENT_RANGE, ETAG, EntityTag, HeaderMap, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::TryStreamExt;
use http_range::HttpRange;
use object_store::{GetOptions, GetRange, GetResult};
use tidings_persistence::http::problem::Problem;

use super::ApiState;
use super::download_url::object_of;
use super::protect::protect;
use crate::bucket::Bucket;
use crate::content_name::Derived;
use crate::file::StoredFile;
use crate::inspection::Inspection;
use crate::media::delivery;
use crate::signing::UrlPurpose;
use crate::store::files;

/// How long a download waits for a free slot when its content must be checked again.
const CHECK_SLOT_TIMEOUT: Duration = Duration::from_secs(20);

/// Which bytes the response contains.
#[derive(Debug, PartialEq)]
enum Selection {
    Whole,
    Range(Range<u64>),
    /// The client has the content already.
    NotModified,
    Unsatisfiable,
}

/// The answer with the content of a file, or with its preview. None if the bucket does not have it.
pub async fn answer(
    state: &ApiState,
    bucket: &Bucket,
    file: &StoredFile,
    purpose: UrlPurpose,
    request: &HttpRequest,
) -> Result<Option<HttpResponse>, Problem> {
    let (derived, shown) = object_of(file, purpose);
    if purpose == UrlPurpose::Preview && file.image.is_none() {
        return Ok(None);
    }
    // The content of an id never changes, so the id identifies it.
    let etag = EntityTag::new_strong(format!("{}-{}", file.id, derived.map_or("content", |it| it.suffix())));
    let is_preview = purpose == UrlPurpose::Preview;
    // A preview is served whole: it is small, and its size is not in the row.
    let has_ranges = !is_preview && request.method() == Method::GET;
    let selection = select(request.headers(), &etag, has_ranges.then_some(file.content_size));
    let (status, range) = match selection {
        Selection::NotModified => (StatusCode::NOT_MODIFIED, None),
        Selection::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, None),
        Selection::Whole => (StatusCode::OK, None),
        Selection::Range(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
    };
    let mut answer = HttpResponse::build(status);
    answer.insert_header((ETAG, etag.to_string()));
    let mut answer = if status.is_success() {
        let options = GetOptions::new()
            .with_range(range.clone().map(GetRange::Bounded))
            .with_head(request.method() == Method::HEAD);
        let opened = match derived {
            Some(_) => open(state, bucket, file, derived, options).await?,
            None => open_checked(state, bucket, file, options).await?,
        };
        let Some(found) = opened else {
            // The object was changed or removed, or the bucket is older than PostgreSQL. No retry helps.
            state.storage_failed(&ErrorKind::NotFound.into());
            return Ok(None);
        };
        let size = found.meta.size;
        let length = range.as_ref().map_or(size, |range| range.end - range.start);
        if let Some(range) = range {
            let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            answer.insert_header((CONTENT_RANGE, text));
        }
        if !is_preview {
            answer.insert_header((ACCEPT_RANGES, "bytes"));
        }
        answer.content_type(delivery(shown).content_type);
        answer.body(SizedStream::new(length, found.into_stream().map_err(std::io::Error::other)))
    } else {
        if status == StatusCode::RANGE_NOT_SATISFIABLE {
            answer.insert_header((CONTENT_RANGE, format!("bytes */{}", file.content_size)));
        }
        answer.finish()
    };
    protect(&mut answer, file, delivery(shown).inline);
    Ok(Some(answer))
}

async fn open(
    state: &ApiState,
    bucket: &Bucket,
    file: &StoredFile,
    derived: Option<Derived>,
    options: GetOptions,
) -> Result<Option<GetResult>, Problem> {
    bucket.open(&file.id, derived, options).await.map_err(|error| state.storage_failed(&error))
}

/// Opens the content of a file, if it has the etag that was checked. Otherwise checks it, and remembers its etag.
async fn open_checked(
    state: &ApiState,
    bucket: &Bucket,
    file: &StoredFile,
    options: GetOptions,
) -> Result<Option<GetResult>, Problem> {
    let known = file.content_etag.as_deref();
    let opened = open(state, bucket, file, None, options.clone().with_if_match(known)).await?;
    if opened.is_some() || known.is_none() {
        return Ok(opened);
    }
    let slots = &state.rechecks;
    let _slot = slots.acquire_within(&file.uploader, "checks of files", CHECK_SLOT_TIMEOUT).await?;
    // Another download may have checked the content in the meantime.
    let current = files::get(&state.db, &file.id).await?.and_then(|file| file.content_etag);
    if current.is_some() && current.as_deref() != known {
        let again = options.clone().with_if_match(current);
        if let Some(opened) = open(state, bucket, file, None, again).await? {
            return Ok(Some(opened));
        }
    }
    let inspecting = bucket.inspect(&file.id).await.map_err(|error| state.storage_failed(&error))?;
    let is_same = |found: &Inspection| found.sha256 == file.sha256 && found.size == file.size;
    let Some((_, etag)) = inspecting.filter(|(found, _)| is_same(found)) else { return Ok(None) };
    files::replace_etag(&state.db, &file.id, etag.as_deref()).await?;
    open(state, bucket, file, None, options.with_if_match(etag)).await
}

/// Reads the headers of conditions and ranges (RFC 9110, sections 13 and 14). Several ranges are answered with the whole
/// content, which the RFC permits. `size` is the number of bytes; None if only the whole is served.
fn select(headers: &HeaderMap, etag: &EntityTag, size: Option<u64>) -> Selection {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let matches = |tag: &str| tag.trim().parse::<EntityTag>().is_ok_and(|tag| tag.weak_eq(etag));
    if text(IF_NONE_MATCH).is_some_and(|tags| tags.trim() == "*" || tags.split(',').any(matches)) {
        return Selection::NotModified;
    }
    let (Some(range), Some(size)) = (text(RANGE), size) else { return Selection::Whole };
    // A date does not identify the content.
    if text(IF_RANGE).is_some_and(|tag| !matches(tag)) {
        return Selection::Whole;
    }
    match HttpRange::parse(range, size) {
        Ok(ranges) => match ranges.as_slice() {
            [one] if one.length > 0 => Selection::Range(one.start..one.start + one.length),
            [_] => Selection::Unsatisfiable,
            _ => Selection::Whole,
        },
        Err(http_range::HttpRangeParseError::NoOverlap) => Selection::Unsatisfiable,
        // A range of another form is ignored.
        Err(http_range::HttpRangeParseError::InvalidRange) => Selection::Whole,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn selection_of(given: &[(HeaderName, &str)]) -> Selection {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.insert(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        select(&headers, &EntityTag::new_strong("a".to_owned()), Some(100))
    }

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        assert_eq!(selection_of(&[]), Selection::Whole);
        for (range, expected) in [
            ("bytes=0-9", Selection::Range(0..10)),
            ("bytes=90-", Selection::Range(90..100)),
            ("bytes=-5", Selection::Range(95..100)),
            ("bytes=-500", Selection::Range(0..100)),
            ("bytes=50-1000", Selection::Range(50..100)),
            ("bytes=100-", Selection::Unsatisfiable),
            ("bytes=0-1,5-6", Selection::Whole),
            ("bytes=9-1", Selection::Whole),
            ("bytes", Selection::Whole),
            ("lines=0-1", Selection::Whole),
        ] {
            assert_eq!(selection_of(&[(RANGE, range)]), expected, "{range}");
        }
    }

    #[test]
    fn conditions_compare_the_etag() {
        for (name, value, expected) in [
            (IF_NONE_MATCH, "\"b\", W/\"a\"", Selection::NotModified),
            (IF_NONE_MATCH, "*", Selection::NotModified),
            (IF_NONE_MATCH, "\"b\"", Selection::Range(0..10)),
            (IF_RANGE, "\"a\"", Selection::Range(0..10)),
            (IF_RANGE, "\"b\"", Selection::Whole),
            (IF_RANGE, "Wed, 21 Oct 2015 07:28:00 GMT", Selection::Whole),
        ] {
            assert_eq!(selection_of(&[(RANGE, "bytes=0-9"), (name, value)]), expected, "{value}");
        }
    }
}
