//! Compresses long answers with gzip for clients that accept it (RFC 9110, 8.4 and 12.5.3), because pages of history
//! are mostly text. A streamed answer is compressed as a stream. No request is refused for its `Accept-Encoding`: a
//! client that accepts neither gzip nor identity gets an uncompressed answer.

use actix_http::encoding::Encoder;
use actix_web::Error;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    AcceptEncoding, CONTENT_ENCODING, ContentEncoding, Encoding, Header, HeaderValue, VARY,
};
use actix_web::middleware::Next;

/// Shorter answers stay uncompressed, because they fit into one packet.
const MIN_COMPRESSED_BYTES: u64 = 1024;

/// Compresses an answer of at least `MIN_COMPRESSED_BYTES` if the client accepts gzip.
pub async fn compress_answer<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<Encoder<B>>, Error> {
    let coding = negotiate_coding(&request);
    let response = next.call(request).await?;
    let mut response = response.map_body(|head, body| {
        let is_small = matches!(body.size(), BodySize::Sized(bytes) if bytes < MIN_COMPRESSED_BYTES);
        Encoder::response(if is_small { ContentEncoding::Identity } else { coding }, head, body)
    });
    // Adds `Vary` to uncompressed answers; the encoder adds it to compressed ones.
    if !response.headers().contains_key(CONTENT_ENCODING) {
        response.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
    }
    Ok(response)
}

fn negotiate_coding(request: &ServiceRequest) -> ContentEncoding {
    let supported = [Encoding::identity(), Encoding::gzip()];
    let chosen =
        AcceptEncoding::parse(request).ok().and_then(|accepted| accepted.negotiate(supported.iter()));
    match chosen {
        Some(Encoding::Known(coding)) => coding,
        _ => ContentEncoding::Identity,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::ACCEPT_ENCODING;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn gzip_needs_acceptance_and_no_encoding_is_refused() {
        let gzip = ContentEncoding::Gzip;
        for (accepted, coding) in [
            ("gzip", gzip),
            ("br, gzip;q=0.5", gzip),
            ("*", ContentEncoding::Identity),
            ("identity;q=0, gzip", gzip),
            ("", ContentEncoding::Identity),
            ("gzip;q=0", ContentEncoding::Identity),
            ("br, zstd", ContentEncoding::Identity),
            ("identity;q=0", ContentEncoding::Identity),
            ("gzip;q=x, \"", ContentEncoding::Identity),
        ] {
            let request = TestRequest::get().insert_header((ACCEPT_ENCODING, accepted)).to_srv_request();
            assert_eq!(negotiate_coding(&request), coding, "{accepted}");
        }
        assert_eq!(negotiate_coding(&TestRequest::get().to_srv_request()), ContentEncoding::Identity);
    }
}
