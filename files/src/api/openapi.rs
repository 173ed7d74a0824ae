//! The OpenAPI document of this API, served at `/v1/files/openapi.json`.

use actix_web::HttpResponse;
use tidings_persistence::companion::refusals::describe_refusals;
use tidings_persistence::http::problem::ProblemDocument;
use tidings_shared::openapi::{AttachmentTextForm, AttachmentUrlForm, MessageSeqForm, TimeForm};
use tidings_shared::{error::ErrorCode, ids, message::Attachment};
use utoipa::{Modify, OpenApi};

use super::{complete, content, download, forms, put_part, registry, review, serve, upload};

#[derive(OpenApi)]
#[openapi(
    info(title = "Tidings files", description = "Files of messages: resumable uploads, and downloads for those who see the message."),
    paths(
        registry::create,
        registry::get,
        registry::give_up,
        content::offset,
        content::append,
        put_part::put,
        complete::complete,
        download::download,
        serve::serve,
        review::list,
        review::release,
        review::reject,
        document,
    ),
    components(schemas(
        ProblemDocument<'_>,
        forms::NewFileForm,
        forms::FileAnswer,
        upload::Upload,
        upload::PartToSend,
        forms::Address,
        forms::HeldFiles,
        Attachment,
        AttachmentTextForm,
        AttachmentUrlForm,
        MessageSeqForm,
        TimeForm,
        ErrorCode,
        ids::FileId,
        ids::RoomId,
        ids::UserId,
    )),
    modifiers(&Forbidden),
    security(("bearer" = []))
)]
struct Document;

/// Adds the refusals that all operations have.
struct Forbidden;

impl Modify for Forbidden {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        describe_refusals(document, "The caller may not do this");
    }
}

/// This OpenAPI document.
#[utoipa::path(
    get, path = "/v1/files/openapi.json", operation_id = "getFilesOpenApi", security(()),
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
    fn operations_document_their_refusals_and_all_schemas() {
        let text = Document::openapi().to_json().unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(paths.len(), 11);
        for (path, operation) in paths.iter().flat_map(|(path, item)| {
            item.as_object().unwrap().values().map(move |operation| (path, operation))
        }) {
            let needs_token = operation["security"].is_null();
            let problem = &operation["responses"]["401"]["content"][PROBLEM_JSON]["schema"]["$ref"];
            assert_eq!(problem == "#/components/schemas/Problem", needs_token, "{path}");
        }
        let mut names =
            text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next());
        let missing = names.find(|name| document["components"]["schemas"].get(*name).is_none());
        assert_eq!(missing, None);
    }
}
