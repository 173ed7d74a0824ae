//! The HTTP API of the files. Refusals are problem documents, as those of persistence.

mod addresses;
mod body_rate;
mod caller;
mod complete;
mod content;
mod disposition;
mod download;
mod download_url;
mod forms;
mod images;
mod openapi;
mod parts;
mod protect;
mod put_part;
mod registry;
mod review;
mod serve;
mod state;
mod stream;
mod upload;

use actix_cors::Cors;
use actix_web::http::header::{self, HeaderName};
use actix_web::{Route, guard, web};
use tidings_persistence::companion::api::{not_found, path_config, resource};
use tidings_persistence::http::problem::Problem;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::origin::AllowedOrigins;

pub use addresses::Addresses;
pub use content::APPEND_TIMEOUT;
pub use state::{ApiState, Policy};

/// How long a browser may cache what CORS allows, in seconds.
const CORS_MAX_AGE_S: usize = 3600;
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The headers of resumable uploads.
pub const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");

/// Configures all routes.
pub fn configure(
    state: web::Data<ApiState>,
    origins: AllowedOrigins,
) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        config
            .app_data(state)
            .app_data(path_config())
            .service(
                web::scope("/v1")
                    .wrap(cors(origins))
                    .service(resource("/rooms/{room}/files", "POST", [web::post().to(registry::create)]))
                    .service(resource(
                        "/rooms/{room}/files/{file}",
                        "GET, HEAD, DELETE",
                        [get().to(registry::get), web::delete().to(registry::give_up)],
                    ))
                    .service(resource(
                        "/rooms/{room}/files/{file}/content",
                        "HEAD, PATCH",
                        [web::head().to(content::offset), web::patch().to(content::append)],
                    ))
                    .service(resource(
                        "/rooms/{room}/files/{file}/complete",
                        "POST",
                        [web::post().to(complete::complete)],
                    ))
                    .service(resource(
                        "/rooms/{room}/messages/{seq}/files/{file}",
                        "GET, HEAD",
                        [get().to(download::download)],
                    ))
                    .service(resource("/files/openapi.json", "GET, HEAD", [get().to(openapi::document)]))
                    .service(resource("/files/held", "GET, HEAD", [get().to(review::list)]))
                    .service(resource("/files/{file}", "GET, HEAD", [get().to(serve::serve)]))
                    .service(resource("/files/{file}/parts/{number}", "PUT", [web::put().to(put_part::put)]))
                    .service(resource("/files/{file}/release", "POST", [web::post().to(review::release)]))
                    .service(resource("/files/{file}/reject", "POST", [web::post().to(review::reject)]))
                    .default_service(web::to(not_found)),
            )
            .default_service(web::to(not_found));
    }
}

/// A route for `GET` and `HEAD`. The server itself omits the body of an answer to `HEAD`.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// Allows scripts of web pages with the configured origins to call the API, as persistence does.
fn cors(origins: AllowedOrigins) -> Cors {
    Cors::default()
        .allowed_origin_fn(move |origin, _| origins.allows(origin.to_str().ok().or(Some(""))))
        .allowed_methods(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::RANGE, header::IF_RANGE])
        .allowed_headers([UPLOAD_OFFSET, UPLOAD_COMPLETE, TRACEPARENT])
        .expose_headers([header::RETRY_AFTER, header::WWW_AUTHENTICATE, header::ETAG, header::LOCATION])
        .expose_headers([header::CONTENT_RANGE, header::ACCEPT_RANGES, header::CONTENT_DISPOSITION])
        .expose_headers([UPLOAD_OFFSET, UPLOAD_LENGTH, UPLOAD_COMPLETE])
        .max_age(CORS_MAX_AGE_S)
}

/// The refusal for a file that does not exist, and also for one that the caller may not see.
fn no_such_file() -> Problem {
    Refusal::not_found("file").into()
}

/// The refusal when another request has changed a file meanwhile.
fn changed_elsewhere() -> Problem {
    Refusal::new(ErrorCode::Conflict, "another request changed this file; retry").into()
}
