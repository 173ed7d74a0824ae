//! Conditional answers (RFC 9110, 13): a reader that has the same answer already is told so in place of it. Lists of
//! rooms and pages of history are asked for again and again, and are mostly what they were.

use std::fmt::Write;

use actix_web::{
    Error, HttpResponse,
    body::{BodySize, BoxBody, MessageBody, to_bytes},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{CACHE_CONTROL, ETAG, EntityTag, Header, HeaderValue, IfNoneMatch},
    },
    middleware::Next,
};
use sha1::{Digest, Sha1};

/// What is streamed, or longer than this, has no tag: a page is far shorter.
const MAX_TAGGED_BYTES: u64 = 4 * 1024 * 1024;

/// Gives a `200` answer to a `GET` its entity tag, and answers `304` where the reader has it. The tag is weak: the
/// same answer may come compressed.
///
/// # Errors
/// Those of the handler.
pub async fn answer(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let known = IfNoneMatch::parse(&request).ok();
    let response = next.call(request).await?.map_into_boxed_body();
    let tagged =
        matches!(response.response().body().size(), BodySize::Sized(bytes) if bytes <= MAX_TAGGED_BYTES);
    if !reads || response.status() != StatusCode::OK || !tagged {
        return Ok(response);
    }
    let (request, response) = response.into_parts();
    let (mut response, body) = response.into_parts();
    let body = to_bytes(body).await.map_err(actix_web::error::ErrorInternalServerError)?;
    let tag = EntityTag::new_weak(hexadecimal(&Sha1::digest(&body)));
    let headers = response.headers_mut();
    // What one may see is one's own, and may change at any time.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Ok(value) = HeaderValue::from_str(&tag.to_string()) {
        headers.insert(ETAG, value);
    }
    if known.is_some_and(|known| is_known(&known, &tag)) {
        let mut unchanged = HttpResponse::NotModified();
        for (name, value) in
            response.headers().iter().filter(|(name, _)| **name == ETAG || **name == CACHE_CONTROL)
        {
            unchanged.append_header((name.clone(), value.clone()));
        }
        return Ok(ServiceResponse::new(request, unchanged.finish()));
    }
    Ok(ServiceResponse::new(request, response.set_body(body).map_into_boxed_body()))
}

fn is_known(known: &IfNoneMatch, tag: &EntityTag) -> bool {
    match known {
        IfNoneMatch::Any => true,
        IfNoneMatch::Items(items) => items.iter().any(|item| item.weak_eq(tag)),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use actix_web::{
        App,
        http::header::IF_NONE_MATCH,
        middleware::from_fn,
        test::{TestRequest, call_service, init_service, read_body},
        web,
    };

    use super::*;

    #[actix_web::test]
    async fn who_has_the_answer_is_told_that_it_is_the_same() {
        let app = App::new()
            .wrap(from_fn(answer))
            .route("/", web::get().to(|| async { HttpResponse::Ok().json([1, 2]) }))
            .route("/", web::post().to(|| async { HttpResponse::Ok().json([1, 2]) }))
            .route("/none", web::get().to(|| async { HttpResponse::NotFound().json([1, 2]) }));
        let app = init_service(app).await;
        let first = call_service(&app, TestRequest::get().to_request()).await;
        let tag = first.headers().get(ETAG).unwrap().clone();
        assert!(tag.to_str().unwrap().starts_with("W/\""));
        assert_eq!(read_body(first).await, "[1,2]");
        for known in [tag.to_str().unwrap(), "\"x\", *", &format!("\"x\", {}", tag.to_str().unwrap())] {
            let again = TestRequest::get().insert_header((IF_NONE_MATCH, known)).to_request();
            let again = call_service(&app, again).await;
            let expected = if known.contains('*') { StatusCode::OK } else { StatusCode::NOT_MODIFIED };
            assert_eq!(again.status(), expected, "{known}");
            assert_eq!(again.headers().get(ETAG), Some(&tag));
        }
        let other = TestRequest::get().insert_header((IF_NONE_MATCH, "W/\"other\"")).to_request();
        assert_eq!(call_service(&app, other).await.status(), StatusCode::OK);
        let posted = call_service(&app, TestRequest::post().to_request()).await;
        assert!(posted.headers().get(ETAG).is_none());
        let missing = call_service(&app, TestRequest::get().uri("/none").to_request()).await;
        assert!(missing.headers().get(ETAG).is_none());
    }
}
