//! The push service of Expo, which passes messages on to FCM and APNs. Its answer is a ticket. A receipt, which exists
//! minutes later, tells what FCM or APNs has answered.

use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use crate::exchange::{Answer, exchange, exchange_up_to};
use crate::notification::AppMessage;
use crate::outcome::{AttemptError, TemporaryFailure};

/// The path of the API that sends messages.
const SEND_PATH: &str = "/--/api/v2/push/send";
/// The path of the API that returns receipts.
const RECEIPTS_PATH: &str = "/--/api/v2/push/getReceipts";
/// Largest number of receipts in a request. Expo allows 1,000. With fewer, an answer with many errors is short enough.
pub const MAX_RECEIPTS: i64 = 500;
/// Longest answer with receipts that is read, in bytes: 2 KiB for each.
const MAX_RECEIPTS_BYTES: usize = 1024 * 1024;
/// Longest ticket that is kept, in bytes. Those of Expo have 36.
const MAX_TICKET_BYTES: usize = 100;

/// Receipts, with the tickets that they belong to.
pub type Receipts = Vec<(String, Result<(), AttemptError>)>;

/// Sends messages to apps of Expo.
#[derive(Clone)]
pub struct Expo {
    pub client: Client,
    /// The origin of the API.
    pub base: Url,
    /// The access token of the account, if it demands one.
    pub access: Option<SecretString>,
}

impl Expo {
    /// Sends a message. Returns its ticket.
    ///
    /// # Errors
    /// When the push service has not accepted the message.
    pub async fn send(
        &self,
        token: &str,
        message: &AppMessage<'_>,
        ttl: Duration,
    ) -> Result<Option<String>, AttemptError> {
        let mut body = json!({ "to": token, "data": message.data(), "ttl": ttl.as_secs() });
        match message {
            AppMessage::Show(notification) => {
                let (title, text) = notification.alert();
                (body["title"], body["priority"]) = (title.into(), "high".into());
                body["sound"] = "default".into();
                if let Some(text) = text {
                    body["body"] = text.into();
                }
            }
            AppMessage::Clear { .. } => {
                (body["_contentAvailable"], body["priority"]) = (true.into(), "normal".into());
            }
        }
        ticket(&exchange(self.request(SEND_PATH, &body)?).await?)
    }

    /// The receipts of these tickets. Those that Expo does not have are missing.
    ///
    /// # Errors
    /// When the push service gave no receipts.
    pub async fn receipts(&self, tickets: &[String]) -> Result<Receipts, AttemptError> {
        let request = self.request(RECEIPTS_PATH, &json!({ "ids": tickets }))?;
        receipts(tickets, &exchange_up_to(request, MAX_RECEIPTS_BYTES).await?)
    }

    fn request(&self, path: &str, body: &Value) -> Result<RequestBuilder, AttemptError> {
        let url = self.base.join(path).map_err(|_| AttemptError::Unusable)?;
        let request = self.client.post(url).json(body);
        Ok(match &self.access {
            Some(access) => request.bearer_auth(access.expose_secret()),
            None => request,
        })
    }
}

/// The ticket in an answer. None if it has no valid id.
fn ticket(answer: &Answer) -> Result<Option<String>, AttemptError> {
    answer.outcome()?;
    // A request with one message has one ticket, or a list of one.
    let ticket: &Value = answer.body["data"].get(0).unwrap_or(&answer.body["data"]);
    classify(ticket, answer.status)?;
    let is_valid = |id: &&str| id.len() <= MAX_TICKET_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic());
    Ok(ticket["id"].as_str().filter(is_valid).map(str::to_owned))
}

fn receipts(tickets: &[String], answer: &Answer) -> Result<Receipts, AttemptError> {
    answer.outcome()?;
    let no_answer = AttemptError::Temporary(TemporaryFailure::NoAnswer, None);
    let found = answer.body["data"].as_object().ok_or(no_answer)?;
    let receipt = |id: &String| Some((id.clone(), classify(found.get(id)?, answer.status)));
    Ok(tickets.iter().filter_map(receipt).collect())
}

/// What a ticket or a receipt says.
fn classify(said: &Value, status: u16) -> Result<(), AttemptError> {
    let limited = AttemptError::Temporary(TemporaryFailure::Status(429), None);
    match (said["status"].as_str(), said["details"]["error"].as_str()) {
        (Some("ok"), _) => Ok(()),
        (Some("error"), Some("DeviceNotRegistered")) => Err(AttemptError::Gone),
        (Some("error"), Some("MessageRateExceeded")) => Err(limited),
        (Some("error"), Some("InvalidCredentials" | "MismatchSenderId")) => Err(AttemptError::Credentials),
        (Some("error"), _) => Err(AttemptError::Rejected(status)),
        _ => Err(AttemptError::Temporary(TemporaryFailure::NoAnswer, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, data: Value) -> Answer {
        Answer { status, retry_after: None, body: json!({ "data": data }) }
    }

    fn error(code: &str) -> Value {
        json!({ "status": "error", "message": "m", "details": { "error": code } })
    }

    #[test]
    fn ticket_decides_although_the_status_is_200() {
        let of = |status, data| ticket(&answer(status, data));
        assert_eq!(of(200, json!({ "status": "ok", "id": "x" })), Ok(Some("x".to_owned())));
        assert_eq!(of(200, json!([{ "status": "ok", "id": "x" }])), Ok(Some("x".to_owned())));
        for id in [json!(null), json!("with space"), json!("\0"), json!("x".repeat(101))] {
            assert_eq!(of(200, json!({ "status": "ok", "id": id })), Ok(None), "{id}");
        }
        assert_eq!(of(200, error("DeviceNotRegistered")), Err(AttemptError::Gone));
        assert_eq!(of(200, json!([error("DeviceNotRegistered")])), Err(AttemptError::Gone));
        assert_eq!(of(200, error("InvalidCredentials")), Err(AttemptError::Credentials));
        assert_eq!(of(200, error("MessageTooBig")), Err(AttemptError::Rejected(200)));
        assert_eq!(of(401, json!(null)), Err(AttemptError::Credentials));
        for (status, data) in [(200, error("MessageRateExceeded")), (429, json!(null)), (200, json!({}))] {
            assert!(matches!(of(status, data), Err(AttemptError::Temporary(..))));
        }
    }

    #[test]
    fn receipts_are_those_that_were_asked_for_and_exist() {
        let asked = ["a", "b", "c"].map(str::to_owned);
        let data =
            json!({ "b": error("MismatchSenderId"), "a": { "status": "ok" }, "other": { "status": "ok" } });
        let wanted = vec![("a".to_owned(), Ok(())), ("b".to_owned(), Err(AttemptError::Credentials))];
        assert_eq!(receipts(&asked, &answer(200, data)), Ok(wanted));
        assert_eq!(receipts(&asked, &answer(200, json!({}))), Ok(Vec::new()));
        for (status, data) in [(200, json!(null)), (500, json!({}))] {
            assert!(matches!(receipts(&asked, &answer(status, data)), Err(AttemptError::Temporary(..))));
        }
    }
}
