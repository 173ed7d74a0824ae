//! The HTTP API of the endpoints. Only tokens with the scope `tidings.admin` may use it. Refusals are problem documents, as
//! those of persistence.

mod caller;
mod changes;
mod dead_letters;
mod forms;
mod openapi;
mod registry;

use std::sync::Arc;

use actix_web::web;
use sea_orm::DatabaseConnection;
use tidings_persistence::companion::api::{not_found, path_config, resource};
use tidings_persistence::companion::caller::CallerCheck;
use tidings_persistence::http::problem::Problem;
use tidings_shared::error::Refusal;

use crate::sender::Sending;

/// What the handlers use.
pub struct ApiState {
    pub db: DatabaseConnection,
    pub callers: CallerCheck,
    pub sending: Arc<Sending>,
}

/// Configures all routes.
pub fn configure(state: web::Data<ApiState>) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        config
            .app_data(state)
            .app_data(path_config())
            .service(
                web::scope("/v1/webhooks")
                    .service(resource("/openapi.json", "GET", [web::get().to(openapi::document)]))
                    .service(resource(
                        "",
                        "GET, POST",
                        [web::get().to(registry::list), web::post().to(registry::create)],
                    ))
                    .service(resource(
                        "/{id}",
                        "GET, PATCH, DELETE",
                        [
                            web::get().to(registry::get),
                            web::patch().to(changes::change),
                            web::delete().to(registry::delete),
                        ],
                    ))
                    .service(resource("/{id}/rotate", "POST", [web::post().to(changes::rotate)]))
                    .service(resource("/{id}/test", "POST", [web::post().to(changes::test)]))
                    .service(resource(
                        "/{id}/dead",
                        "GET, DELETE",
                        [web::get().to(dead_letters::list), web::delete().to(dead_letters::remove)],
                    ))
                    .service(resource("/{id}/dead/replay", "POST", [web::post().to(dead_letters::replay)]))
                    .default_service(web::to(not_found)),
            )
            .default_service(web::to(not_found));
    }
}

/// The refusal for an endpoint that does not exist.
fn no_such_webhook() -> Problem {
    Refusal::not_found("webhook").into()
}
