//! `/rooms` and `/rooms/{room}`: creates rooms, lists public rooms, and reads one room.

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::limits::MAX_PAGE_ENTRIES;
use tidings_shared::openapi::{LimitForm, ListCursorForm, NameForm};

use super::allowance::RateLimitKind;
use super::body::{Body, MAX_ROOM_BODY_BYTES};
use super::caller::Caller;
use super::change_notices::{ChangeNotice, CreatedRoom};
use super::creation;
use super::parameters::{self, Parameters};
use super::problem::Problem;
use super::state::State;
use crate::query::cursor::ActivityCursor;
use crate::query::members::{Member, members};
use crate::query::room::{self, Room, RoomAnswer};
use crate::query::room_lists::{PublicRooms, public_rooms};
use crate::writer::rooms::{
    CreationOutcome, NewRoom, RoomKind, any_user_at_room_limit, create_room, find_direct_room,
};

/// Creates a room with its first members.
///
/// The creator becomes owner. In a direct room both users have the role `member`, and stay the only members. Unknown
/// users are created without a name, or refused if the installation requires known users.
#[utoipa::path(
    post, path = "/v1/rooms", operation_id = "createRoom", tag = "rooms", request_body = creation::NewRoomBody,
    responses(
        (status = 201, description = "Created", body = Room),
        (status = 200, description = "The direct room of the two exists", body = Room),
        (status = 404, description = "A member is not a known user, or is erased"),
        (status = 409, description = "The id is taken"),
        (status = 413, description = "Too many members, or too much text"),
        (status = 429, description = "Too many commands, or above a daily limit"),
    )
)]
pub async fn create(
    state: web::Data<State>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = Body::read(&state, &caller, payload, MAX_ROOM_BODY_BYTES).await?;
    let new = creation::parse_new_room(body.text(), &caller.user, caller.admin, RoomId::generate())?;
    state.allowance.take_cost(RateLimitKind::Commands, caller.viewer(), creation::command_cost(&new))?;
    if let Some(id) = find_direct_room(&state.db, &new).await? {
        return answer_existing(&state, &caller, id).await;
    }
    let max_members = state.limits.max_members_per_room.get();
    if new.kind != RoomKind::Direct
        && u32::try_from(new.members.len()).map_or(true, |many| many > max_members)
    {
        let message = format!("a room has up to {max_members} members");
        return Err(Refusal::new(ErrorCode::TooLarge, message).with_field("members").into());
    }
    let id = new.id.clone();
    match create_and_notify(&state, new, caller.admin).await? {
        CreationOutcome::Created => answer(&state, &caller, &id, HttpResponse::Created()).await,
        CreationOutcome::Exists(id) => answer_existing(&state, &caller, id).await,
        CreationOutcome::IdTaken => {
            Err(Refusal::new(ErrorCode::Conflict, "a room with this id exists").with_field("id").into())
        }
        CreationOutcome::UnknownMember => {
            let message = "a member is not a known user, or is erased";
            Err(Refusal::new(ErrorCode::NotFound, message).with_field("members").into())
        }
        CreationOutcome::OverDailyLimit(refusal) => Err(refusal.into()),
    }
}

/// Creates a room whose body was checked, and notifies its members. Refuses with `too_large` if a member is in too many
/// rooms. `is_admin` says that the creator has no daily limits.
pub(super) async fn create_and_notify(
    state: &State,
    new: NewRoom,
    is_admin: bool,
) -> Result<CreationOutcome, Problem> {
    let members: Vec<UserId> = new.members.iter().map(|(user, _)| user.clone()).collect();
    let too_many = |message: String| Refusal::new(ErrorCode::TooLarge, message).with_field("members");
    let max_rooms = state.limits.max_rooms_per_user.get();
    if any_user_at_room_limit(&state.db, std::slice::from_ref(&new.creator), false, max_rooms).await? {
        let message = format!("you created or joined {max_rooms} rooms, which is the limit; leave one first");
        return Err(too_many(message).into());
    }
    let others: Vec<UserId> = members.iter().filter(|user| **user != new.creator).cloned().collect();
    let max_rooms = state.limits.max_rooms_by_others.get();
    if any_user_at_room_limit(&state.db, &others, true, max_rooms).await? {
        let message = format!("others added a member to {max_rooms} rooms, which is the limit");
        return Err(too_many(message).into());
    }
    state.notify_before(&ChangeNotice::Memberships(members.clone())).await?;
    let daily = (!is_admin).then_some(&state.limits.daily);
    match create_room(&state.db, &new, state.unknown_users, daily).await {
        Ok(CreationOutcome::Created) => {
            let (kind, name) = (new.kind.as_str().to_owned(), new.name);
            let created = CreatedRoom { room: new.id, kind, name, members: new.members };
            state.notify(ChangeNotice::Room(created)).await;
            Ok(CreationOutcome::Created)
        }
        Ok(outcome) => Ok(outcome),
        Err(error) => {
            // The notice is sent, because the COMMIT may have succeeded although its answer was lost.
            state.notify(ChangeNotice::Memberships(members)).await;
            Err(error.into())
        }
    }
}

/// Answers with the existing direct room. If its log is empty, sends the notices of its creation again, because the
/// node that created the room may have crashed before it sent them.
async fn answer_existing(state: &State, caller: &Caller, id: RoomId) -> Result<HttpResponse, Problem> {
    let room = room::room_without_viewer_state(&state.db, caller.viewer(), &id)
        .await?
        .ok_or_else(Problem::no_such_room)?;
    if room.head.seq == 0 {
        let members = members(&state.db, &id, None, MAX_PAGE_ENTRIES).await?.members.into_iter();
        let member = |member: Member| Some((UserId::parse(&member.user).ok()?, member.role));
        let (kind, name, members) = (room.kind, room.name, members.filter_map(member).collect());
        state.notify(ChangeNotice::Room(CreatedRoom { room: id.clone(), kind, name, members })).await;
    }
    answer(state, caller, &id, HttpResponse::Ok()).await
}

async fn answer(
    state: &State,
    caller: &Caller,
    id: &RoomId,
    mut response: HttpResponseBuilder,
) -> Result<HttpResponse, Problem> {
    let room = room::room_without_viewer_state(&state.db, caller.viewer(), id)
        .await?
        .ok_or_else(Problem::no_such_room)?;
    Ok(response.insert_header(("location", format!("/v1/rooms/{id}"))).json(room))
}

/// The public rooms, newest activity first.
#[utoipa::path(
    get, path = "/v1/rooms", operation_id = "listPublicRooms", tag = "rooms",
    params(
        ("query" = Option<NameForm>, Query, description = "Part of the name. Case and accents make no difference"),
        ("cursor" = Option<ListCursorForm>, Query),
        ("limit" = Option<LimitForm>, Query),
    ),
    responses(
        (status = 200, description = "A page", body = PublicRooms),
    )
)]
pub async fn list(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<web::Json<PublicRooms>, Problem> {
    let parameters = Parameters::from_request(&request)?;
    let query = parameters.name_part("query")?;
    let (cursor, limit) = (parameters.cursor(ActivityCursor::unpack)?, parameters.limit()?);
    // Only a search by name takes a slot, because a page without a search reads no more rooms than it returns.
    let _slot = if query.is_some() { Some(state.reads.admit_slow(caller.viewer()).await?) } else { None };
    Ok(web::Json(public_rooms(&state.db, query, cursor.as_ref(), limit).await?))
}

/// One room. A member also gets the last message, the number of unread messages, and their read mark.
#[utoipa::path(
    get, path = "/v1/rooms/{room}", operation_id = "getRoom", tag = "rooms",
    params(("room" = RoomId, Path)),
    responses((status = 200, description = "The room", body = RoomAnswer))
)]
pub async fn get(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = parameters::room(&path)?;
    let room = room::room(&state.db, caller.viewer(), &id).await?.ok_or_else(Problem::no_such_room)?;
    Ok(HttpResponse::Ok().json(room))
}
