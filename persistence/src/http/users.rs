//! `PUT /users/{user}`: a back end sets the names and pictures of users, and blocks or unblocks them.

use actix_web::web;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings_shared::command_fields::{object, optional};
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::UserId;
use tidings_shared::limits::MAX_PERSON_TEXT_CHARS;
use tidings_shared::openapi::PersonTextForm;
use utoipa::ToSchema;

use super::body::{Body, MAX_COMMAND_BODY_BYTES};
use super::caller::Caller;
use super::change_notices::ChangeNotice;
use super::creation::check_line;
use super::parameters;
use super::problem::Problem;
use super::state::State;
use crate::writer::users::{self, AccountChange};

/// The account of a user.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserAnswer {
    user: String,
    #[schema(required)]
    name: Option<String>,
    #[schema(required)]
    picture: Option<String>,
    blocked: bool,
}

/// Creates a user, or changes their account. Needs the scope `tidings.admin`.
#[utoipa::path(
    put, path = "/v1/users/{user}", operation_id = "putUser", tag = "users",
    params(("user" = UserId, Path)), request_body = PutUserBody,
    responses(
        (status = 200, description = "The account as it is now", body = UserAnswer),
        (status = 409, description = "The user was erased"),
        (status = 413, description = "Too much text"),
    )
)]
pub async fn put_user(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<web::Json<UserAnswer>, Problem> {
    let user = parameters::user(&path)?;
    let body = Body::read(&state, &caller, payload, MAX_COMMAND_BODY_BYTES).await?;
    if !caller.admin {
        let rule = "users are changed with the scope tidings.admin, or by their own tokens";
        return Err(Problem::new(ErrorCode::Forbidden, rule));
    }
    let change = parse_change(body.text())?;
    let notice = ChangeNotice::Account(user.clone());
    state.notify_before(&notice).await?;
    let put = users::put_account(&state.db, &user, &change, &caller.user).await;
    // The notice is sent even after a failure, because the COMMIT may have succeeded although its answer was lost.
    state.notify(notice).await;
    let account = put?.ok_or_else(|| {
        if user.may_be_new() {
            Refusal::new(ErrorCode::Conflict, "this user was erased; an erasure cannot be undone")
        } else {
            Refusal::bad_field("user", "the id of a new user must not hold bidi controls")
        }
    })?;
    let (name, picture, blocked) = (account.name, account.picture, account.blocked);
    Ok(web::Json(UserAnswer { user: user.into(), name, picture, blocked }))
}

/// The fields of an account to change. Omitted fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[schema(as = PutUser)]
pub struct PutUserBody<'a> {
    #[serde(borrow, default)]
    #[schema(value_type = Option<PersonTextForm>)]
    name: Option<&'a RawValue>,
    /// The URL of a picture.
    #[serde(borrow, default)]
    #[schema(value_type = Option<PersonTextForm>)]
    picture: Option<&'a RawValue>,
    /// Whether the user is blocked. All requests of a blocked user are refused, and their connections are closed.
    #[serde(borrow, default)]
    #[schema(value_type = Option<bool>)]
    blocked: Option<&'a RawValue>,
}

fn parse_change(text: &str) -> Result<AccountChange, Refusal> {
    let given: PutUserBody<'_> = object(text)?;
    Ok(AccountChange {
        name: parse_line(given.name, "name")?,
        picture: parse_line(given.picture, "picture")?,
        blocked: optional(given.blocked, "blocked", "true or false")?,
    })
}

fn parse_line(field: Option<&RawValue>, name: &'static str) -> Result<Option<String>, Refusal> {
    let text: Option<String> = optional(field, name, "a string")?;
    text.as_deref().map_or(Ok(()), |text| check_line(text, name, MAX_PERSON_TEXT_CHARS))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn omitted_field_stays_and_invalid_one_is_named() {
        let change = parse_change(r#"{"name":"","blocked":true,"picture":null,"x":1}"#).unwrap();
        assert_eq!((change.name.as_deref(), change.picture, change.blocked), (Some(""), None, Some(true)));
        let long = serde_json::json!({"picture": "x".repeat(513)}).to_string();
        for (text, code, field) in [
            (r#"{"name":7}"#, ErrorCode::BadRequest, Some("name")),
            (r#"{"name":"a\tb"}"#, ErrorCode::BadRequest, Some("name")),
            (&long, ErrorCode::TooLarge, Some("picture")),
            (r#"{"blocked":1}"#, ErrorCode::BadRequest, Some("blocked")),
            ("", ErrorCode::BadRequest, None),
        ] {
            let refusal = parse_change(text).unwrap_err();
            assert_eq!((refusal.code, refusal.field.as_deref()), (code, field), "{text}");
        }
    }
}
