//! `PATCH` and `DELETE` of `/rooms/{room}`: change the name, metadata, archived flag or slow mode of a room.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_shared::command_fields::{json_object, object, optional};
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::{RoomId, Seq, UserId};
use tidings_shared::limits::{MAX_METADATA_BYTES, MAX_SLOW_MODE_S};
use tidings_shared::log::Entry;
use tidings_shared::message::events::RoomBody;
use tidings_shared::openapi::{MetadataForm, NameForm, SlowModeForm};
use tidings_shared::role::{self, MinRole, Permission};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::allowance::RateLimitKind;
use super::body::{Body, MAX_COMMAND_BODY_BYTES};
use super::caller::Caller;
use super::creation::check_name;
use super::parameters;
use super::problem::Problem;
use super::state::State;
use crate::batch::ROOM_UPDATED;
use crate::membership::{DECISION_TIMEOUT, check_against_log, wait_stored};
use crate::query::room::{Role, Room, room_without_viewer_state};

/// Changes the name, the metadata, the archived flag or the slow mode of a room. Answered when the change is stored.
#[utoipa::path(
    patch, path = "/v1/rooms/{room}", operation_id = "changeRoom", tag = "rooms",
    params(("room" = RoomId, Path)), request_body = RoomChangeBody,
    responses(
        (status = 200, description = "The changed room", body = Room),
        (status = 409, description = "The room is archived"),
        (status = 413, description = "Too much text"),
        (status = 429, description = "Too many commands"),
    )
)]
pub async fn change(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<web::Json<Room>, Problem> {
    let room = parameters::room(&path)?;
    let body = Body::read(&state, &caller, payload, MAX_COMMAND_BODY_BYTES).await?;
    let change = RoomChange::parse(body.text())?;
    state.allowance.take_token(RateLimitKind::Commands, caller.viewer())?;
    Ok(web::Json(apply(&state, &caller, &room, &change).await?))
}

/// Archives a room. Changes nothing if the room is archived already.
#[utoipa::path(
    delete, path = "/v1/rooms/{room}", operation_id = "archiveRoom", tag = "rooms",
    params(("room" = RoomId, Path)),
    responses(
        (status = 204, description = "The room is archived"),
        (status = 429, description = "Too many commands"),
    )
)]
pub async fn archive(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let room = parameters::room(&path)?;
    state.allowance.take_token(RateLimitKind::Commands, caller.viewer())?;
    let change = RoomChange { archived: Some(true), ..RoomChange::default() };
    apply(&state, &caller, &room, &change).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn apply(state: &State, caller: &Caller, id: &RoomId, change: &RoomChange) -> Result<Room, Problem> {
    let read = || async {
        room_without_viewer_state(&state.db, caller.viewer(), id).await?.ok_or_else(Problem::no_such_room)
    };
    let mut room = read().await?;
    let mut checked = change.check(&room, caller.admin);
    // The caller may already have seen a change that is not stored yet. So a request that would append nothing is
    // checked again after everything that the log has accepted is stored.
    if !matches!(checked, Ok(Some(_))) {
        let head = Seq(u64::try_from(room.head.seq).unwrap_or_default());
        if !check_against_log(&state.db, &state.log, id, head, Instant::now() + DECISION_TIMEOUT).await? {
            room = read().await?;
            checked = change.check(&room, caller.admin);
        }
    }
    let Some(min_role) = checked? else { return Ok(room) };
    let accepted = state.log.append(&change.entry(id, &caller.user, min_role)).await?;
    wait_stored(&state.log, id, &accepted).await?;
    read().await
}

const SLOW_MODE_RULE: &str = "a number of seconds from 0 to 3600";
const _: () = assert!(MAX_SLOW_MODE_S == 3600, "the rule names the maximum");

/// A checked change of a room; None stands for a field that is not changed.
#[derive(Debug, Default)]
struct RoomChange {
    name: Option<String>,
    metadata: Option<Box<RawValue>>,
    archived: Option<bool>,
    slow_mode_s: Option<u16>,
}

/// The fields of a room to change. Omitted fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[schema(as = RoomChange)]
pub struct RoomChangeBody<'a> {
    #[serde(borrow, default)]
    #[schema(value_type = Option<NameForm>)]
    name: Option<&'a RawValue>,
    /// The new metadata, in place of all old metadata.
    #[serde(borrow, default)]
    #[schema(value_type = Option<MetadataForm>)]
    metadata: Option<&'a RawValue>,
    /// Whether the room is archived. An archived room accepts no change except setting this field to false.
    #[serde(borrow, default)]
    #[schema(value_type = Option<bool>)]
    archived: Option<&'a RawValue>,
    /// A member who may not change the room may send one message in this time.
    #[serde(borrow, default)]
    #[schema(value_type = Option<SlowModeForm>)]
    slow_mode_s: Option<&'a RawValue>,
}

impl RoomChange {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let given: RoomChangeBody<'_> = object(text)?;
        let name: Option<String> = optional(given.name, "name", "a string")?;
        name.as_deref().map_or(Ok(()), check_name)?;
        let slow_mode_s: Option<u16> = optional(given.slow_mode_s, "slow_mode_s", SLOW_MODE_RULE)?;
        if slow_mode_s.is_some_and(|seconds| seconds > MAX_SLOW_MODE_S) {
            return Err(Refusal::bad_field("slow_mode_s", format!("`slow_mode_s` must be {SLOW_MODE_RULE}")));
        }
        Ok(Self {
            name,
            metadata: json_object(given.metadata, "metadata", MAX_METADATA_BYTES)?,
            archived: optional(given.archived, "archived", "true or false")?,
            slow_mode_s,
        })
    }

    /// Checks whether the caller may change the room; `room` holds the caller's role. Returns the minimum role that the
    /// caller must still have when the change is appended, or None if nothing would change.
    fn check(&self, room: &Room, admin: bool) -> Result<Option<MinRole>, Refusal> {
        let role = match &room.role {
            Role::Included(Some(role)) => role.as_str(),
            Role::Included(None) | Role::Omitted => "",
        };
        if !admin && !role::allows(role, Permission::ChangeRoom) {
            return Err(Refusal::new(ErrorCode::Forbidden, "your role in this room does not allow this"));
        }
        let same_name = self.name.as_deref().is_none_or(|name| name == room.name.as_deref().unwrap_or(""));
        let same_metadata = self.metadata.as_ref().is_none_or(|json| json.get() == room.metadata.get());
        let same_archived = self.archived.is_none_or(|archived| archived == room.archived);
        let same_slow_mode = self.slow_mode_s.is_none_or(|seconds| i32::from(seconds) == room.slow_mode_s);
        if same_name && same_metadata && same_archived && same_slow_mode {
            return Ok(None);
        }
        if room.archived && self.archived != Some(false) {
            return Err(Refusal::new(
                ErrorCode::Conflict,
                "the room is archived; set archived to false in the same change",
            ));
        }
        Ok(Some(if admin { MinRole::Anyone } else { Permission::ChangeRoom.min_role() }))
    }

    fn entry<'a>(&self, room: &'a RoomId, by: &'a UserId, min_role: MinRole) -> Entry<'a> {
        let (name, metadata, archived) = (self.name.as_deref(), self.metadata.as_deref(), self.archived);
        let slow_mode_s = self.slow_mode_s;
        let body = serde_json::to_string(&RoomBody { name, metadata, archived, slow_mode_s, by });
        let sets = [
            name.map(|name| ("name", name.to_owned())),
            archived.map(|archived| ("archived", u8::from(archived).to_string())),
            slow_mode_s.map(|seconds| ("slow_mode_s", seconds.to_string())),
        ];
        // An archived room accepts a request that only archives, because another request may just have archived the
        // room.
        let others_stay = name.is_none() && metadata.is_none() && slow_mode_s.is_none();
        let archives_only = archived == Some(true) && others_stay;
        Entry {
            sender: Some(by),
            sets: sets.into_iter().flatten().collect(),
            min_role,
            allowed_in_archive: archived == Some(false) || archives_only,
            ..Entry::new(room, ROOM_UPDATED, body.expect("strings and checked JSON always serialise"))
        }
    }
}

#[cfg(test)]
mod tests;
