//! `/openapi.json`: the OpenAPI 3.1 document, built from the handlers.
//! Promises that every operation names the token it needs and the problem documents it answers with.

use actix_web::HttpResponse;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::problem::{PROBLEM_JSON, ProblemDocument};
use super::{changes, erase, events, export, members, messages, my_rooms, presence, reactions, room_changes, rooms, search, send, users, versions, watermarks};
use crate::query::messages::Reaction;

#[derive(OpenApi)]
#[openapi(
    info(title = "Tidings", description = "Rooms, history and sends of the Tidings chat backend."),
    paths(
        rooms::create, rooms::list, rooms::one, my_rooms::list, members::list,
        members::put, members::remove, room_changes::change, room_changes::archive, users::put, messages::page,
        messages::one, changes::edit, changes::delete, reactions::add, reactions::remove, versions::list, send::send, events::page, watermarks::receipts, watermarks::read, watermarks::delivered,
        search::find, export::export_me, erase::erase_me, presence::list, presence::set, document,
    ),
    components(schemas(ProblemDocument, Reaction)),
    security(("bearer" = [])),
    modifiers(&Bearer, &Problems),
    tags(
        (name = "rooms", description = "Rooms and their members"),
        (name = "me", description = "What is kept of the asker"),
        (name = "users", description = "Who people are, for back ends"),
        (name = "messages", description = "The log of a room"),
        (name = "presence", description = "Who is here"),
    )
)]
pub struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.bearer_format = Some("JWT".to_owned());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// Adds to each operation that needs a token the problems which any of them may answer with.
struct Problems;

impl Modify for Problems {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for operation in document.paths.paths.values_mut().flat_map(operations) {
            if operation.security.is_some() {
                continue;
            }
            for (status, description) in [
                ("400", "A parameter or field breaks a rule"),
                ("401", "No token, or a bad one"),
                ("403", "Not allowed"),
                ("404", "No such room or message, or not yours to see"),
                ("503", "Out of reach or overloaded; try again"),
                ("default", "Any other refusal"),
            ] {
                let responses = &mut operation.responses.responses;
                responses.entry(status.to_owned()).or_insert_with(|| problem(description).into());
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten()
}

fn problem(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content(PROBLEM_JSON, content).build()
}

/// This document.
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "getOpenApi", security(()),
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object))
)]
pub async fn document() -> HttpResponse {
    HttpResponse::Ok().json(Document::openapi())
}

#[cfg(test)]
mod tests {
    use super::*;

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
