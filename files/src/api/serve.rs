//! Serves files at signed URLs. The bytes come from a user, so no answer may run in the page of the service: the type
//! is one of a short list, browsers must not guess another, and a document may do nothing.

use std::io::ErrorKind;

use actix_files::NamedFile;
use actix_web::{HttpRequest, HttpResponse, web};
use tidings_persistence::http::{parameters::Parameters, problem::Problem};
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::FileId;

use super::protect::protect;
use super::registry::parse_id;
use super::stream;
use super::{ApiState, no_such_file};
use crate::file::{FileState, StoredFile};
use crate::folder::{Folder, blocking};
use crate::media::delivery;
use crate::signing::UrlPurpose;
use crate::storage::{Derived, Storage};
use crate::store::files;

/// The content of a file. Needs no token; the address is signed. Supports ranges.
#[utoipa::path(
    get, path = "/v1/files/{file}", operation_id = "getContent", tag = "files", security(()),
    params(
        ("file" = FileId, Path), ("expires" = i64, Query), ("signature" = String, Query),
        ("preview" = Option<String>, Query, description = "Part of addresses of previews"),
        ("review" = Option<String>, Query, description = "Part of addresses that admins get"),
    ),
    responses(
        (status = 200, description = "The content", content_type = "application/octet-stream"),
        (status = 206, description = "A range of the content", content_type = "application/octet-stream"),
        (status = 304, description = "The content that the client has"),
        (status = 400, description = "The id or a parameter has a wrong form"),
        (status = 403, description = "The URL has expired (reason expired), or is invalid"),
        (status = 404, description = "The file is removed"),
        (status = 412, description = "The content differs from the one that the client has"),
        (status = 416, description = "The range is outside of the content"),
        (status = 503, description = "The database or the storage is unavailable; retry"),
    )
)]
pub async fn serve(
    state: web::Data<ApiState>,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = parse_id(&path)?;
    let count = |result: &str| state.metrics.downloads.with_label_values(&[result]).inc();
    let purpose = |parameters: &Parameters| match (parameters.text("review"), parameters.text("preview")) {
        (Some(_), _) => UrlPurpose::Review,
        (None, Some(_)) => UrlPurpose::Preview,
        (None, None) => UrlPurpose::Download,
    };
    let purpose = check_address(&state, &id, &request, chrono::Utc::now().timestamp(), purpose)
        .inspect_err(|(result, _)| count(result))
        .map_err(|(_, problem)| problem)?;
    let may_read = |file: &StoredFile| {
        file.state == FileState::Ready || (file.state == FileState::Held && purpose == UrlPurpose::Review)
    };
    let Some(file) = files::get(&state.db, &id).await?.filter(may_read) else {
        count("missing");
        return Err(no_such_file());
    };
    let folder = match &state.storage {
        Storage::Folder(folder) => folder.clone(),
        // Contents in a bucket of S3 are fetched there, at presigned URLs.
        Storage::Bucket(bucket) if bucket.presigner().is_some() => return Err(no_such_file()),
        Storage::Bucket(bucket) => {
            let found = stream::answer(&state, bucket, &file, purpose, &request).await?;
            count(if found.is_some() { "served" } else { "missing" });
            return found.ok_or_else(no_such_file);
        }
    };
    if purpose == UrlPurpose::Preview {
        let found = preview(&state, folder, &file).await?;
        count(if found.is_some() { "served" } else { "missing" });
        return found.ok_or_else(no_such_file);
    }
    // An image that was copied from a bucket may be a derived file.
    let derived = file.is_cleaned.then_some(Derived::Clean);
    let opening = blocking(move || {
        let path = folder.path_of(&id);
        folder.open(&id, derived)?.map(|content| NamedFile::from_file(content, path)).transpose()
    });
    let Some(opened) = opening.await.map_err(|error| state.storage_failed(&error))? else {
        // The folder is older than PostgreSQL, such as after a restore. No retry helps.
        state.storage_failed(&ErrorKind::NotFound.into());
        count("missing");
        return Err(no_such_file());
    };
    count("served");
    Ok(answer(opened, &file, &request))
}

/// The preview of a file; None if there is none. It is small, so it is read as a whole.
async fn preview(
    state: &ApiState,
    folder: Folder,
    file: &StoredFile,
) -> Result<Option<HttpResponse>, Problem> {
    let Some(image) = &file.image else { return Ok(None) };
    let id = file.id.clone();
    let reading = blocking(move || folder.read_derived(&id, Derived::Preview));
    let Some(content) = reading.await.map_err(|error| state.storage_failed(&error))? else {
        state.storage_failed(&ErrorKind::NotFound.into());
        return Ok(None);
    };
    let delivery = delivery(Some(&image.preview_type));
    let mut answer = HttpResponse::Ok().content_type(delivery.content_type).body(content);
    protect(&mut answer, file, delivery.inline);
    Ok(Some(answer))
}

/// Checks the signature and the time of an address, whose parameters tell its purpose. The error is the label of the
/// metric and the refusal.
pub fn check_address(
    state: &ApiState,
    id: &FileId,
    request: &HttpRequest,
    now_s: i64,
    purpose: impl FnOnce(&Parameters) -> UrlPurpose,
) -> Result<UrlPurpose, (&'static str, Problem)> {
    let forged = || ("forged", Problem::new(ErrorCode::Forbidden, "the URL is invalid; request a new one"));
    let parameters = Parameters::from_request(request).map_err(|problem| ("forged", problem))?;
    let expires_s: i64 = parameters.text("expires").and_then(|text| text.parse().ok()).ok_or_else(forged)?;
    let signature = parameters.text("signature").ok_or_else(forged)?;
    let purpose = purpose(&parameters);
    if !state.addresses.signer.verifies(id, expires_s, purpose, signature) {
        return Err(forged());
    }
    if now_s >= expires_s {
        let refusal = Refusal::new(ErrorCode::Forbidden, "the URL has expired; request a new one");
        return Err(("expired", refusal.with_reason("expired").into()));
    }
    Ok(purpose)
}

fn answer(opened: NamedFile, file: &StoredFile, request: &HttpRequest) -> HttpResponse {
    let delivery = delivery(file.sniffed_type.as_deref());
    let opened = opened.disable_content_disposition().prefer_utf8(false);
    let mut answer = match delivery.content_type.parse() {
        Ok(content_type) => opened.set_content_type(content_type).into_response(request),
        Err(_) => opened.into_response(request),
    };
    protect(&mut answer, file, delivery.inline);
    answer
}
