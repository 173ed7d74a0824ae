//! The OpenAPI document of this API, served at `/v1/webhooks/openapi.json`.

use actix_web::HttpResponse;
use tidings_persistence::companion::refusals::describe_refusals;
use tidings_persistence::http::problem::ProblemDocument;
use tidings_shared::openapi::LimitForm;
use utoipa::{Modify, OpenApi};

use super::{changes, dead_letters, forms, registry};

#[derive(OpenApi)]
#[openapi(
    info(title = "Tidings webhooks", description = "Endpoints that get the events of Tidings. All operations need a token with the scope tidings.admin."),
    paths(
        registry::list,
        registry::create,
        registry::get,
        registry::delete,
        changes::change,
        changes::rotate,
        changes::test,
        dead_letters::list,
        dead_letters::replay,
        dead_letters::remove,
        document,
    ),
    components(schemas(
        ProblemDocument<'_>,
        LimitForm,
        forms::NewWebhook,
        forms::WebhookChange,
        forms::Webhook,
        forms::Webhooks,
        forms::DeadLetters,
        forms::Replay,
        forms::Changed,
        forms::TestResult,
    )),
    modifiers(&Refusals),
    security(("bearer" = []))
)]
struct Document;

/// Adds the scheme of the token, and the refusals that all operations have, as problem documents.
struct Refusals;

impl Modify for Refusals {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        describe_refusals(document, "The token lacks the scope");
    }
}

/// This OpenAPI document.
#[utoipa::path(
    get, path = "/v1/webhooks/openapi.json", operation_id = "getWebhooksOpenApi", security(()),
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object))
)]
pub async fn document() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(Document::openapi().to_json().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use tidings_persistence::http::problem::PROBLEM_JSON;

    use super::*;

    #[test]
    fn every_operation_documents_its_refusals() {
        let text = Document::openapi().to_json().unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(paths.len(), 7);
        for (path, item) in paths {
            for (method, operation) in item.as_object().unwrap() {
                let is_open = path.ends_with("openapi.json");
                let problem = &operation["responses"]["401"]["content"][PROBLEM_JSON]["schema"]["$ref"];
                assert_eq!(problem == "#/components/schemas/Problem", !is_open, "{method} {path}");
            }
        }
        for name in text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
