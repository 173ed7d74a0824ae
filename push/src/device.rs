//! The kind of a device, and where its push service is. Pure.

use serde::Deserialize;
use utoipa::ToSchema;

/// The kind of a device, by its push service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// A subscription of a browser (Push API).
    #[default]
    WebPush,
    /// An app with Firebase Cloud Messaging.
    Fcm,
    /// An app with the Apple Push Notification service.
    Apns,
    /// An app with the push service of Expo.
    Expo,
}

/// Where the notifications of a device go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushAddress {
    /// A subscription of a browser.
    WebPush {
        endpoint: String,
        /// The public key of the browser, base64url without padding.
        p256dh: String,
        /// The authentication secret, base64url without padding.
        auth: String,
    },
    /// An app, by the token that its push service gave it.
    App { kind: DeviceKind, token: String },
}

impl DeviceKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::WebPush, Self::Fcm, Self::Apns, Self::Expo];

    /// The names of all kinds. A newer version of the program may have stored others, which this one leaves alone.
    pub fn names() -> Vec<String> {
        Self::ALL.iter().map(|kind| kind.name().to_owned()).collect()
    }

    /// The name on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebPush => "web_push",
            Self::Fcm => "fcm",
            Self::Apns => "apns",
            Self::Expo => "expo",
        }
    }
}

impl PushAddress {
    /// Builds the address from the columns of a stored device. None if the kind is unknown.
    pub fn from_stored(kind: &str, address: String, p256dh: String, auth: String) -> Option<Self> {
        match DeviceKind::ALL.into_iter().find(|known| known.name() == kind)? {
            DeviceKind::WebPush => Some(Self::WebPush { endpoint: address, p256dh, auth }),
            kind => Some(Self::App { kind, token: address }),
        }
    }

    pub fn kind(&self) -> DeviceKind {
        match self {
            Self::WebPush { .. } => DeviceKind::WebPush,
            Self::App { kind, .. } => *kind,
        }
    }

    /// The address of the device at its push service, unique among the devices of a kind.
    pub fn address(&self) -> &str {
        match self {
            Self::WebPush { endpoint, .. } => endpoint,
            Self::App { token, .. } => token,
        }
    }

    /// The key by which concurrent attempts are limited: host and port of a browser's push service, or the kind of an
    /// app.
    pub fn host(&self) -> &str {
        match self {
            Self::WebPush { endpoint, .. } => endpoint.split('/').nth(2).unwrap_or_default(),
            Self::App { kind, .. } => kind.name(),
        }
    }

    /// The public key and the authentication secret.
    pub fn keys(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::WebPush { p256dh, auth, .. } => (Some(p256dh), Some(auth)),
            Self::App { .. } => (None, None),
        }
    }

    /// Whether the device accepts a silent message. Browsers demand a visible notification for each message.
    pub fn accepts_silent(&self) -> bool {
        matches!(self, Self::App { .. })
    }
}
