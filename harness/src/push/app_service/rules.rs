//! What the documents of FCM, APNs and Expo demand of a request. Each function returns the device token, if the request
//! does not name it otherwise.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::credentials::{APNS_TOPIC, Credentials, now};

/// The longest payload, in bytes.
const MAX_PAYLOAD_BYTES: usize = 4096;
/// The largest number of receipts in a request to Expo.
const MAX_RECEIPTS: usize = 1000;

/// Checks that a value is an object with no other fields than these.
fn fields<'a>(value: &'a Value, allowed: &[&str]) -> Result<&'a Map<String, Value>> {
    let object = value.as_object().with_context(|| format!("no object: {value}"))?;
    for name in object.keys() {
        ensure!(allowed.contains(&name.as_str()), "the unknown field {name}");
    }
    Ok(object)
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    let text = value[name].as_str().with_context(|| format!("{name} is no text"))?;
    ensure!(!text.is_empty(), "{name} is empty");
    Ok(text)
}

fn is_json(headers: &BTreeMap<String, String>) -> Result<()> {
    let content_type = headers.get("content-type").map(String::as_str);
    ensure!(content_type == Some("application/json"), "the content type is {content_type:?}");
    Ok(())
}

/// `projects.messages.send`, with the messages that Android and Apple devices show or not.
pub fn fcm(headers: &BTreeMap<String, String>, body: &Value) -> Result<String> {
    is_json(headers)?;
    let message = &fields(body, &["message"])?["message"];
    fields(message, &["token", "data", "notification", "android", "apns"])?;
    let data = fields(&message["data"], &["type", "room", "seq", "unread"])?;
    ensure!(data.values().all(Value::is_string), "data must be texts");
    let (android, apns) = (&message["android"], &message["apns"]);
    fields(android, &["collapse_key", "priority", "ttl", "notification"])?;
    let room = text(&message["data"], "room")?;
    ensure!(text(android, "collapse_key")? == room, "collapse_key");
    let ttl = text(android, "ttl")?.strip_suffix('s').context("ttl has no unit")?.parse::<u32>()?;
    ensure!((1..=2_419_200).contains(&ttl), "ttl");
    fields(apns, &["headers", "payload"])?;
    check_apns_headers(
        |name| apns["headers"][name].as_str().unwrap_or_default(),
        &apns["payload"]["aps"],
        room,
    )?;
    let is_clear = data["type"] == "clear";
    if is_clear {
        ensure!(
            message.get("notification").is_none() && android.get("notification").is_none(),
            "it shows something"
        );
        ensure!(android["priority"] == "normal", "priority");
    } else {
        fields(&message["notification"], &["title", "body"])?;
        text(&message["notification"], "title")?;
        ensure!(text(&android["notification"], "tag")? == room, "tag");
        ensure!(android["priority"] == "high", "priority");
    }
    let payload = message["data"].to_string().len() + message["notification"].to_string().len();
    ensure!(payload <= MAX_PAYLOAD_BYTES, "{payload} bytes");
    Ok(text(message, "token")?.to_owned())
}

/// `POST /3/device/{token}`.
pub fn apns(
    credentials: &Credentials,
    token: &str,
    headers: &BTreeMap<String, String>,
    body: &Value,
    length: usize,
    is_http2: bool,
) -> Result<()> {
    ensure!(is_http2, "APNs needs HTTP/2");
    ensure!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "the token is no hex");
    ensure!(length <= MAX_PAYLOAD_BYTES, "{length} bytes");
    let header = |name: &str| headers.get(name).map(String::as_str).unwrap_or_default();
    credentials.check_provider(header("authorization"))?;
    ensure!(header("apns-topic") == APNS_TOPIC, "the topic is {}", header("apns-topic"));
    fields(body, &["aps", "type", "room", "seq", "unread"])?;
    check_apns_headers(header, &body["aps"], text(body, "room")?)?;
    let is_background = header("apns-push-type") == "background";
    ensure!(is_background == (body["type"] == "clear"), "the push type does not fit the data");
    if !is_background {
        text(&fields(&body["aps"]["alert"], &["title", "body"])?.clone().into(), "title")?;
    }
    Ok(())
}

/// The rules of the headers, which FCM passes on.
fn check_apns_headers<'a>(header: impl Fn(&str) -> &'a str, aps: &Value, room: &str) -> Result<()> {
    let (push_type, priority) = (header("apns-push-type"), header("apns-priority"));
    match push_type {
        "alert" => {
            ensure!(matches!(priority, "5" | "10"), "the priority is {priority}");
            fields(aps, &["alert", "sound", "thread-id", "mutable-content"])?;
        }
        "background" => {
            ensure!(priority == "5", "a background push has the priority {priority}");
            ensure!(*aps == json!({ "content-available": 1 }), "a background push shows something: {aps}");
        }
        _ => anyhow::bail!("the push type is {push_type:?}"),
    }
    let collapse = header("apns-collapse-id");
    ensure!(collapse == room && collapse.len() <= 64, "the collapse id is {collapse}");
    ensure!(header("apns-expiration").parse::<u64>()? > now()?, "it has expired");
    Ok(())
}

/// `POST /--/api/v2/push/getReceipts`. Returns the ids.
pub fn expo_receipts(headers: &BTreeMap<String, String>, body: &Value) -> Result<Vec<String>> {
    is_json(headers)?;
    Credentials::check_expo(headers.get("authorization").map(String::as_str).unwrap_or_default())?;
    let ids = fields(body, &["ids"])?["ids"].as_array().context("ids")?;
    ensure!((1..=MAX_RECEIPTS).contains(&ids.len()), "{} ids", ids.len());
    ids.iter().map(|id| Ok(id.as_str().context("an id that is no text")?.to_owned())).collect()
}

/// `POST /--/api/v2/push/send` with one message.
pub fn expo(headers: &BTreeMap<String, String>, body: &Value) -> Result<String> {
    is_json(headers)?;
    Credentials::check_expo(headers.get("authorization").map(String::as_str).unwrap_or_default())?;
    fields(body, &["to", "data", "ttl", "title", "body", "priority", "sound", "_contentAvailable"])?;
    fields(&body["data"], &["type", "room", "seq", "unread"])?;
    ensure!(body["ttl"].as_u64().is_some_and(|ttl| ttl > 0), "ttl");
    ensure!(body.to_string().len() <= MAX_PAYLOAD_BYTES, "it is too long");
    if body["data"]["type"] == "clear" {
        ensure!(body.get("title").is_none() && body.get("body").is_none() && body.get("sound").is_none());
        ensure!(body["_contentAvailable"] == true && body["priority"] == "normal");
    } else {
        text(body, "title")?;
        ensure!(body["priority"] == "high" && body.get("_contentAvailable").is_none());
    }
    let token = text(body, "to")?;
    ensure!(token.starts_with("ExponentPushToken[") && token.ends_with(']'), "{token}");
    Ok(token.to_owned())
}
