//! The HTTP route of Engine.IO: handshakes, polls and POSTs of polling sessions, and preflight requests of browsers.
//! The acceptor decides about origins at the handshake. Later requests need the session's id, which only its client
//! knows.

use std::{rc::Rc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{self, HeaderValue},
    },
    web,
};
use bytes::Bytes;
use tokio::time::timeout;

use super::{
    error::EngineError,
    forward::FORWARDED_HEADER,
    query,
    worker::{EngineWorker, RequestTarget},
    workers::EngineAnswer,
};
use crate::transport::{
    Acceptor,
    handshake::{HandshakeRequest, Refusal},
    refuse::{refuse_unless_polling_allowed, to_http_response},
};

/// Time limit for the body of a POST.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const PREFLIGHT_MAX_AGE_S: &str = "3600";

/// Adds the route of Engine.IO, also without the slash at the end of its path.
pub(crate) fn configure<A: Acceptor>(
    engine: &Rc<EngineWorker>,
    acceptor: &Rc<A>,
    app: &mut web::ServiceConfig,
) {
    let path = engine.workers.config.path.clone();
    let without_slash = path.trim_end_matches('/').to_owned();
    let (engine, acceptor) = (Rc::clone(engine), Rc::clone(acceptor));
    let handler = move |request: HttpRequest, body: web::Payload| {
        let (engine, acceptor) = (Rc::clone(&engine), Rc::clone(&acceptor));
        async move { answer(&engine, &acceptor, &request, body).await }
    };
    app.service(web::resource(vec![path, without_slash]).to(handler));
}

/// Answers a request. If the acceptor or a valid session id has allowed the request, scripts of other origins may read
/// the answer.
async fn answer<A: Acceptor>(
    engine: &Rc<EngineWorker>,
    acceptor: &Rc<A>,
    request: &HttpRequest,
    body: web::Payload,
) -> HttpResponse {
    let method = request.method();
    if *method == Method::OPTIONS {
        return preflight(request);
    }
    let is_forwarded = request.headers().contains_key(FORWARDED_HEADER);
    match engine.target_of(request.query_string(), false, is_forwarded) {
        Ok(RequestTarget::Handshake) if *method == Method::GET => {
            match handshake(engine, acceptor, request).await {
                Ok(body) => allow_origin(to_response(EngineAnswer::Packets(body)), request),
                Err(refusal) => to_http_response(refusal),
            }
        }
        Ok(RequestTarget::Handshake) => to_http_response(EngineError::BadMethod.refusal()),
        Ok(target) => {
            let answer = answer_in_session(engine, target, request, body).await;
            allow_origin(answer.unwrap_or_else(to_http_response), request)
        }
        Err(error) => to_http_response(error.refusal()),
    }
}

/// Answers a request of a session, or forwards it to the node of the session.
async fn answer_in_session(
    engine: &Rc<EngineWorker>,
    target: RequestTarget,
    request: &HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Refusal> {
    let method = request.method();
    let packets = if *method == Method::GET {
        None
    } else if *method == Method::POST || *method == Method::PUT {
        Some(read_packets(engine, body).await?)
    } else {
        return Err(EngineError::BadMethod.refusal());
    };
    match (target, packets) {
        (RequestTarget::Session(session), packets) => {
            let key = query::request_key(request.query_string());
            Ok(to_response(match packets {
                None => engine.poll(session, key).await,
                Some(packets) => engine.post(session, key, packets).await,
            }))
        }
        (RequestTarget::OtherNode(forwarder, instance), packets) => {
            let target = query::forwarded_target(request.path(), request.query_string());
            Ok(forwarder.forward(instance, &target, packets).await)
        }
        (RequestTarget::Handshake, _) => Err(EngineError::BadMethod.refusal()),
    }
}

/// Asks the acceptor, and opens a session. Returns the body of the answer.
async fn handshake<A: Acceptor>(
    engine: &Rc<EngineWorker>,
    acceptor: &Rc<A>,
    request: &HttpRequest,
) -> Result<Vec<u8>, Refusal> {
    // Checked before and after the wait, like the handshake of a WebSocket.
    refuse_unless_polling_allowed(&engine.worker)?;
    let handshake = HandshakeRequest::poll(request.uri().clone(), request.headers().clone());
    let ticket = acceptor.accept(handshake).await?;
    refuse_unless_polling_allowed(&engine.worker)?;
    Ok(engine.open_polling(|connection| acceptor.open(ticket, connection)))
}

/// Reads the body of a POST. The error is the answer to a body that is too long or does not arrive in time.
async fn read_packets(engine: &EngineWorker, body: web::Payload) -> Result<Bytes, Refusal> {
    let max_payload = engine.workers.config.max_payload;
    match timeout(BODY_TIMEOUT, body.to_bytes_limited(max_payload)).await {
        Ok(Ok(Ok(body))) => {
            engine.worker.counters.bytes_in.add(body.len());
            Ok(body)
        }
        Ok(Err(_)) => {
            let mut refusal = EngineError::BadRequest.refusal();
            refusal.status = StatusCode::PAYLOAD_TOO_LARGE;
            Err(refusal)
        }
        Ok(Ok(Err(_))) | Err(_) => Err(EngineError::BadRequest.refusal()),
    }
}

fn to_response(answer: EngineAnswer) -> HttpResponse {
    match answer {
        EngineAnswer::Packets(body) => HttpResponse::Ok()
            .content_type("text/plain; charset=UTF-8")
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .body(body),
        EngineAnswer::Taken => HttpResponse::Ok().content_type("text/html").body("ok"),
        EngineAnswer::Failed(error) => to_http_response(error.refusal()),
    }
}

/// Answers the preflight request of a browser without a check, because the request that follows is checked.
fn preflight(request: &HttpRequest) -> HttpResponse {
    let mut answer = HttpResponse::NoContent();
    answer
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT"))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE_S));
    if let Some(wanted) = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone()));
    }
    allow_origin(answer.finish(), request)
}

/// Lets scripts of the request's origin read the answer.
fn allow_origin(mut answer: HttpResponse, request: &HttpRequest) -> HttpResponse {
    if let Some(origin) = request.headers().get(header::ORIGIN) {
        let headers = answer.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
    }
    answer
}
