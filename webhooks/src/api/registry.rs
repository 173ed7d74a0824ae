//! Registers, lists and deletes endpoints.

use actix_web::{HttpResponse, web};
use sea_orm::TransactionTrait;
use tidings_persistence::companion::api::read_form;
use tidings_persistence::http::problem::Problem;
use tidings_persistence::query::feed::{FeedCursor, is_on, stored_end};
use tidings_persistence::writer::audit;
use tidings_shared::error::ErrorCode;
use tidings_shared::log::keys::Partition;

use super::forms::{NewWebhook, Start, Webhook, Webhooks, check_fields};
use super::{ApiState, caller::Admin, no_such_webhook};
use crate::endpoint::Endpoint;
use crate::signing::new_secret;
use crate::store::{endpoints, totals};

/// Maximum number of endpoints. Each reads the feed on its own.
const MAX_WEBHOOKS: i64 = 100;

/// All endpoints, without their secrets.
#[utoipa::path(
    get, path = "/v1/webhooks", operation_id = "listWebhooks", tag = "webhooks",
    responses((status = 200, body = Webhooks))
)]
pub async fn list(state: web::Data<ApiState>, _: Admin) -> Result<web::Json<Webhooks>, Problem> {
    let (all, totals) = (endpoints::list(&state.db).await?, totals::of_all(&state.db).await?);
    let of = |endpoint: &Endpoint| totals.get(&endpoint.id).copied().unwrap_or_default();
    let webhooks = all.iter().map(|endpoint| Webhook::of(endpoint, of(endpoint))).collect();
    Ok(web::Json(Webhooks { webhooks }))
}

/// Registers an endpoint. The answer is the only one that shows its secret.
#[utoipa::path(
    post, path = "/v1/webhooks", operation_id = "createWebhook", tag = "webhooks", request_body = NewWebhook,
    responses(
        (status = 201, body = Webhook),
        (status = 409, description = "The feed is off"),
        (status = 413, description = "There are too many endpoints, or the body is too long"),
    )
)]
pub async fn create(
    state: web::Data<ApiState>,
    admin: Admin,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let form: NewWebhook = read_form(payload).await?;
    let now = chrono::Utc::now();
    let mut endpoint = Endpoint {
        id: uuid::Uuid::now_v7().to_string(),
        url: form.url,
        description: form.description,
        rooms: form.rooms.into_iter().collect(),
        types: form.types,
        ordered: form.ordered,
        disabled_because: None,
        secret: new_secret().map_err(|error| Problem::new(ErrorCode::Internal, error.to_string()))?,
        previous_secret: None,
        previous_until: None,
        cursor: String::new(),
        created_at: now,
        updated_at: now,
    };
    check_fields(&endpoint, state.sending.allow_private)?;
    if !is_on(&state.db).await? {
        let detail = "the feed is off; an operator turns it on with `migrate feed on`";
        return Err(Problem::new(ErrorCode::Conflict, detail));
    }
    let cursor = match form.from {
        Start::Start => FeedCursor::start(Partition::all()),
        Start::Now => stored_end(&state.db, Partition::all()).await?,
    };
    endpoint.cursor = cursor.to_string();
    let transaction = state.db.begin().await?;
    if !endpoints::insert(&transaction, &endpoint, MAX_WEBHOOKS).await? {
        let detail = format!("there must not be over {MAX_WEBHOOKS} webhooks");
        return Err(Problem::new(ErrorCode::TooLarge, detail));
    }
    admin.record(&transaction, audit::WEBHOOK_CREATE, &endpoint.id).await?;
    transaction.commit().await?;
    Ok(HttpResponse::Created().json(Webhook::with_secret(&endpoint, totals::Totals::default())))
}

/// One endpoint, without its secret.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}", operation_id = "getWebhook", tag = "webhooks",
    params(("id" = String, Path)),
    responses((status = 200, body = Webhook), (status = 404, description = "There is no such endpoint"))
)]
pub async fn get(
    state: web::Data<ApiState>,
    _: Admin,
    id: web::Path<String>,
) -> Result<web::Json<Webhook>, Problem> {
    let endpoint = endpoints::get(&state.db, &id).await?.ok_or_else(no_such_webhook)?;
    let totals = totals::of_endpoint(&state.db, &id).await?;
    Ok(web::Json(Webhook::of(&endpoint, totals)))
}

/// Deletes an endpoint with the events that wait, and its dead letters.
#[utoipa::path(
    delete, path = "/v1/webhooks/{id}", operation_id = "deleteWebhook", tag = "webhooks",
    params(("id" = String, Path)),
    responses(
        (status = 204, description = "The endpoint is deleted"),
        (status = 404, description = "There is no such endpoint"),
    )
)]
pub async fn delete(
    state: web::Data<ApiState>,
    admin: Admin,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let transaction = state.db.begin().await?;
    if !endpoints::delete(&transaction, &id).await? {
        return Err(no_such_webhook());
    }
    admin.record(&transaction, audit::WEBHOOK_DELETE, &id).await?;
    transaction.commit().await?;
    Ok(HttpResponse::NoContent().finish())
}
