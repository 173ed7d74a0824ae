//! Serves the content of a bucket whose clients do not reach it. The bytes are passed on as they come, so memory stays
//! small. Only content with the etag that was checked is served.

use std::io::ErrorKind;
use std::ops::Range;

use actix_web::body::SizedStream;
use actix_web::http::header::{
    ACCEPT_RANGES, CONTENT_RANGE, ETAG, EntityTag, HeaderMap, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::TryStreamExt;
use http_range::HttpRange;
use object_store::{GetOptions, GetRange};
use tidings_persistence::http::problem::Problem;

use super::ApiState;
use super::download_url::object_of;
use super::protect::protect;
use crate::bucket::Bucket;
use crate::file::StoredFile;
use crate::media::delivery;
use crate::signing::UrlPurpose;

/// What a request wants of the content.
#[derive(Debug, PartialEq)]
enum Wanted {
    Whole,
    Part(Range<u64>),
    /// The client has the content already.
    Nothing,
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
    // A preview is small, and its size is not in the row.
    let wanted = wanted(request.headers(), &etag, (!is_preview).then_some(file.content_size));
    let (status, range) = match wanted {
        Wanted::Nothing => (StatusCode::NOT_MODIFIED, None),
        Wanted::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, None),
        Wanted::Whole => (StatusCode::OK, None),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
    };
    let mut answer = HttpResponse::build(status);
    answer.insert_header((ETAG, etag.to_string()));
    let mut answer = if status.is_success() {
        let options = GetOptions::new()
            .with_if_match(file.content_etag.as_deref().filter(|_| derived.is_none()))
            .with_range(range.clone().map(GetRange::Bounded))
            .with_head(request.method() == Method::HEAD);
        let opening = bucket.open(&file.id, derived, options).await;
        let Some(found) = opening.map_err(|error| state.storage_failed(&error))? else {
            // Someone has changed or removed the object, or the bucket is older than PostgreSQL. No retry helps.
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

/// Reads the headers of conditions and ranges (RFC 9110, sections 13 and 14). Several ranges are answered with the whole
/// content, which the RFC permits. `size` is the number of bytes; None if only the whole is served.
fn wanted(headers: &HeaderMap, etag: &EntityTag, size: Option<u64>) -> Wanted {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let matches = |tag: &str| tag.trim().parse::<EntityTag>().is_ok_and(|tag| tag.weak_eq(etag));
    if text(IF_NONE_MATCH).is_some_and(|tags| tags.trim() == "*" || tags.split(',').any(matches)) {
        return Wanted::Nothing;
    }
    let (Some(range), Some(size)) = (text(RANGE), size) else { return Wanted::Whole };
    // A date does not identify the content.
    if text(IF_RANGE).is_some_and(|tag| !matches(tag)) {
        return Wanted::Whole;
    }
    match HttpRange::parse(range, size) {
        Ok(ranges) => match ranges.as_slice() {
            [one] if one.length > 0 => Wanted::Part(one.start..one.start + one.length),
            [_] => Wanted::Unsatisfiable,
            _ => Wanted::Whole,
        },
        Err(http_range::HttpRangeParseError::NoOverlap) => Wanted::Unsatisfiable,
        // A range of another form is ignored.
        Err(http_range::HttpRangeParseError::InvalidRange) => Wanted::Whole,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn wanted_of(given: &[(HeaderName, &str)]) -> Wanted {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.insert(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        wanted(&headers, &EntityTag::new_strong("a".to_owned()), Some(100))
    }

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        assert_eq!(wanted_of(&[]), Wanted::Whole);
        for (range, expected) in [
            ("bytes=0-9", Wanted::Part(0..10)),
            ("bytes=90-", Wanted::Part(90..100)),
            ("bytes=-5", Wanted::Part(95..100)),
            ("bytes=-500", Wanted::Part(0..100)),
            ("bytes=50-1000", Wanted::Part(50..100)),
            ("bytes=100-", Wanted::Unsatisfiable),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("bytes=9-1", Wanted::Whole),
            ("bytes", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
        ] {
            assert_eq!(wanted_of(&[(RANGE, range)]), expected, "{range}");
        }
    }

    #[test]
    fn conditions_compare_the_etag() {
        for (name, value, expected) in [
            (IF_NONE_MATCH, "\"b\", W/\"a\"", Wanted::Nothing),
            (IF_NONE_MATCH, "*", Wanted::Nothing),
            (IF_NONE_MATCH, "\"b\"", Wanted::Part(0..10)),
            (IF_RANGE, "\"a\"", Wanted::Part(0..10)),
            (IF_RANGE, "\"b\"", Wanted::Whole),
            (IF_RANGE, "Wed, 21 Oct 2015 07:28:00 GMT", Wanted::Whole),
        ] {
            assert_eq!(wanted_of(&[(RANGE, "bytes=0-9"), (name, value)]), expected, "{value}");
        }
    }
}
