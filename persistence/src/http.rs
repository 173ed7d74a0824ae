//! The public HTTP side of persistence (docs/PROTOCOL.md, "HTTP"): one file per resource, each handler
//! a straight line from parsing to query or command to answer.
//! Speaks neither SQL nor Redis itself. Promises a problem document for whatever is refused.

pub mod body;
pub mod caller;
pub mod creation;
pub mod openapi;
pub mod parameters;
pub mod problem;

mod events;
mod members;
mod messages;
mod my_rooms;
mod rooms;
mod send;
mod state;
mod upto;
mod watermarks;

use std::time::Duration;

use actix_cors::Cors;
use actix_web::http::header;
use actix_web::{HttpRequest, Resource, Route, guard, web};
use tidings_shared::error::{ErrorCode, Refusal};

use problem::Problem;
pub use state::{Limits, State};

/// Who does not finish the head of a request by then is cut off. It runs from the opening of a connection: clients
/// keep some in their pools that they have not used yet, and must not find them shut.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an idle connection is kept.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a browser may remember what CORS allows, in seconds.
const CORS_MAX_AGE_S: usize = 3600;

/// Everything under `/v1`, for an application with the given state.
pub fn configure(state: web::Data<State>) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        let scope = web::scope("/v1")
            .wrap(cors(&state))
            .service(resource(
                "/rooms",
                "GET, HEAD, POST",
                [get().to(rooms::list), web::post().to(rooms::create)],
            ))
            .service(resource("/me/rooms", "GET, HEAD", [get().to(my_rooms::list)]))
            .service(resource("/rooms/{room}", "GET, HEAD", [get().to(rooms::one)]))
            .service(resource("/rooms/{room}/members", "GET, HEAD", [get().to(members::list)]))
            .service(resource(
                "/rooms/{room}/messages",
                "GET, HEAD, POST",
                [get().to(messages::page), web::post().to(send::send)],
            ))
            .service(resource("/rooms/{room}/messages/{seq}", "GET, HEAD", [get().to(messages::one)]))
            .service(resource("/rooms/{room}/events", "GET, HEAD", [get().to(events::page)]))
            .service(resource("/rooms/{room}/receipts", "GET, HEAD", [get().to(watermarks::receipts)]))
            .service(resource("/rooms/{room}/read", "POST", [web::post().to(watermarks::read)]))
            .service(resource("/openapi.json", "GET, HEAD", [get().to(openapi::document)]))
            .default_service(web::to(nothing_here));
        config
            .app_data(state)
            .app_data(web::PathConfig::default().error_handler(|_, _| {
                Problem::new(ErrorCode::BadRequest, "the path is not valid UTF-8").into()
            }))
            .service(scope)
            .default_service(web::to(nothing_here));
    }
}

/// `GET`, and `HEAD` as the same: the server leaves the body out by itself.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A resource with its routes, which tells what it takes when it is asked for something else.
fn resource<const N: usize>(path: &str, methods: &'static str, routes: [Route; N]) -> Resource {
    let resource = routes.into_iter().fold(web::resource(path), Resource::route);
    resource
        .default_service(web::to(move || async move { Err::<web::Bytes, _>(Problem::wrong_method(methods)) }))
}

async fn nothing_here(request: HttpRequest) -> Result<web::Bytes, Problem> {
    Err(Refusal::new(ErrorCode::NotFound, format!("there is nothing at {}", request.path())).into())
}

/// Which pages may call, from their browsers.
fn cors(state: &State) -> Cors {
    let origins = state.origins.clone();
    Cors::default()
        .allowed_origin_fn(move |origin, _| origins.allows(origin.to_str().ok().or(Some(""))))
        .allowed_methods(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers([header::RETRY_AFTER, header::WWW_AUTHENTICATE])
        .max_age(CORS_MAX_AGE_S)
}
