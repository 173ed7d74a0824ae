//! Changes an endpoint, replaces its secret, and tries it.

use actix_web::web;
use chrono::Utc;
use sea_orm::TransactionTrait;
use tidings_persistence::companion::api::read_form;
use tidings_persistence::http::problem::Problem;
use tidings_persistence::writer::audit;
use tidings_shared::error::ErrorCode;

use super::forms::{TestResult, Webhook, WebhookChange, check_fields};
use super::{ApiState, caller::Admin, no_such_webhook};
use crate::endpoint::reason;
use crate::sender::{attempt, message};
use crate::signing::new_secret;
use crate::store::{endpoints, totals};

/// How long deliveries are also signed with the previous secret.
const OVERLAP_S: i64 = 24 * 3600;

/// Changes an endpoint. Enabling it also continues what waited while it was disabled.
#[utoipa::path(
    patch, path = "/v1/webhooks/{id}", operation_id = "changeWebhook", tag = "webhooks",
    params(("id" = String, Path)), request_body = WebhookChange,
    responses(
        (status = 200, body = Webhook),
        (status = 404, description = "There is no such endpoint"),
        (status = 413, description = "The body is too long"),
    )
)]
pub async fn change(
    state: web::Data<ApiState>,
    admin: Admin,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<web::Json<Webhook>, Problem> {
    let form: WebhookChange = read_form(payload).await?;
    let transaction = state.db.begin().await?;
    let mut endpoint = endpoints::lock(&transaction, &id).await?.ok_or_else(no_such_webhook)?;
    endpoint.url = form.url.unwrap_or(endpoint.url);
    endpoint.description = form.description.unwrap_or(endpoint.description);
    endpoint.rooms = form.rooms.map_or(endpoint.rooms, |rooms| rooms.into_iter().collect());
    endpoint.types = form.types.unwrap_or(endpoint.types);
    endpoint.ordered = form.ordered.unwrap_or(endpoint.ordered);
    match form.enabled {
        Some(true) => endpoint.disabled_because = None,
        Some(false) => {
            endpoint.disabled_because.get_or_insert_with(|| reason::ADMIN.to_owned());
        }
        None => {}
    }
    check_fields(&endpoint, state.sending.allow_private)?;
    let changed = endpoints::update(&transaction, &endpoint).await?.ok_or_else(no_such_webhook)?;
    admin.record(&transaction, audit::WEBHOOK_CHANGE, &id).await?;
    transaction.commit().await?;
    let totals = totals::of_endpoint(&state.db, &id).await?;
    Ok(web::Json(Webhook::of(&changed, totals)))
}

/// Makes a new secret, and shows it in this answer only. For 24 hours deliveries are signed with both secrets. The secret
/// before the previous one is no longer used.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/rotate", operation_id = "rotateWebhookSecret", tag = "webhooks",
    params(("id" = String, Path)),
    responses((status = 200, body = Webhook), (status = 404, description = "There is no such endpoint"))
)]
pub async fn rotate(
    state: web::Data<ApiState>,
    admin: Admin,
    id: web::Path<String>,
) -> Result<web::Json<Webhook>, Problem> {
    let secret = new_secret().map_err(|error| Problem::new(ErrorCode::Internal, error.to_string()))?;
    let transaction = state.db.begin().await?;
    let rotated =
        endpoints::rotate(&transaction, &id, &secret, OVERLAP_S).await?.ok_or_else(no_such_webhook)?;
    admin.record(&transaction, audit::WEBHOOK_ROTATE, &id).await?;
    transaction.commit().await?;
    let totals = totals::of_endpoint(&state.db, &id).await?;
    Ok(web::Json(Webhook::with_secret(&rotated, totals)))
}

/// Sends a message of the type `webhook:test` once, also to a disabled endpoint, and answers what came of it.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/test", operation_id = "testWebhook", tag = "webhooks",
    params(("id" = String, Path)),
    responses((status = 200, body = TestResult), (status = 404, description = "There is no such endpoint"))
)]
pub async fn test(
    state: web::Data<ApiState>,
    _: Admin,
    id: web::Path<String>,
) -> Result<web::Json<TestResult>, Problem> {
    let endpoint = endpoints::get(&state.db, &id).await?.ok_or_else(no_such_webhook)?;
    let number = uuid::Uuid::now_v7().to_string();
    let message = message::test_message(&id, &number, Utc::now())
        .map_err(|error| Problem::new(ErrorCode::Internal, error.to_string()))?;
    let sending = &state.sending;
    let sent = attempt::send(&sending.client, sending.allow_private, &endpoint, &message).await;
    let (status, error) = match &sent {
        Ok(()) => (None, None),
        Err(failure) => (failure.status(), Some(failure.message())),
    };
    Ok(web::Json(TestResult { delivered: sent.is_ok(), status, error }))
}
