//! `PATCH` and `DELETE` of `/rooms/{room}`: its name, its metadata, whether it is archived.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::{RoomId, Seq, UserId};
use tidings_shared::log::{Entry, Minimum};
use tidings_shared::message::MAX_METADATA_BYTES;
use tidings_shared::protocol::Fields;
use tidings_shared::protocol::fields::optional;
use tidings_shared::role::{self, Permission};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::allowance::Kind;
use super::body::{Body, COMMAND_BYTES};
use super::caller::Caller;
use super::creation::check_name;
use super::parameters;
use super::problem::{Problem, ProblemDocument};
use super::state::State;
use crate::forms::{MetadataForm, NameForm, RoomIdForm};
use crate::ingest::batch::ROOM_UPDATED;
use crate::membership::{PATIENCE, stored, was_all};
use crate::query::room::{Role, Room, plain_room};

/// What is to be changed of a room; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[schema(as = RoomChange)]
#[allow(dead_code, reason = "the form of the body for the OpenAPI document; it is read field by field")]
pub struct RoomChangeForm {
    #[schema(value_type = Option<NameForm>)]
    name: Option<String>,
    /// In the place of all that is there.
    #[schema(value_type = Option<MetadataForm>)]
    metadata: Option<serde_json::Value>,
    /// An archived room takes no changes but this one back to false.
    archived: Option<bool>,
}

/// Changes a room. Answered when it is stored.
#[utoipa::path(
    patch, path = "/v1/rooms/{room}", operation_id = "changeRoom", tag = "rooms",
    params(("room" = RoomIdForm, Path)), request_body = RoomChangeForm,
    responses(
        (status = 200, description = "As it is now", body = Room),
        (status = 409, description = "The room is archived", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "Too much text", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Too many commands", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<web::Json<Room>, Problem> {
    let room = parameters::room(&path)?;
    let body = Body::read(&state, &caller, payload, COMMAND_BYTES).await?;
    let change = RoomChange::read(body.text())?;
    state.allowance.take(Kind::Commands, &caller)?;
    Ok(web::Json(carry_out(&state, &caller, &room, &change).await?))
}

/// Archives a room. Done already, it stays so.
#[utoipa::path(
    delete, path = "/v1/rooms/{room}", operation_id = "archiveRoom", tag = "rooms",
    params(("room" = RoomIdForm, Path)),
    responses(
        (status = 204, description = "The room is archived"),
        (status = 429, description = "Too many commands", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn archive(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let room = parameters::room(&path)?;
    state.allowance.take(Kind::Commands, &caller)?;
    let change = RoomChange { archived: Some(true), ..RoomChange::default() };
    carry_out(&state, &caller, &room, &change).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn carry_out(
    state: &State,
    caller: &Caller,
    id: &RoomId,
    change: &RoomChange,
) -> Result<Room, Problem> {
    let read =
        || async { plain_room(&state.db, caller.viewer(), id).await?.ok_or_else(Problem::no_such_room) };
    let mut room = read().await?;
    let mut checked = change.check(&room, caller.admin);
    // An answer that appends nothing knows all that the asker may have seen.
    if !matches!(checked, Ok(Some(_))) {
        let head = Seq(u64::try_from(room.head.seq).unwrap_or_default());
        if !was_all(&state.db, &state.log, id, head, Instant::now() + PATIENCE).await? {
            room = read().await?;
            checked = change.check(&room, caller.admin);
        }
    }
    let Some(minimum) = checked? else { return Ok(room) };
    let accepted = state.log.append(&change.entry(id, &caller.user, minimum)).await?;
    stored(&state.log, id, &accepted).await?;
    read().await
}

/// A checked change of a room.
#[derive(Debug, Default)]
struct RoomChange {
    name: Option<String>,
    metadata: Option<Box<RawValue>>,
    archived: Option<bool>,
}

/// The fields of the body, not yet typed.
#[derive(Deserialize)]
struct Given<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    archived: Option<&'a RawValue>,
}

impl RoomChange {
    fn read(text: &str) -> Result<Self, Refusal> {
        if !text.trim_start().starts_with('{') {
            return Err(Refusal::new(ErrorCode::BadRequest, "expected one JSON object"));
        }
        let given: Given<'_> = serde_json::from_str(text)
            .map_err(|error| Refusal::new(ErrorCode::BadRequest, format!("not a JSON object: {error}")))?;
        let name: Option<String> = optional(given.name, "name", "a string")?;
        name.as_deref().map_or(Ok(()), check_name)?;
        Ok(Self {
            name,
            metadata: Fields::object(given.metadata, "metadata", MAX_METADATA_BYTES)?,
            archived: optional(given.archived, "archived", "true or false")?,
        })
    }

    /// Whether whoever sees the room so may change it: the rank they must still have when it is appended. None: it is
    /// so already.
    fn check(&self, room: &Room, admin: bool) -> Result<Option<Minimum>, Refusal> {
        let role = match &room.role {
            Role::Told(Some(role)) => role.as_str(),
            Role::Told(None) | Role::Untold => "",
        };
        if !admin && !role::allows(role, Permission::ChangeRoom) {
            return Err(Refusal::new(ErrorCode::Forbidden, "your role in this room does not allow this"));
        }
        let same_name = self.name.as_deref().is_none_or(|name| name == room.name.as_deref().unwrap_or(""));
        let same_metadata = self.metadata.as_ref().is_none_or(|json| json.get() == room.metadata.get());
        let same_archived = self.archived.is_none_or(|archived| archived == room.archived);
        if same_name && same_metadata && same_archived {
            return Ok(None);
        }
        if room.archived && self.archived != Some(false) {
            return Err(Refusal::new(ErrorCode::Conflict, "the room is archived; take that back with it"));
        }
        Ok(Some(if admin { Minimum::Anyone } else { Permission::ChangeRoom.minimum() }))
    }

    fn entry<'a>(&self, room: &'a RoomId, by: &'a UserId, minimum: Minimum) -> Entry<'a> {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            name: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            metadata: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            archived: Option<bool>,
            by: &'a UserId,
        }
        let (name, metadata, archived) = (self.name.as_deref(), self.metadata.as_deref(), self.archived);
        let body = serde_json::to_string(&Body { name, metadata, archived, by });
        let sets = [
            name.map(|name| ("name", name.to_owned())),
            archived.map(|archived| ("archived", u8::from(archived).to_string())),
        ];
        // Who archives what another has archived this moment changes nothing by it.
        let archives_only = archived == Some(true) && name.is_none() && metadata.is_none();
        Entry {
            sender: Some(by),
            sets: sets.into_iter().flatten().collect(),
            minimum,
            allowed_in_archive: archived == Some(false) || archives_only,
            ..Entry::new(room, ROOM_UPDATED, body.expect("strings and checked JSON always serialise"))
        }
    }
}

#[cfg(test)]
mod tests;
