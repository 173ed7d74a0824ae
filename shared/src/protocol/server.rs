//! The frames that gateways create: answers, notices and live-only frames. The append script creates log events.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use crate::{clock::rfc3339, message::Sender};
use crate::{
    error::Refusal,
    ids::{ClientId, Cursor, Epoch, RoomId, Seq, UserId},
    log::Accepted,
    message::AckStage,
    protocol::client::Status,
};

/// The limits that a client must obey, as `connected` reports them.
#[derive(Debug, Clone, Serialize)]
pub struct Limits {
    pub max_message_chars: usize,
    pub max_frame_bytes: usize,
    pub messages_per_second: u32,
}

/// A room that was joined, in a `room:joined` frame.
#[derive(Debug, Clone, Serialize)]
pub struct JoinedRoom {
    pub room: RoomId,
    pub kind: String,
    pub name: Option<String>,
    pub role: String,
    pub head: Cursor,
    pub read_seq: Seq,
    pub members: u64,
    /// The members who are not offline. Only present if the client joined a single small room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<Vec<PresentMember>>,
}

/// A member who is not offline, in a `room:joined` frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresentMember {
    pub user: UserId,
    pub status: Status,
}

/// A user's presence, as other users see it: `online`, `away` or `offline`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Presence {
    pub user: UserId,
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::StatusForm))]
    pub status: &'static str,
    /// When an offline user was last online (RFC 3339). Null if the time is unknown or must not be shown.
    #[cfg_attr(feature = "openapi", schema(required, value_type = Option<crate::openapi::TimeForm>))]
    pub last_seen: Option<String>,
}

/// A member's read or delivered mark, in a receipt frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    pub user: UserId,
    pub seq: Seq,
    pub at: String,
}

/// A room that could not be joined, in a `room:joined` frame.
#[derive(Debug, Clone, Serialize)]
pub struct FailedRoom {
    pub room: RoomId,
    pub code: crate::error::ErrorCode,
}

/// A frame of the server, except the frames of log events.
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub enum ServerFrame<'a> {
    #[serde(rename = "connected")]
    Connected {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
        connection: &'a str,
        user: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        server_time: &'a str,
        heartbeat_ms: u64,
        expires_at: &'a str,
        rooms_version: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        spread_ms: Option<u64>,
        limits: &'a Limits,
        node: &'a str,
    },
    #[serde(rename = "auth:ok")]
    AuthOk {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
        expires_at: &'a str,
    },
    #[serde(rename = "room:joined")]
    RoomJoined {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
        rooms: &'a [JoinedRoom],
        failed: &'a [FailedRoom],
        #[serde(skip_serializing_if = "Option::is_none")]
        more: Option<bool>,
    },
    #[serde(rename = "room:left")]
    RoomLeft {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
        rooms: &'a [RoomId],
    },
    #[serde(rename = "room:caught_up")]
    CaughtUp { room: &'a RoomId, epoch: Epoch, seq: Seq },
    #[serde(rename = "room:gap")]
    Gap { room: &'a RoomId, after: Seq, head: &'a Cursor },
    #[serde(rename = "ack")]
    Ack {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
        room: &'a RoomId,
        seq: Seq,
        epoch: Epoch,
        at: &'a str,
        stage: AckStage,
        duplicate: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        client_id: Option<&'a ClientId>,
    },
    #[serde(rename = "ok")]
    Ok {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
    },
    #[serde(rename = "presence:list")]
    PresenceList {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
        users: &'a [Presence],
    },
    #[serde(rename = "presence")]
    Presence(&'a Presence),
    #[serde(rename = "typing:start")]
    TypingStart { room: &'a RoomId, user: Sender<'a>, expires_ms: u64 },
    #[serde(rename = "typing:stop")]
    TypingStop { room: &'a RoomId, user: Sender<'a> },
    #[serde(rename = "signal")]
    Signal { room: &'a RoomId, from: &'a UserId, data: &'a RawValue },
    #[serde(rename = "receipt:read")]
    ReadReceipt { room: &'a RoomId, marks: &'a [Receipt] },
    #[serde(rename = "receipt:delivered")]
    DeliveredReceipt { room: &'a RoomId, marks: &'a [Receipt] },
    #[serde(rename = "room:added")]
    RoomAdded { room: &'a RoomId, kind: &'a str, name: Option<&'a str>, role: &'a str, from: &'a Cursor },
    #[serde(rename = "room:removed")]
    RoomRemoved { room: &'a RoomId, seq: Seq },
    #[serde(rename = "rooms:changed")]
    RoomsChanged {
        rooms_version: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        spread_ms: Option<u64>,
    },
    #[serde(rename = "room:activity")]
    RoomActivity { room: &'a RoomId, seq: Seq, mention: bool, from: &'a Cursor },
    #[serde(rename = "rooms:activity")]
    RoomsActivity { after_ms: u64 },
    #[serde(rename = "draining")]
    Draining { reconnect_after_ms: u64 },
    #[serde(rename = "pong")]
    Pong {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
        server_time: &'a str,
    },
    #[serde(rename = "error")]
    Error {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<&'a RoomId>,
        #[serde(flatten)]
        refusal: &'a Refusal,
    },
}

impl ServerFrame<'_> {
    /// Returns the frame as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always serialise")
    }
}

/// The *ack object* of docs/PROTOCOL.md, which answers messages and changes by frame and by HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ack {
    pub room: RoomId,
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::MessageSeqForm))]
    pub seq: Seq,
    pub epoch: Epoch,
    /// The time of the event (RFC 3339).
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::TimeForm))]
    pub at: String,
    pub stage: AckStage,
    /// Whether the client id was used before. Then `seq`, `at` and `id` are those of the first message.
    pub duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<crate::openapi::MessageIdForm>))]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub client_id: Option<ClientId>,
}

impl Ack {
    /// Returns the ack as a frame. `ServerFrame::Ack` repeats the fields of [`Ack`], because `serde(flatten)` would
    /// take three times as long.
    pub fn frame<'a>(&'a self, reference: Option<&'a str>) -> ServerFrame<'a> {
        ServerFrame::Ack {
            reference,
            room: &self.room,
            seq: self.seq,
            epoch: self.epoch,
            at: &self.at,
            stage: self.stage,
            duplicate: self.duplicate,
            id: self.id.as_deref(),
            client_id: self.client_id.as_ref(),
        }
    }
}

impl Accepted {
    /// The ack object of an event with this client id. It contains an id only if the event is a message.
    pub fn ack(&self, room: &RoomId, client_id: &ClientId, is_message: bool, stage: AckStage) -> Ack {
        Ack {
            room: room.clone(),
            seq: self.seq,
            epoch: self.epoch,
            at: rfc3339(self.at_ms),
            stage,
            duplicate: self.duplicate,
            id: is_message.then(|| self.id.clone()),
            client_id: Some(client_id.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn frames_have_the_wire_form() {
        let refusal = Refusal::bad_field("content", "no").with_reason("x");
        let error = ServerFrame::Error { reference: Some("r"), room: None, refusal: &refusal }.to_json();
        assert_eq!(
            String::from_utf8(error).unwrap(),
            r#"{"type":"error","ref":"r","code":"bad_request","message":"no","reason":"x","field":"content"}"#
        );
        let room = RoomId::parse("a").unwrap();
        let gap =
            ServerFrame::Gap { room: &room, after: Seq(3), head: &Cursor::new(Epoch(7), Seq(9)) }.to_json();
        assert_eq!(
            String::from_utf8(gap).unwrap(),
            r#"{"type":"room:gap","room":"a","after":3,"head":{"epoch":"7","seq":9}}"#
        );
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        for at_ms in
            [0, 1, -1, 951_782_399_999, 253_402_300_799_999, 253_402_300_800_000, -62_167_219_200_001]
        {
            let at = chrono::DateTime::from_timestamp_millis(at_ms).unwrap();
            assert_eq!(rfc3339(at_ms), at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true), "{at_ms}");
        }
        let ack = Ack {
            room: room.clone(),
            seq: Seq(3),
            epoch: Epoch(7),
            at: rfc3339(0),
            stage: AckStage::Stored,
            duplicate: false,
            id: Some("i".into()),
            client_id: ClientId::parse("c").ok(),
        };
        let object = serde_json::to_string(&ack).unwrap();
        let frame = String::from_utf8(ack.frame(Some("r")).to_json()).unwrap();
        assert_eq!(
            frame,
            format!(r#"{{"type":"ack","ref":"r",{}"#, &object[1..]),
            "the same fields in the same order"
        );
        assert_eq!(ErrorCode::RateLimited.as_str(), "rate_limited");
    }
}
