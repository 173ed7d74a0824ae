//! Tests HTTP answers that need no database: routing, tokens, CORS, the OpenAPI document.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::{Value, json};
use tidings_persistence::http::{self, Limits, State};
use tidings_persistence::writer::daily_limits::DailyLimits;
use tidings_persistence::writer::users::UnknownUserPolicy;
use tidings_shared::auth::{Verifier, sign_hs256};
use tidings_shared::ids::{ClientId, Epoch, RoomId, Seq, UserId};
use tidings_shared::log::{
    Authority, AuthorityError, KnownClientId, Log, LogLimits, OpenedEpoch, SeedOutcome, StoredMarks, Target,
    client, keys::Partition,
};
use tidings_shared::origin::AllowedOrigins;
use tidings_shared::rate::Rate;

/// An authority that is never reached in these tests.
struct UnreachableAuthority;

#[async_trait]
impl Authority for UnreachableAuthority {
    async fn open_epochs(
        &self,
        _: &str,
        _: &[Partition],
    ) -> Result<Vec<(Partition, OpenedEpoch)>, AuthorityError> {
        Err(AuthorityError::EpochEnded)
    }

    async fn seed(&self, _: Epoch, _: &[RoomId]) -> Result<Vec<SeedOutcome>, AuthorityError> {
        Err(AuthorityError::EpochEnded)
    }
    async fn look_up(
        &self,
        _: &RoomId,
        _: &UserId,
        _: &ClientId,
    ) -> Result<Option<KnownClientId>, AuthorityError> {
        Err(AuthorityError::EpochEnded)
    }

    async fn marks(&self, _: &RoomId, _: &[UserId]) -> Result<StoredMarks, AuthorityError> {
        Err(AuthorityError::EpochEnded)
    }

    async fn roles(&self, _: &RoomId, _: &[UserId]) -> Result<Vec<Option<String>>, AuthorityError> {
        Err(AuthorityError::EpochEnded)
    }

    async fn target(&self, _: &RoomId, _: Seq) -> Result<Option<Target>, AuthorityError> {
        Ok(None)
    }
}

fn secret() -> SecretString {
    SecretString::from("a secret of the tests")
}

fn token(claims: &Value) -> String {
    let claims = claims.as_object().expect("claims are an object");
    sign_hs256(&secret(), claims).expect("claims can be signed")
}

fn state(origins: &str) -> web::Data<State> {
    let redis = client("redis://127.0.0.1:1").expect("a well-formed address");
    web::Data::new(State::new(
        (sea_orm::DatabaseConnection::default(), sea_orm::DatabaseConnection::default()),
        Arc::new(Verifier::hs256(&secret(), 0)),
        Log::start(
            redis,
            Arc::new(UnreachableAuthority),
            LogLimits { max_backlog_records: 1, ..LogLimits::default() },
        ),
        Limits {
            max_message_chars: 1000,
            max_members_per_room: NonZeroU32::MAX,
            max_rooms_per_user: NonZeroU32::MAX,
            max_rooms_by_others: NonZeroU32::MAX,
            daily: DailyLimits {
                rooms: NonZeroU32::MAX,
                members: NonZeroU32::MAX,
                new_users: NonZeroU32::MAX,
            },
            commands: Rate::per_second(NonZeroU32::MAX),
            marks: Rate::per_second(NonZeroU32::MAX),
            presence: Rate::per_second(NonZeroU32::MAX),
            reads: Rate::per_second(NonZeroU32::MAX),
            read_slots: 1,
        },
        AllowedOrigins::parse(origins).expect("well-formed origins"),
        UnknownUserPolicy::Create,
        Arc::default(),
    ))
}

/// Sends one request to a service with these allowed origins.
async fn send_with_origins(origins: &str, request: TestRequest) -> (StatusCode, HeaderMap, Value) {
    let service = init_service(App::new().configure(http::configure(state(origins)))).await;
    let response = call_service(&service, request.to_request()).await;
    let (status, headers) = (response.status(), response.headers().clone());
    (status, headers, serde_json::from_slice(&read_body(response).await).unwrap_or_default())
}

async fn send(request: TestRequest) -> (StatusCode, HeaderMap, Value) {
    send_with_origins("", request).await
}

fn is_problem(headers: &HeaderMap) -> bool {
    headers.get("content-type").is_some_and(|value| value == "application/problem+json")
}

// Covers: GET /openapi.json.
#[actix_web::test]
async fn every_documented_operation_is_routed_and_needs_a_token() {
    let (status, _, document) = send(TestRequest::get().uri("/v1/openapi.json")).await;
    assert_eq!((status.as_u16(), &document["openapi"]), (200, &json!("3.1.0")));
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let uri = path
            .replace("{room}", "tea")
            .replace("{seq}", "1")
            .replace("{user}", "bob")
            .replace("{emoji}", "%F0%9F%91%8D");
        for (method, operation) in item.as_object().unwrap() {
            if operation.get("security").is_some() {
                continue;
            }
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let (status, headers, problem) = send(TestRequest::with_uri(&uri).method(method.clone())).await;
            assert_eq!((status.as_u16(), &problem["reason"]), (401, &json!("missing")), "{method} {path}");
            assert!(is_problem(&headers), "{method} {path}");
            operations += 1;
        }
    }
    assert!(operations > 10, "{operations} operations");
}

/// The registered paths.
fn registered_paths() -> BTreeSet<String> {
    let source = include_str!("../src/http.rs");
    let path =
        |rest: &str| rest.trim_start().strip_prefix('"')?.split('"').next().map(|path| format!("/v1{path}"));
    source.split("resource(").skip(1).filter_map(path).collect()
}

#[actix_web::test]
async fn every_route_is_documented_with_exactly_its_methods() {
    let (_, _, document) = send(TestRequest::get().uri("/v1/openapi.json")).await;
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.keys().cloned().collect::<BTreeSet<_>>(), registered_paths());
    for (path, item) in paths {
        let uri = path
            .replace("{room}", "tea")
            .replace("{seq}", "1")
            .replace("{user}", "bob")
            .replace("{emoji}", "x");
        let mut documented = BTreeSet::new();
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let (status, ..) = send(TestRequest::with_uri(&uri).method(method.clone())).await;
            let is_documented = item.get(method.as_str().to_lowercase()).is_some();
            assert_eq!(status == StatusCode::METHOD_NOT_ALLOWED, !is_documented, "{method} {path}: {status}");
            if is_documented {
                documented.insert(method.to_string());
            }
        }
        if documented.contains("GET") {
            documented.insert("HEAD".to_owned());
            let (status, ..) = send(TestRequest::with_uri(&uri).method(Method::HEAD)).await;
            assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "HEAD {path}");
        }
        let (_, headers, _) = send(TestRequest::with_uri(&uri).method(Method::TRACE)).await;
        let allow = headers.get("allow").unwrap().to_str().unwrap();
        assert_eq!(allow.split(", ").map(str::to_owned).collect::<BTreeSet<_>>(), documented, "{path}");
    }
}

#[actix_web::test]
async fn bad_token_is_refused_with_its_reason() {
    let good = token(&json!({"sub": "alice", "exp": 4_000_000_000_i64}));
    for (header, reason) in [
        (format!("Bearer {}", token(&json!({"sub": "alice", "exp": 1}))), "expired"),
        (format!("Bearer {good}x"), "signature"),
        ("Bearer x".to_owned(), "malformed"),
        ("Bearer ".to_owned(), "missing"),
        ("Basic YTpi".to_owned(), "malformed"),
        (format!("Bearer {}", token(&json!({"exp": 4_000_000_000_i64}))), "claims"),
    ] {
        let request = TestRequest::get().uri("/v1/rooms").insert_header(("authorization", header.as_str()));
        let (status, headers, problem) = send(request).await;
        assert_eq!((status.as_u16(), &problem["reason"]), (401, &json!(reason)), "{header}");
        assert!(headers.contains_key("www-authenticate"), "{header}");
    }
    // A token anywhere except in the header is ignored.
    let (status, _, problem) = send(TestRequest::get().uri(&format!("/v1/rooms?token={good}"))).await;
    assert_eq!((status.as_u16(), &problem["reason"]), (401, &json!("missing")));
}

#[actix_web::test]
async fn unknown_path_is_answered_with_a_problem_document() {
    for uri in ["/v1/", "/v1/nothing", "/v1/rooms/tea/nothing", "/v1/rooms/"] {
        let (status, headers, problem) = send(TestRequest::get().uri(uri)).await;
        assert_eq!((status.as_u16(), &problem["code"]), (404, &json!("not_found")), "{uri}");
        assert!(is_problem(&headers), "{uri}");
    }
}

#[actix_web::test]
async fn wrong_method_is_answered_with_the_allowed_ones() {
    for (method, uri, allow) in [
        (Method::DELETE, "/v1/rooms", "GET, HEAD, POST"),
        (Method::POST, "/v1/me/rooms", "GET, HEAD"),
        (Method::GET, "/v1/rooms/tea/read", "POST"),
        (Method::PUT, "/v1/rooms/tea/messages", "GET, HEAD, POST"),
        (Method::GET, "/v1/rooms/tea/members/bob", "PUT, DELETE"),
    ] {
        let (status, headers, problem) = send(TestRequest::with_uri(uri).method(method)).await;
        assert_eq!((status.as_u16(), &problem["code"]), (405, &json!("bad_request")), "{uri}");
        assert_eq!(headers.get("allow").unwrap(), allow, "{uri}");
        assert!(is_problem(&headers), "{uri}");
    }
}

#[actix_web::test]
async fn only_allowed_origins_pass_cors() {
    for (setting, origin, allowed) in [
        ("", "http://localhost:5173", true),
        ("", "https://evil.test", false),
        ("https://chat.example", "https://chat.example", true),
        ("https://chat.example", "http://localhost:5173", false),
        ("*", "https://evil.test", true),
    ] {
        let preflight = TestRequest::with_uri("/v1/rooms")
            .method(Method::OPTIONS)
            .insert_header(("origin", origin))
            .insert_header(("access-control-request-method", "POST"))
            .insert_header(("access-control-request-headers", "authorization,content-type"));
        let (_, headers, _) = send_with_origins(setting, preflight).await;
        assert_eq!(headers.contains_key("access-control-allow-origin"), allowed, "{setting} {origin}");

        let request = TestRequest::get().uri("/v1/openapi.json").insert_header(("origin", origin));
        let (_, headers, _) = send_with_origins(setting, request).await;
        assert_eq!(headers.contains_key("access-control-allow-origin"), allowed, "{setting} {origin}");
    }
}
