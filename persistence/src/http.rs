//! The public HTTP API of persistence (docs/PROTOCOL.md, "HTTP"), with one file per resource. Each handler parses the
//! request, runs a query or a command, and answers.
//! Contains no SQL and no Redis commands. Every refusal is a problem document (RFC 9457).

mod allowance;
mod audit;
pub mod body;
pub mod caller;
mod coding;
mod conditional;
pub mod creation;
pub mod openapi;
pub mod parameters;
pub mod problem;

mod change_notices;
mod changes;
mod deadline;
pub mod enter_room;
mod erase;
mod events;
mod export;
mod feed;
mod feed_watch;
mod members;
mod messages;
mod my_membership;
mod my_rooms;
mod people;
mod presence;
mod read_slots;
mod room_changes;
mod rooms;
mod search;
mod send;
mod state;
mod users;
mod watermarks;

use std::time::Duration;

use actix_cors::Cors;
use actix_web::dev::HttpServiceFactory;
use actix_web::http::header;
use actix_web::middleware::from_fn;
use actix_web::web::{delete, patch, post, put};
use actix_web::{HttpRequest, Resource, Route, guard, web};
use tidings_shared::error::{ErrorCode, Refusal};

use problem::Problem;
pub use state::{Limits, State};

/// Deadline for the head of the first request, counted from the opening of the connection. It is long, because clients
/// keep unused connections open in their pools.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection stays open without a request.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// A connection on which nothing was written for this long is closed. Longer than `KEEP_ALIVE`, and longer than reading
/// a request and answering it may take.
pub const STALLED_CONNECTION_TIMEOUT: Duration = Duration::from_secs(140);
/// How long a browser may cache what CORS allows, in seconds.
const CORS_MAX_AGE_S: usize = 3600;
/// The header that names the trace of a request. CORS allows scripts of web pages to send it.
const TRACEPARENT: header::HeaderName = header::HeaderName::from_static("traceparent");

/// Configures all routes under `/v1` for an application with this state.
pub fn configure(state: web::Data<State>) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        let scope = web::scope("/v1")
            .wrap(from_fn(read_slots::charge_answer))
            .wrap(from_fn(conditional::add_entity_tag))
            .wrap(from_fn(read_slots::hold_until_sent))
            .wrap(from_fn(coding::compress_answer))
            .wrap(cors(&state))
            .service(resource("/rooms", "GET, HEAD, POST", [get().to(rooms::list), post().to(rooms::create)]))
            .service(resource("/me/rooms", "GET, HEAD", [get().to(my_rooms::list)]))
            .service(resource("/me/people", "GET, HEAD", [get().to(people::list)]))
            .service(resource("/rooms/{room}/me", "PATCH", [patch().to(my_membership::change)]))
            .service(resource(
                "/rooms/{room}",
                "GET, HEAD, PATCH, DELETE",
                [get().to(rooms::get), patch().to(room_changes::change), delete().to(room_changes::archive)],
            ))
            .service(resource("/rooms/{room}/members", "GET, HEAD", [get().to(members::list)]))
            .service(resource(
                "/rooms/{room}/members/{user}",
                "PUT, DELETE",
                [put().to(members::put_member), delete().to(members::remove)],
            ))
            .service(resource(
                "/users/{user}",
                "PUT, DELETE",
                [put().to(users::put_user), delete().to(erase::erase_user)],
            ))
            .service(resource(
                "/rooms/{room}/messages",
                "GET, HEAD, POST",
                [get().to(messages::list_messages), post().to(send::send)],
            ))
            .service(resource(
                "/rooms/{room}/messages/{seq}",
                "GET, HEAD, PATCH, DELETE",
                [get().to(messages::get), patch().to(changes::edit), delete().to(changes::delete)],
            ))
            .service(resource(
                "/rooms/{room}/messages/{seq}/reactions/{emoji}",
                "PUT, DELETE",
                [put().to(changes::add_reaction), delete().to(changes::remove_reaction)],
            ))
            .service(resource(
                "/rooms/{room}/messages/{seq}/versions",
                "GET, HEAD",
                [get().to(messages::list_versions)],
            ))
            .service(resource("/rooms/{room}/events", "GET, HEAD", [get().to(events::list_events)]))
            .service(resource("/rooms/{room}/receipts", "GET, HEAD", [get().to(watermarks::list_receipts)]))
            .service(resource("/rooms/{room}/read", "POST", [post().to(watermarks::set_read)]))
            .service(resource("/rooms/{room}/delivered", "POST", [post().to(watermarks::set_delivered)]))
            .service(resource("/me", "DELETE", [delete().to(erase::erase_me)]))
            .service(resource("/me/export", "GET, HEAD", [get().to(export::export_me)]))
            .service(resource("/feed", "GET, HEAD", [get().to(feed::read)]))
            .service(resource("/search", "GET, HEAD", [get().to(search::search_messages)]))
            .service(resource(
                "/presence",
                "GET, HEAD, POST",
                [get().to(presence::list), post().to(presence::set_presence)],
            ))
            .service(resource("/admin/audit", "GET, HEAD", [get().to(audit::list)]))
            .service(resource("/openapi.json", "GET, HEAD", [get().to(openapi::document)]))
            .default_service(web::to(not_found));
        config
            .app_data(web::Data::new(openapi::ServedDocument::new(&state.limits)))
            .app_data(state)
            .app_data(web::PathConfig::default().error_handler(|_, _| {
                Problem::new(ErrorCode::BadRequest, "the path is not valid UTF-8").into()
            }))
            .service(scope)
            .default_service(web::to(not_found));
    }
}

/// A route for `GET` and `HEAD`. The server itself omits the body of an answer to `HEAD`.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A resource with its routes. Refuses other methods with the list of the allowed ones, `methods`.
fn resource<const N: usize>(
    path: &str,
    methods: &'static str,
    routes: [Route; N],
) -> impl HttpServiceFactory + use<N> {
    let resource = routes.into_iter().fold(web::resource(path), Resource::route);
    resource
        .default_service(web::to(move || async move {
            Err::<web::Bytes, _>(Problem::method_not_allowed(methods))
        }))
        .wrap(from_fn(deadline::with_deadline))
}

async fn not_found(request: HttpRequest) -> Result<web::Bytes, Problem> {
    Err(Refusal::new(ErrorCode::NotFound, format!("there is nothing at {}", request.path())).into())
}

/// Allows scripts of web pages with the configured origins to call the API.
fn cors(state: &State) -> Cors {
    let origins = state.origins.clone();
    Cors::default()
        .allowed_origin_fn(move |origin, _| origins.allows(origin.to_str().ok().or(Some(""))))
        .allowed_methods(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_NONE_MATCH, TRACEPARENT])
        .expose_headers([header::RETRY_AFTER, header::WWW_AUTHENTICATE, header::ETAG])
        .max_age(CORS_MAX_AGE_S)
}
