//! The HTTP API of devices and muted rooms, for users with ordinary tokens. Refusals are problem documents, as those of
//! persistence.

mod caller;
mod devices;
mod forms;
mod key;
mod mutes;
mod openapi;

use std::time::Duration;

use actix_cors::Cors;
use actix_web::http::header;
use actix_web::web;
use sea_orm::DatabaseConnection;
use tidings_persistence::companion::api::{not_found, path_config, resource};
use tidings_persistence::companion::caller::CallerCheck;
use tidings_shared::origin::AllowedOrigins;
use tidings_shared::rate::UserRateLimiter;
use tokio_util::sync::CancellationToken;

use crate::device::DeviceKind;
use crate::endpoints::EndpointRules;

/// How long a browser may cache what CORS allows, in seconds.
const CORS_MAX_AGE_S: usize = 3600;
/// Interval at which full buckets of rate limits are removed from memory.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(60);

/// What the handlers use.
pub struct ApiState {
    pub db: DatabaseConnection,
    pub callers: CallerCheck,
    pub origins: AllowedOrigins,
    pub rate: UserRateLimiter,
    /// The key that browsers subscribe with.
    pub public_key: String,
    pub endpoints: EndpointRules,
    /// The kinds of apps that may be registered.
    pub app_kinds: Vec<DeviceKind>,
}

/// Configures all routes.
pub fn configure(state: web::Data<ApiState>) -> impl FnOnce(&mut web::ServiceConfig) {
    use web::{delete, get, post, put};
    move |config| {
        let scope = web::scope("/v1")
            .wrap(cors(state.origins.clone()))
            .service(resource("/push/openapi.json", "GET", [get().to(openapi::document)]))
            .service(resource("/push/key", "GET", [get().to(key::get)]))
            .service(resource(
                "/me/devices",
                "GET, POST",
                [get().to(devices::list), post().to(devices::register)],
            ))
            .service(resource("/me/devices/{id}", "DELETE", [delete().to(devices::delete)]))
            .service(resource("/me/mutes", "GET", [get().to(mutes::list)]))
            .service(resource(
                "/me/mutes/{room}",
                "GET, PUT, DELETE",
                [get().to(mutes::get), put().to(mutes::mute), delete().to(mutes::unmute)],
            ))
            .default_service(web::to(not_found));
        config.app_data(state).app_data(path_config()).service(scope).default_service(web::to(not_found));
    }
}

/// Removes full buckets of rate limits from memory until `stop` is cancelled.
pub async fn drop_full_buckets(state: web::Data<ApiState>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(CLEANUP_INTERVAL)).await.is_some() {
        state.rate.drop_full_buckets();
    }
}

/// Allows scripts of web pages with the configured origins to call the API.
fn cors(origins: AllowedOrigins) -> Cors {
    Cors::default()
        .allowed_origin_fn(move |origin, _| origins.allows(origin.to_str().ok().or(Some(""))))
        .allowed_methods(["GET", "POST", "PUT", "DELETE"])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers([header::RETRY_AFTER, header::WWW_AUTHENTICATE])
        .max_age(CORS_MAX_AGE_S)
}
