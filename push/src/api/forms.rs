//! Bodies of requests and answers, and their rules.

use serde::{Deserialize, Serialize};
use tidings_persistence::http::problem::Problem;
use tidings_persistence::query::json::wire_time;
use tidings_shared::outbound::parse_url;
use utoipa::ToSchema;

use crate::device::{Device, PushAddress};
use crate::store::mutes::MutedRoom;
use crate::web_push::encryption::Recipient;

/// Longest stored endpoint, in bytes. The URL may get longer when its characters are escaped.
const MAX_ENDPOINT_BYTES: usize = 2048;

/// The kind of a device.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// A subscription of a browser (Push API).
    WebPush,
}

/// A device to register. `p256dh` and `auth` stand in `keys` of the subscription that a browser returns.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDevice {
    pub kind: DeviceKind,
    /// An address with `https`.
    #[schema(max_length = 2048)]
    pub endpoint: String,
    /// The public key of the browser, base64url of 65 bytes.
    pub p256dh: String,
    /// The authentication secret, base64url of 16 bytes.
    pub auth: String,
}

impl NewDevice {
    /// Checks the fields.
    pub fn checked(self, allow_private: bool) -> Result<PushAddress, Problem> {
        let Self { kind: DeviceKind::WebPush, endpoint, p256dh, auth } = self;
        let url = parse_url(&endpoint, allow_private)
            .map_err(|rule| Problem::bad_field("endpoint", rule.replacen("url", "endpoint", 1)))?;
        let endpoint = String::from(url);
        if endpoint.len() > MAX_ENDPOINT_BYTES {
            return Err(Problem::bad_field("endpoint", "endpoint must not be over 2048 characters"));
        }
        let recipient = Recipient::parse(&p256dh, &auth).map_err(|field| {
            let rule = match field {
                "auth" => "auth must be the base64url of 16 bytes",
                _ => "p256dh must be the base64url of a public key on the curve P-256, 65 bytes",
            };
            Problem::bad_field(field, rule)
        })?;
        let (p256dh, auth) = recipient.encoded();
        Ok(PushAddress::WebPush { endpoint, p256dh, auth })
    }
}

/// A registered device. Its keys are not shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeviceAnswer {
    pub id: String,
    /// `web_push`.
    pub kind: String,
    pub endpoint: String,
    pub created_at: String,
}

impl From<Device> for DeviceAnswer {
    fn from(device: Device) -> Self {
        Self {
            kind: device.address.kind().to_owned(),
            endpoint: device.address.address().to_owned(),
            created_at: wire_time(&device.created_at),
            id: device.id,
        }
    }
}

/// All devices of the caller.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeviceList {
    pub devices: Vec<DeviceAnswer>,
}

/// How long a room is muted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MuteForm {
    /// When the room stops being muted (RFC 3339). It stays muted if this is omitted or null.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub until: Option<String>,
}

/// A muted room.
#[derive(Debug, Serialize, ToSchema)]
pub struct MuteAnswer {
    pub room: String,
    /// When the room stops being muted; null if it stays muted.
    #[schema(required)]
    pub until: Option<String>,
}

impl From<MutedRoom> for MuteAnswer {
    fn from(muted: MutedRoom) -> Self {
        Self { room: muted.room, until: muted.until.as_ref().map(wire_time) }
    }
}

/// The rooms that the caller has muted.
#[derive(Debug, Serialize, ToSchema)]
pub struct MuteList {
    pub mutes: Vec<MuteAnswer>,
}

/// The key that browsers subscribe with.
#[derive(Debug, Serialize, ToSchema)]
pub struct PublicKeyAnswer {
    /// base64url without padding: `applicationServerKey` of the Push API.
    pub key: String,
}
