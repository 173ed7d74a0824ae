//! `/admin/audit`: what admins and moderators did, for back ends.

use actix_web::{HttpRequest, web};
use tidings_shared::error::ErrorCode;
use tidings_shared::openapi::{LimitForm, ListCursorForm, RoomFilterForm, UserFilterForm};

use super::caller::Caller;
use super::parameters::Parameters;
use super::problem::Problem;
use super::state::State;
use crate::query::audit::{AuditFilter, AuditPage, audit_log, unpack_position};

/// The audit log, newest entries first. Needs the scope `tidings.admin`.
#[utoipa::path(
    get, path = "/v1/admin/audit", operation_id = "listAudit", tag = "users",
    params(
        ("actor" = Option<UserFilterForm>, Query, description = "Only actions of this user"),
        ("target" = Option<UserFilterForm>, Query, description = "Only actions that concern this user"),
        ("room" = Option<RoomFilterForm>, Query, description = "Only actions in this room"),
        ("cursor" = Option<ListCursorForm>, Query),
        ("limit" = Option<LimitForm>, Query),
    ),
    responses((status = 200, description = "A page", body = AuditPage))
)]
pub async fn list(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<web::Json<AuditPage>, Problem> {
    if !caller.admin {
        return Err(Problem::new(ErrorCode::Forbidden, "the audit log needs the scope tidings.admin"));
    }
    let parameters = Parameters::from_request(&request)?;
    let filter = AuditFilter {
        actor: parameters.user("actor")?,
        target: parameters.user("target")?,
        room: parameters.room("room")?,
    };
    let (before, limit) = (parameters.cursor(unpack_position)?, parameters.limit()?);
    Ok(web::Json(audit_log(&state.db, &filter, before, limit).await?))
}
