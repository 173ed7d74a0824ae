//! Bodies of requests and answers, and their rules.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tidings_persistence::http::problem::Problem;
use tidings_persistence::query::json::wire_time;
use tidings_shared::events::{LOG_EVENTS, VOID};
use tidings_shared::ids::RoomId;
use tidings_shared::outbound::parse_url;
use utoipa::ToSchema;

use crate::endpoint::Endpoint;
use crate::store::{dead_letters::DeadLetter, totals::Totals};

const MAX_DESCRIPTION_CHARS: usize = 200;
const MAX_ROOMS: usize = 100;
const MAX_TYPES: usize = 50;

/// Where a new endpoint begins.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the events that are stored after the request.
    #[default]
    Now,
    /// With the oldest event.
    Start,
}

/// A new endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// An address with `https`.
    #[schema(max_length = 2048)]
    pub url: String,
    #[serde(default)]
    #[schema(max_length = 200)]
    pub description: String,
    /// Only events of these rooms; all if omitted.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub rooms: BTreeSet<String>,
    /// Only events of these types; all if omitted.
    #[serde(default)]
    #[schema(max_items = 50)]
    pub types: Vec<String>,
    /// Whether the events of a room are sent one after the other. True if omitted.
    #[serde(default = "ordered")]
    pub ordered: bool,
    /// Where the endpoint begins; `now` if omitted.
    #[serde(default)]
    pub from: Start,
}

fn ordered() -> bool {
    true
}

/// A change of an endpoint. Omitted fields, and those that are `null`, stay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookChange {
    #[schema(max_length = 2048)]
    pub url: Option<String>,
    #[schema(max_length = 200)]
    pub description: Option<String>,
    #[schema(max_items = 100)]
    pub rooms: Option<BTreeSet<String>>,
    #[schema(max_items = 50)]
    pub types: Option<Vec<String>>,
    pub ordered: Option<bool>,
    /// False disables the endpoint, whose cursor then waits. True enables it again.
    pub enabled: Option<bool>,
}

/// An endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct Webhook {
    pub id: String,
    pub url: String,
    pub description: String,
    pub rooms: BTreeSet<String>,
    pub types: Vec<String>,
    pub ordered: bool,
    pub enabled: bool,
    /// `admin`, `gone` (the endpoint answered 410) or `dead_letters` (too many of them).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub disabled_because: Option<String>,
    /// Until when deliveries are also signed with the secret before the present one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub previous_secret_until: Option<String>,
    pub created_at: String,
    pub updated_at: String,
    /// Events that wait for an attempt.
    pub pending: i64,
    /// Dead letters.
    pub dead: i64,
    /// The secret, only in the answers that make one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub secret: Option<String>,
}

impl Webhook {
    pub fn of(endpoint: &Endpoint, totals: Totals) -> Self {
        Self {
            id: endpoint.id.clone(),
            url: endpoint.url.clone(),
            description: endpoint.description.clone(),
            rooms: endpoint.rooms.iter().cloned().collect(),
            types: endpoint.types.clone(),
            ordered: endpoint.ordered,
            enabled: endpoint.disabled_because.is_none(),
            disabled_because: endpoint.disabled_because.clone(),
            previous_secret_until: endpoint
                .previous_until
                .filter(|until| *until > chrono::Utc::now())
                .map(|until| wire_time(&until)),
            created_at: wire_time(&endpoint.created_at),
            updated_at: wire_time(&endpoint.updated_at),
            pending: totals.pending,
            dead: totals.dead,
            secret: None,
        }
    }

    /// The answer that shows the secret.
    pub fn with_secret(endpoint: &Endpoint, totals: Totals) -> Self {
        Self { secret: Some(endpoint.secret.clone()), ..Self::of(endpoint, totals) }
    }
}

/// All endpoints.
#[derive(Debug, Serialize, ToSchema)]
pub struct Webhooks {
    pub webhooks: Vec<Webhook>,
}

/// A page of dead letters.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLetters {
    pub dead: Vec<DeadLetter>,
    /// The cursor of the next page, if there may be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next: Option<String>,
}

/// How many dead letters a request has changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Changed {
    pub count: u64,
}

/// Which dead letters are replayed: all, or those of a room, or one event.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    pub room: Option<String>,
    pub seq: Option<i64>,
}

/// The result of a test message.
#[derive(Debug, Serialize, ToSchema)]
pub struct TestResult {
    pub delivered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<String>,
}

/// Checks the fields of an endpoint that an admin chooses.
pub fn check_fields(endpoint: &Endpoint, allow_private: bool) -> Result<(), Problem> {
    parse_url(&endpoint.url, allow_private).map_err(|rule| Problem::bad_field("url", rule))?;
    if endpoint.description.chars().count() > MAX_DESCRIPTION_CHARS {
        return Err(Problem::bad_field("description", "description must not be over 200 characters"));
    }
    if endpoint.description.contains('\0') {
        return Err(Problem::bad_field("description", "description must not contain U+0000"));
    }
    if endpoint.rooms.len() > MAX_ROOMS {
        return Err(Problem::bad_field("rooms", "rooms must not have over 100 items"));
    }
    for room in &endpoint.rooms {
        RoomId::parse(room).map_err(|error| Problem::bad_field("rooms", error.to_string()))?;
    }
    if endpoint.types.len() > MAX_TYPES {
        return Err(Problem::bad_field("types", "types must not have over 50 items"));
    }
    match endpoint.types.iter().find(|kind| *kind != VOID && !LOG_EVENTS.contains(&kind.as_str())) {
        Some(_) => Err(Problem::bad_field("types", "types must be types of events")),
        None => Ok(()),
    }
}
