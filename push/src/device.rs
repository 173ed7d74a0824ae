//! A device of a user, and where its push service is. Pure.

use chrono::{DateTime, Utc};

/// A registered device.
#[derive(Debug, Clone)]
pub struct Device {
    pub id: String,
    pub user: String,
    pub address: PushAddress,
    /// Failed attempts since the last success.
    pub failures: i32,
    pub created_at: DateTime<Utc>,
}

/// Where the notifications of a device go, by the kind of its push service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushAddress {
    /// A subscription of a browser (Push API).
    WebPush {
        endpoint: String,
        /// The public key of the browser, base64url without padding.
        p256dh: String,
        /// The authentication secret, base64url without padding.
        auth: String,
    },
}

const WEB_PUSH: &str = "web_push";

impl PushAddress {
    /// Builds the address from the columns of a stored device. None if the kind is unknown.
    pub fn from_stored(kind: &str, address: String, p256dh: String, auth: String) -> Option<Self> {
        (kind == WEB_PUSH).then_some(Self::WebPush { endpoint: address, p256dh, auth })
    }

    /// The name of the kind, on the wire and in the database.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::WebPush { .. } => WEB_PUSH,
        }
    }

    /// The address of the device at its push service, unique among the devices of a kind.
    pub fn address(&self) -> &str {
        match self {
            Self::WebPush { endpoint, .. } => endpoint,
        }
    }

    /// The host of the push service, with its port.
    pub fn host(&self) -> &str {
        self.address().split('/').nth(2).unwrap_or_default()
    }

    /// The public key and the authentication secret.
    pub fn keys(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::WebPush { p256dh, auth, .. } => (Some(p256dh), Some(auth)),
        }
    }
}
