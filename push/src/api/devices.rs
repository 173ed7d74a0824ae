//! Registers, lists and deletes devices.

use actix_web::{HttpResponse, web};
use sea_orm::TransactionTrait;
use tidings_persistence::companion::api::read_form;
use tidings_persistence::http::problem::Problem;
use tidings_shared::error::{ErrorCode, Refusal};

use super::ApiState;
use super::caller::ApiUser;
use super::forms::{DeviceAnswer, DeviceList, NewDevice};
use crate::store::devices;

/// Maximum number of devices of a user.
const MAX_DEVICES: i64 = 20;

/// The devices of the caller.
#[utoipa::path(
    get, path = "/v1/me/devices", operation_id = "listDevices", tag = "devices",
    responses((status = 200, body = DeviceList), (status = 429, description = "Too many requests"))
)]
pub async fn list(state: web::Data<ApiState>, caller: ApiUser) -> Result<web::Json<DeviceList>, Problem> {
    let devices = devices::list(&state.db, &caller.0).await?;
    Ok(web::Json(DeviceList { devices: devices.into_iter().map(Into::into).collect() }))
}

/// Registers a device. Replaces a device with the same endpoint or token, even one of another user: it then belongs to
/// the caller alone.
#[utoipa::path(
    post, path = "/v1/me/devices", operation_id = "registerDevice", tag = "devices", request_body = NewDevice,
    responses(
        (status = 201, body = DeviceAnswer),
        (status = 413, description = "The caller has too many devices, or the body is too long"),
        (status = 429, description = "Too many requests"),
    )
)]
pub async fn register(
    state: web::Data<ApiState>,
    caller: ApiUser,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let address = read_form::<NewDevice>(payload).await?.checked(&state.endpoints, &state.app_kinds)?;
    let new_id = uuid::Uuid::now_v7().to_string();
    let transaction = state.db.begin().await?;
    caller.lock(&transaction).await?;
    let register = || devices::register(&transaction, &new_id, &caller.0, &address, MAX_DEVICES);
    let device = match register().await? {
        // Another user may have registered the same new endpoint at the same time. The second round sees and deletes it.
        None => register().await?,
        found => found,
    };
    let device = device.ok_or_else(|| {
        let detail = format!("a user must not have over {MAX_DEVICES} devices; delete one first");
        Problem::new(ErrorCode::TooLarge, detail)
    })?;
    transaction.commit().await?;
    Ok(HttpResponse::Created().json(DeviceAnswer::from(device)))
}

/// Deletes a device of the caller, with the notifications that wait for it.
#[utoipa::path(
    delete, path = "/v1/me/devices/{id}", operation_id = "deleteDevice", tag = "devices",
    params(("id" = String, Path)),
    responses(
        (status = 204, description = "The device is deleted"),
        (status = 404, description = "The caller has no such device"),
        (status = 429, description = "Too many requests"),
    )
)]
pub async fn delete(
    state: web::Data<ApiState>,
    caller: ApiUser,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    // PostgreSQL text cannot contain U+0000, so no device has such an id.
    let is_deleted = !id.contains('\0') && devices::delete(&state.db, caller.0.as_str(), &id).await?;
    if is_deleted { Ok(HttpResponse::NoContent().finish()) } else { Err(Refusal::not_found("device").into()) }
}
