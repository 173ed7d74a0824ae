//! The key that browsers subscribe with.

use actix_web::web;

use super::ApiState;
use super::forms::PublicKeyAnswer;

/// The public key for `PushManager.subscribe`. Needs no token, because it is no secret.
#[utoipa::path(
    get, path = "/v1/push/key", operation_id = "getPushKey", tag = "devices", security(()),
    responses((status = 200, body = PublicKeyAnswer))
)]
pub async fn get(state: web::Data<ApiState>) -> web::Json<PublicKeyAnswer> {
    web::Json(PublicKeyAnswer { key: state.public_key.clone() })
}
