//! Bodies of requests and answers, and their rules.

use serde::{Deserialize, Serialize};
use tidings_persistence::http::problem::Problem;
use tidings_persistence::query::json::wire_time;
use utoipa::ToSchema;

use crate::device::{DeviceKind, PushAddress};
use crate::endpoints::EndpointRules;
use crate::store::{devices::Device, mutes::MutedRoom};
use crate::web_push::encryption::Recipient;

/// Longest stored endpoint, in bytes. The URL may get longer when its characters are escaped.
const MAX_ENDPOINT_BYTES: usize = 2048;

/// Longest token of an app, in bytes. Tokens of APNs have 64 characters today, and those of FCM about 160.
const MAX_TOKEN_BYTES: usize = 2048;

/// A device to register. Browsers may send what `PushSubscription.toJSON()` returns, without a change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDevice {
    #[serde(default)]
    pub kind: DeviceKind,
    /// Of a browser: an address with `https` and port 443, at a push service that the operator allows.
    #[schema(max_length = 2048)]
    pub endpoint: Option<String>,
    /// Of a browser: the keys of the subscription.
    pub keys: Option<SubscriptionKeys>,
    /// The same as in `keys`.
    pub p256dh: Option<String>,
    /// The same as in `keys`.
    pub auth: Option<String>,
    /// A field of the subscription of a browser. It has no effect.
    #[serde(rename = "expirationTime")]
    #[allow(dead_code, reason = "it is accepted, and not read")]
    pub expiration_time: Option<f64>,
    /// Of an app: the token that its push service gave it.
    #[schema(max_length = 2048)]
    pub token: Option<String>,
}

/// The keys of the subscription of a browser.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionKeys {
    /// The public key of the browser, base64url of 65 bytes.
    pub p256dh: String,
    /// The authentication secret, base64url of 16 bytes.
    pub auth: String,
}

impl NewDevice {
    /// Checks the fields. `app_kinds` are the kinds of apps that the operator has configured.
    pub fn checked(
        self,
        endpoints: &EndpointRules,
        app_kinds: &[DeviceKind],
    ) -> Result<PushAddress, Problem> {
        let kind = self.kind;
        if kind != DeviceKind::WebPush && !app_kinds.contains(&kind) {
            let rule = format!("this server has no push service of the kind {}", kind.name());
            return Err(Problem::bad_field("kind", rule));
        }
        let is_browser = kind == DeviceKind::WebPush;
        for (field, is_given, of_browser) in [
            ("endpoint", self.endpoint.is_some(), true),
            ("keys", self.keys.is_some(), true),
            ("p256dh", self.p256dh.is_some(), true),
            ("auth", self.auth.is_some(), true),
            ("token", self.token.is_some(), false),
        ] {
            if is_given && is_browser != of_browser {
                return Err(Problem::bad_field(
                    field,
                    format!("a device of the kind {} has no {field}", kind.name()),
                ));
            }
        }
        if is_browser { self.subscription(endpoints) } else { self.app() }
    }

    fn subscription(self, endpoints: &EndpointRules) -> Result<PushAddress, Problem> {
        let url = endpoints
            .parse_endpoint(&required("endpoint", self.endpoint)?)
            .map_err(|rule| Problem::bad_field("endpoint", rule))?;
        let endpoint = String::from(url);
        if endpoint.len() > MAX_ENDPOINT_BYTES {
            return Err(Problem::bad_field("endpoint", "endpoint must not be over 2048 characters"));
        }
        let (p256dh, auth) = match self.keys {
            None => (required("p256dh", self.p256dh)?, required("auth", self.auth)?),
            Some(_) if self.p256dh.is_some() || self.auth.is_some() => {
                return Err(Problem::bad_field("keys", "keys must stand alone, without p256dh and auth"));
            }
            Some(keys) => (keys.p256dh, keys.auth),
        };
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

    fn app(self) -> Result<PushAddress, Problem> {
        let (kind, mut token) = (self.kind, required("token", self.token)?);
        let (is_valid, rule) = match kind {
            // The token is a part of the path of a request, and its case has no meaning.
            DeviceKind::Apns => {
                token.make_ascii_lowercase();
                let is_hex = token.bytes().all(|byte| byte.is_ascii_hexdigit());
                (is_hex && token.len() % 2 == 0, "token must be the device token in hexadecimal digits")
            }
            DeviceKind::Expo => {
                let inner = ["ExponentPushToken[", "ExpoPushToken["]
                    .iter()
                    .find_map(|start| token.strip_prefix(start));
                (inner.is_some_and(|rest| rest.ends_with(']')), "token must be ExponentPushToken[…]")
            }
            _ => (true, "token must be the registration token of the app"),
        };
        let is_text = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_valid || !is_text || token.len() > MAX_TOKEN_BYTES {
            return Err(Problem::bad_field("token", rule));
        }
        Ok(PushAddress::App { kind, token })
    }
}

fn required(field: &str, value: Option<String>) -> Result<String, Problem> {
    value.ok_or_else(|| Problem::bad_field(field, format!("{field} is required")))
}

/// A registered device. Its keys are not shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeviceAnswer {
    pub id: String,
    /// `web_push`, `fcm`, `apns` or `expo`.
    pub kind: String,
    /// Of a browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Of an app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    pub created_at: String,
}

impl From<Device> for DeviceAnswer {
    fn from(device: Device) -> Self {
        let kind = device.address.kind().name().to_owned();
        let (endpoint, token) = match device.address {
            PushAddress::WebPush { endpoint, .. } => (Some(endpoint), None),
            PushAddress::App { token, .. } => (None, Some(token)),
        };
        Self { id: device.id, kind, endpoint, token, created_at: wire_time(&device.created_at) }
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
