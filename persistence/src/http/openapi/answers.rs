//! Adds the answers to the OpenAPI document that several handlers share: refusals as problem documents, `304`, and
//! headers. The method and the path of an operation, and whether it takes a token, a body or parameters, decide which
//! answers it can give. Each operation lists exactly the statuses that can occur.

use utoipa::Modify;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Content, ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder, Schema};

use crate::http::problem::PROBLEM_JSON;

/// Adds the shared answers to every operation of the document.
pub struct SharedAnswers;

impl Modify for SharedAnswers {
    fn modify(&self, document: &mut OpenApi) {
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations(item) {
                add_shared_answers(path, method, operation);
            }
        }
    }
}

fn add_shared_answers(path: &str, method: HttpMethod, operation: &mut Operation) {
    let has_token = operation.security.is_none();
    let has_body = operation.request_body.is_some();
    let has_input = has_body || operation.parameters.as_ref().is_some_and(|given| !given.is_empty());
    let is_json = matches!(operation.responses.responses.get("200"),
        Some(RefOr::T(answer)) if answer.content.contains_key("application/json"));
    let is_get = matches!(method, HttpMethod::Get);
    let is_tagged = is_get && is_json;
    let problems = [
        (has_input, "400", "A parameter or field breaks a rule"),
        (has_token, "401", "No token, or a bad one"),
        (has_token, "403", "Not allowed, or blocked"),
        (path.contains("{room}"), "404", "Not found, or not visible to the caller"),
        (has_body, "413", "The body or a field of it is over a limit"),
        (has_token && is_get, "429", "Too many reads at a time, per second, or of another limit of reads"),
        (has_token, "500", "Server error; it was logged"),
        (has_token, "503", "Unavailable or overloaded; retry"),
    ];
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.content.values_mut().for_each(remove_null);
    }
    let responses = &mut operation.responses.responses;
    for (_, status, description) in problems.iter().filter(|(applies, ..)| *applies) {
        let problem = || ResponseBuilder::new().description(*description).build().into();
        responses.entry((*status).to_owned()).or_insert_with(problem);
    }
    if is_tagged {
        let unchanged = ResponseBuilder::new().description("Unchanged since the tag in `If-None-Match`");
        responses.insert("304".to_owned(), unchanged.build().into());
    }
    for (status, response) in responses.iter_mut() {
        let RefOr::T(response) = response else { continue };
        if status.as_str() >= "400" {
            let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            response.content.insert(PROBLEM_JSON.to_owned(), problem.into());
        }
        let headers: &[(&str, &str)] = match status.as_str() {
            "200" | "304" if is_tagged => &[("ETag", "A weak entity tag; none for answers over 4 MiB")],
            "200" | "201" if path == "/v1/rooms" && has_body => &[("Location", "The room")],
            "401" => &[("WWW-Authenticate", "`Bearer`")],
            "429" | "503" => &[("Retry-After", "Seconds, rounded up from `retry_after_ms`")],
            _ => &[],
        };
        for (name, about) in headers {
            let text = ObjectBuilder::new().schema_type(Type::String);
            let header = HeaderBuilder::new().schema(Some(text)).description(Some(*about)).build();
            response.headers.insert((*name).to_owned(), header.into());
        }
    }
}

/// Makes an optional body not nullable, because utoipa adds `null` to its schema but no handler accepts `null`.
fn remove_null(content: &mut RefOr<Content>) {
    let RefOr::T(content) = content else { return };
    if let Some(RefOr::T(Schema::OneOf(either))) = &content.schema {
        content.schema = either.items.iter().find(|item| matches!(item, RefOr::Ref(_))).cloned();
    }
}

/// The operations of a path, with their methods.
pub fn operations(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Put, &mut item.put),
        (HttpMethod::Post, &mut item.post),
        (HttpMethod::Delete, &mut item.delete),
        (HttpMethod::Patch, &mut item.patch),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}
