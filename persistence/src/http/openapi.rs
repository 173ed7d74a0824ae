//! `/openapi.json`: serves the OpenAPI 3.1 document, which is built from the handlers. Every operation declares the
//! token that it needs and the refusals that it may answer with.

mod answers;

use std::collections::BTreeSet;

use actix_web::HttpResponse;
use actix_web::web::{self, Bytes};
use answers::SharedAnswers;
use tidings_shared::message::Attachment;
use tidings_shared::openapi::{self, MessageTextForm};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{Modify, OpenApi, PartialSchema, ToSchema};

use super::problem::ProblemDocument;
use super::state::Limits;
use super::{
    audit, changes, erase, events, export, feed, members, messages, my_membership, my_rooms, people,
    presence, room_changes, rooms, search, send, users, watermarks,
};
use crate::query::messages::Reaction;

#[derive(OpenApi)]
#[openapi(
    info(title = "Tidings", description = include_str!("openapi/about.md")),
    paths(
        rooms::create, rooms::list, rooms::get, room_changes::change, room_changes::archive, my_rooms::list,
        my_membership::change, people::list, members::list, members::put_member, members::remove,
        messages::list_messages, messages::get, send::send, changes::edit, changes::delete,
        changes::add_reaction, changes::remove_reaction, messages::list_versions,
        events::list_events, watermarks::list_receipts, watermarks::set_read, watermarks::set_delivered,
        search::search_messages, presence::list, presence::set_presence,
        users::put_user, audit::list, export::export_me, feed::read, erase::erase_me, erase::erase_user, document,
    ),
    components(schemas(ProblemDocument, Reaction, Attachment)),
    security(("bearer" = [])),
    modifiers(&SharedComponents, &SharedAnswers),
    tags(
        (name = "rooms", description = "Rooms and their members"),
        (name = "messages", description = "The log of a room"),
        (name = "presence", description = "Presence of users"),
        (name = "users", description = "User accounts, for back ends"),
        (name = "me", description = "Data of the caller"),
        (name = "feed", description = "Events of all rooms, for other servers"),
    )
)]
struct Document;

/// Adds the security scheme, and the schemas that only parameters refer to: utoipa collects only the schemas of bodies.
struct SharedComponents;

impl Modify for SharedComponents {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.bearer_format = Some("JWT".to_owned());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
        components.schemas.extend(openapi::all());
    }
}

/// The text of the OpenAPI document with the configured limits.
pub struct ServedDocument(Bytes);

impl ServedDocument {
    /// Generates the document once; every request is answered with the same bytes.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self(Bytes::from(with_limits(limits).to_json().unwrap_or_default()))
    }
}

/// The path of each route with each status that one of its operations documents. A request that matches no route is
/// answered 404 and has the route `none`.
#[must_use]
pub fn documented_answers() -> BTreeSet<(String, String)> {
    let mut documented = BTreeSet::from([("none".to_owned(), "404".to_owned())]);
    for (path, item) in &mut Document::openapi().paths.paths {
        for (_, operation) in answers::operations(item) {
            let statuses = operation.responses.responses.keys();
            documented.extend(statuses.map(|status| (path.clone(), status.clone())));
        }
    }
    documented
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

/// This OpenAPI document.
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "getOpenApi", security(()),
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object))
)]
pub async fn document(served: web::Data<ServedDocument>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(served.0.clone())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use serde_json::{Value, json};
    use tidings_shared::rate::Rate;

    use crate::writer::daily_limits::DailyLimits;

    use super::super::problem::PROBLEM_JSON;
    use super::*;

    fn document() -> Value {
        let two = NonZeroU32::MIN.saturating_add(1);
        let limits = Limits {
            max_message_chars: 321,
            max_members_per_room: two,
            max_rooms_per_user: two,
            max_rooms_by_others: two,
            daily: DailyLimits { rooms: two, members: two, new_users: two },
            commands: Rate::per_second(two),
            marks: Rate::per_second(two),
            presence: Rate::per_second(two),
            reads: Rate::per_second(two),
            read_slots: 2,
        };
        serde_json::from_slice(&ServedDocument::new(&limits).0).unwrap()
    }

    fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
        let items = document["paths"].as_object().unwrap().iter();
        items.flat_map(|(path, item)| {
            let item = item.as_object().unwrap().iter();
            item.map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
        })
    }

    #[test]
    fn every_operation_documents_inputs_and_refusals() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["security"][0]["bearer"], json!([]));
        assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
        for (method, path, operation) in operations(&document) {
            let open = operation.get("security").is_some();
            assert_eq!(open, path == "/v1/openapi.json", "{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
            let answers = operation["responses"].as_object().unwrap();
            assert!(!answers.contains_key("default"), "{method} {path}: that would allow everything");
            assert_eq!(answers.contains_key("401"), !open, "{method} {path}");
            for (status, answer) in answers.iter().filter(|(status, _)| status.as_str() >= "400") {
                let schema = &answer["content"][PROBLEM_JSON]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
            }
            let tagged = answers.get("200").is_some_and(|answer| answer["headers"].get("ETag").is_some());
            assert_eq!(tagged, answers.contains_key("304"), "{method} {path}");
            assert_eq!(tagged, method == "get" && path != "/v1/me/export", "{method} {path}");
            assert_eq!(
                answers.contains_key("413"),
                operation.get("requestBody").is_some() || path == "/v1/presence"
            );

            let in_path = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let documented =
                parameters.filter(|parameter| parameter["in"] == "path" && parameter["required"] == true);
            let documented: Vec<&str> =
                documented.filter_map(|parameter| parameter["name"].as_str()).collect();
            assert_eq!(documented, in_path.collect::<Vec<_>>(), "{method} {path}");
        }
    }

    #[test]
    fn message_length_limit_is_the_configured_one() {
        let document = document();
        assert_eq!(document["components"]["schemas"]["MessageText"]["maxLength"], 321);
        for schema in ["Send", "Edit"] {
            let content = &document["components"]["schemas"][schema]["properties"]["content"];
            assert!(content.to_string().contains("#/components/schemas/MessageText"), "{content}");
        }
    }

    #[test]
    fn every_operation_id_is_unique() {
        let document = document();
        let mut names: Vec<&str> =
            operations(&document).map(|(.., operation)| operation["operationId"].as_str().unwrap()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(count > 25, "{count} operations");
    }

    #[test]
    fn optional_body_is_documented_as_optional() {
        let document = document();
        let message = &document["paths"]["/v1/rooms/{room}/messages/{seq}"];
        assert_eq!(message["patch"]["requestBody"]["required"], true);
        let body = &message["delete"]["requestBody"];
        assert!(body.is_object() && body["required"] != true, "{body}");
        // Optional, not nullable.
        assert_eq!(body["content"]["application/json"]["schema"]["$ref"], "#/components/schemas/Change");
    }

    #[test]
    fn every_reference_resolves_to_a_schema() {
        let document = document();
        let text = document.to_string();
        let names: Vec<&str> =
            text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(names.len() > 20);
        for name in names {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
