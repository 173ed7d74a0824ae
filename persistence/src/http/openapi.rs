//! `/openapi.json`: the OpenAPI 3.1 document, built from the handlers.
//! Promises that every operation names the token it needs and the problem documents it answers with.

mod answers;

use actix_web::HttpResponse;
use actix_web::web::{self, Bytes};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{Modify, OpenApi, PartialSchema, ToSchema};

use answers::Answers;

use super::problem::ProblemDocument;
use super::state::Limits;
use super::{
    changes, erase, events, export, members, messages, my_rooms, presence, reactions, room_changes, rooms,
    search, send, users, versions, watermarks,
};
use crate::forms::{self, AttachmentForm, MessageTextForm};
use crate::query::messages::Reaction;

#[derive(OpenApi)]
#[openapi(
    info(title = "Tidings", description = include_str!("openapi/about.md")),
    paths(
        rooms::create, rooms::list, rooms::one, room_changes::change, room_changes::archive, my_rooms::list,
        members::list, members::put, members::remove, messages::page, messages::one, send::send, changes::edit,
        changes::delete, reactions::add, reactions::remove, versions::list, events::page, watermarks::receipts,
        watermarks::read, watermarks::delivered, search::find, presence::list, presence::set, users::put,
        export::export_me, erase::erase_me, document,
    ),
    components(schemas(ProblemDocument, Reaction, AttachmentForm)),
    security(("bearer" = [])),
    modifiers(&Bearer, &Forms, &Answers),
    tags(
        (name = "rooms", description = "Rooms and their members"),
        (name = "messages", description = "The log of a room"),
        (name = "presence", description = "Who is here"),
        (name = "users", description = "Who people are, for back ends"),
        (name = "me", description = "What is kept of the asker"),
    )
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.bearer_format = Some("JWT".to_owned());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// Adds the forms that only parameters name: their components are not found from there.
struct Forms;

impl Modify for Forms {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        document.components.get_or_insert_default().schemas.extend(forms::all());
    }
}

/// The document as it is served, with the limits that are set.
pub struct Served(Bytes);

impl Served {
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self(Bytes::from(with_limits(limits).to_json().unwrap_or_default()))
    }
}

fn with_limits(limits: &Limits) -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    if let RefOr::T(Schema::Object(mut text)) = MessageTextForm::schema() {
        text.max_length = Some(limits.max_message_chars);
        let schemas = &mut document.components.get_or_insert_default().schemas;
        schemas.insert(MessageTextForm::name().into_owned(), text.into());
    }
    document
}

/// This document.
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "getOpenApi", security(()),
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object))
)]
pub async fn document(served: web::Data<Served>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(served.0.clone())
}

#[cfg(test)]
mod tests {
    use super::super::problem::PROBLEM_JSON;
    use super::*;

    #[test]
    fn zz_print() {
        std::fs::write("/tmp/oa/doc.json", Document::openapi().to_json().unwrap()).unwrap();
    }

    #[test]
    fn every_operation_tells_its_problems_and_needs_a_token_but_the_document_itself() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["security"][0]["bearer"], serde_json::json!([]));
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let open = operation.get("security").is_some();
                assert_eq!(open, path == "/v1/openapi.json", "{method} {path}");
                let problem = &operation["responses"]["401"]["content"][PROBLEM_JSON]["schema"]["$ref"];
                assert_eq!(problem == "#/components/schemas/Problem", !open, "{method} {path}");
            }
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let operations =
            document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap());
        let mut names: Vec<&str> =
            operations.map(|(_, operation)| operation["operationId"].as_str().unwrap()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(count > 12, "{count} operations");
    }

    #[test]
    fn a_body_that_may_be_left_out_is_told_as_such() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let message = &document["paths"]["/v1/rooms/{room}/messages/{seq}"];
        assert_eq!(message["patch"]["requestBody"]["required"], true);
        let body = &message["delete"]["requestBody"];
        assert!(body.is_object() && body["required"] != true, "{body}");
    }

    #[test]
    fn every_reference_leads_to_a_schema() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let text = document.to_string();
        let names: Vec<&str> =
            text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(names.len() > 20);
        for name in names {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
