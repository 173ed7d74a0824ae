//! The push services of apps. The operator configures each kind; a device of another kind cannot be registered.

pub mod access_token;
pub mod apns;
pub mod expo;
pub mod fcm;

use std::time::Duration;

use crate::device::DeviceKind;
use crate::notification::AppMessage;
use crate::outcome::AttemptError;
use apns::Apns;
use expo::Expo;
use fcm::Fcm;

/// The configured push services.
#[derive(Default)]
pub struct AppPush {
    pub fcm: Option<Fcm>,
    pub apns: Option<Apns>,
    pub expo: Option<Expo>,
}

impl AppPush {
    /// The kinds that are configured.
    pub fn kinds(&self) -> Vec<DeviceKind> {
        let configured = [
            (DeviceKind::Fcm, self.fcm.is_some()),
            (DeviceKind::Apns, self.apns.is_some()),
            (DeviceKind::Expo, self.expo.is_some()),
        ];
        configured.into_iter().filter(|(_, is_configured)| *is_configured).map(|(kind, _)| kind).collect()
    }

    /// Sends a message to an app. A push service keeps it for `ttl` while the device is offline. Returns the ticket of Expo.
    ///
    /// # Errors
    /// When the push service does not accept the message, or the kind is no longer configured.
    pub async fn send(
        &self,
        kind: DeviceKind,
        token: &str,
        message: &AppMessage<'_>,
        ttl: Duration,
    ) -> Result<Option<String>, AttemptError> {
        match (kind, &self.fcm, &self.apns, &self.expo) {
            (DeviceKind::Fcm, Some(fcm), ..) => fcm.send(token, message, ttl).await.map(|()| None),
            (DeviceKind::Apns, _, Some(apns), _) => apns.send(token, message, ttl).await.map(|()| None),
            (DeviceKind::Expo, .., Some(expo)) => expo.send(token, message, ttl).await,
            _ => Err(AttemptError::Credentials),
        }
    }
}
