//! `PATCH /rooms/{room}/me`: changes what a member sets for themselves in a room.

use actix_web::web;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings_shared::command_fields::{object, required};
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::RoomId;
use utoipa::ToSchema;

use super::allowance::RateLimitKind;
use super::body::{Body, MAX_COMMAND_BODY_BYTES};
use super::caller::Caller;
use super::change_notices::ChangeNotice;
use super::parameters;
use super::problem::Problem;
use super::state::State;
use crate::query::room::NotifyLevel;
use crate::writer::members::set_notify_level;

/// What I set for myself in a room. Nobody else sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnSettings {
    /// For which messages I want notifications.
    notify: NotifyLevel,
}

/// Changes what I set for myself in a room. My other connections get `rooms:changed`.
#[utoipa::path(
    patch, path = "/v1/rooms/{room}/me", operation_id = "changeOwnSettings", tag = "rooms",
    params(("room" = RoomId, Path)), request_body = OwnSettings,
    responses(
        (status = 200, description = "The settings, once they are stored", body = OwnSettings),
        (status = 429, description = "Too many commands"),
    )
)]
pub async fn change(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<web::Json<OwnSettings>, Problem> {
    let room = parameters::room(&path)?;
    let body = Body::read(&state, &caller, payload, MAX_COMMAND_BODY_BYTES).await?;
    let notify = parse_notify(body.text())?;
    state.allowance.take_token(RateLimitKind::Commands, caller.viewer())?;
    if state.access(caller.viewer(), &room).await?.role.is_none() {
        // A caller with the scope `tidings.admin` who is not a member has no settings in the room.
        return Err(Problem::new(ErrorCode::Forbidden, "only members of the room have settings in it"));
    }
    let notice = ChangeNotice::RoomList(caller.user.clone());
    state.notify_before(&notice).await?;
    let set = set_notify_level(&state.db, &room, &caller.user, notify).await;
    // The notice is sent even after a failure, because the change may be stored although its answer was lost.
    if !matches!(set, Ok(false)) {
        state.notify(notice).await;
    }
    set?;
    Ok(web::Json(OwnSettings { notify }))
}

fn parse_notify(text: &str) -> Result<NotifyLevel, Refusal> {
    #[derive(Deserialize)]
    struct GivenFields<'a> {
        #[serde(borrow, default)]
        notify: Option<&'a RawValue>,
    }
    let given: GivenFields<'_> = object(text)?;
    required(given.notify, "notify", "`all`, `mentions` or `none`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notification_level_is_one_of_three_names() {
        for level in [NotifyLevel::All, NotifyLevel::Mentions, NotifyLevel::None] {
            assert_eq!(parse_notify(&format!(r#"{{"notify":"{}"}}"#, level.as_str())), Ok(level));
        }
        for body in ["{}", r#"{"notify":null}"#, r#"{"notify":"some"}"#, r#"{"notify":1}"#] {
            assert_eq!(parse_notify(body).unwrap_err().field.as_deref(), Some("notify"), "{body}");
        }
    }
}
