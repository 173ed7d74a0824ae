//! The OpenAPI document of this API, served at `/v1/push/openapi.json`.

use actix_web::HttpResponse;
use tidings_persistence::companion::refusals::describe_refusals;
use tidings_persistence::http::problem::ProblemDocument;
use tidings_shared::ids::RoomId;
use utoipa::{Modify, OpenApi};

use super::{devices, forms, key, mutes};
use crate::device::DeviceKind;

#[derive(OpenApi)]
#[openapi(
    info(title = "Tidings push", description = "Devices that are told of new messages, and muted rooms."),
    paths(
        key::get,
        devices::list,
        devices::register,
        devices::delete,
        mutes::list,
        mutes::get,
        mutes::mute,
        mutes::unmute,
        document,
    ),
    components(schemas(
        ProblemDocument<'_>,
        RoomId,
        DeviceKind,
        forms::NewDevice,
        forms::SubscriptionKeys,
        forms::DeviceAnswer,
        forms::DeviceList,
        forms::MuteForm,
        forms::MuteAnswer,
        forms::MuteList,
        forms::PublicKeyAnswer,
    )),
    modifiers(&BlockedUsers),
    security(("bearer" = []))
)]
struct Document;

/// Adds the refusals that all operations have.
struct BlockedUsers;

impl Modify for BlockedUsers {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        describe_refusals(document, "The user is blocked");
    }
}

/// This OpenAPI document.
#[utoipa::path(
    get, path = "/v1/push/openapi.json", operation_id = "getPushOpenApi", security(()),
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object))
)]
pub async fn document() -> HttpResponse {
    let text = Document::openapi().to_json().unwrap_or_default();
    HttpResponse::Ok().content_type("application/json").body(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_with_a_token_documents_its_refusals() {
        let text = Document::openapi().to_json().unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(paths.len(), 6);
        let operations = paths.iter().flat_map(|(path, item)| {
            item.as_object().unwrap().values().map(move |operation| (path, operation))
        });
        for (path, operation) in operations.filter(|(path, _)| path.contains("/me/")) {
            for status in ["400", "401", "403", "429", "503"] {
                let content = &operation["responses"][status]["content"];
                let problem = &content["application/problem+json"]["schema"]["$ref"];
                assert_eq!(problem, "#/components/schemas/Problem", "{path} {status}");
            }
        }
        for name in text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
