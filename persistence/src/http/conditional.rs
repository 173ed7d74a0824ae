//! Conditional answers (RFC 9110, 13): a client that already has the same answer gets `304`. Clients often ask for
//! lists of rooms and pages of history that have not changed.
//! Keeps no second copy of an answer. Streamed answers pass unchanged.

use actix_web::{
    Error, HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{CACHE_CONTROL, ETAG, EntityTag, Header, HeaderValue, IfNoneMatch},
    },
    middleware::Next,
};
use aws_lc_rs::digest::{SHA256, digest};

/// Longer answers get no entity tag, because hashing takes time. A page of a list or of history is far shorter.
const MAX_TAGGED_BYTES: u64 = 4 * 1024 * 1024;
const ENTITY_TAG_BYTES: usize = 16;

/// Adds an entity tag to a `200` answer to `GET` or `HEAD`, and answers `304` if the request names that tag. The tag is
/// weak, because the same answer may also be sent compressed.
pub async fn add_entity_tag(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let known = IfNoneMatch::parse(&request).ok();
    let response = next.call(request).await?.map_into_boxed_body();
    let size = response.response().body().size();
    let taggable = matches!(size, BodySize::Sized(bytes) if bytes <= MAX_TAGGED_BYTES);
    if !reads || response.status() != StatusCode::OK || !taggable {
        return Ok(response);
    }
    let (request, response) = response.into_parts();
    let (mut response, body) = response.into_parts();
    let body = match body.try_into_bytes() {
        Ok(body) => body,
        // A streamed body gets no tag, because it is not in memory as a whole.
        Err(body) => return Ok(ServiceResponse::new(request, response.set_body(body))),
    };
    let tag = EntityTag::new_weak(tag_of(&body));
    let headers = response.headers_mut();
    if !headers.contains_key(CACHE_CONTROL) {
        // The answer depends on the user and may change, so only the client may keep it, and must revalidate it.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
    if let Ok(value) = HeaderValue::from_str(&tag.to_string()) {
        headers.insert(ETAG, value);
    }
    if known.is_some_and(|known| has_tag(&known, &tag)) {
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

fn has_tag(known: &IfNoneMatch, tag: &EntityTag) -> bool {
    match known {
        IfNoneMatch::Any => true,
        IfNoneMatch::Items(items) => items.iter().any(|item| item.weak_eq(tag)),
    }
}

/// The first 128 bits of the SHA-256 of the body, as hex digits. SHA-256 is fast on most processors.
fn tag_of(body: &[u8]) -> String {
    digest(&SHA256, body).as_ref().iter().take(ENTITY_TAG_BYTES).map(|byte| format!("{byte:02x}")).collect()
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
    async fn streamed_or_large_answer_has_no_tag() {
        let large = "x".repeat(usize::try_from(MAX_TAGGED_BYTES).unwrap() + 1);
        let app = App::new()
            .wrap(from_fn(add_entity_tag))
            .route(
                "/large",
                web::get().to(move || std::future::ready(HttpResponse::Ok().body(large.clone()))),
            )
            .route(
                "/stream",
                web::get().to(|| async {
                    let lines = [(); 3].map(|()| Ok::<_, Error>(web::Bytes::from("line\n")));
                    HttpResponse::Ok().streaming(futures_util::stream::iter(lines))
                }),
            )
            .route(
                "/own",
                web::get()
                    .to(|| async { HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).body("x") }),
            );
        let app = init_service(app).await;
        for path in ["/large", "/stream"] {
            let known = TestRequest::get().uri(path).insert_header((IF_NONE_MATCH, "*")).to_request();
            let passed = call_service(&app, known).await;
            assert_eq!((passed.status(), passed.headers().get(ETAG)), (StatusCode::OK, None), "{path}");
            let streamed = matches!(passed.response().body().size(), BodySize::Stream);
            assert_eq!(streamed, path == "/stream");
            assert!(read_body(passed).await.len() >= 15, "{path}");
        }
        let own = call_service(&app, TestRequest::get().uri("/own").to_request()).await;
        assert_eq!(own.headers().get(CACHE_CONTROL).unwrap(), "no-store");
    }

    #[actix_web::test]
    async fn known_tag_is_answered_with_not_modified() {
        let app = App::new()
            .wrap(from_fn(add_entity_tag))
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
