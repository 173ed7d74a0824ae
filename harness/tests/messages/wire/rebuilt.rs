//! Rebuilds a fixture's server frame with the server's own types. A difference means that the fixture has a field that
//! the server does not send, or lacks one that it sends.

use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::{Cursor, Epoch, RoomId, Seq, UserId};
use tidings_shared::message::AckStage;
use tidings_shared::protocol::server::{
    Ack, FailedRoom, JoinedRoom, Limits, Presence, PresentMember, Receipt, Sender, ServerFrame,
};

/// Reads the fields of a JSON object as the server's types.
struct FrameReader<'a>(&'a Value);

impl<'a> FrameReader<'a> {
    fn get<T: DeserializeOwned>(&self, name: &str) -> T {
        let value = self.0[name].clone();
        serde_json::from_value(value).unwrap_or_else(|error| panic!("{name} of {}: {error}", self.0))
    }

    fn text(&self, name: &str) -> &'a str {
        self.optional_text(name).unwrap_or_else(|| panic!("{name} of {} is not a text", self.0))
    }

    fn optional_text(&self, name: &str) -> Option<&'a str> {
        self.0[name].as_str()
    }

    fn map_list<T>(&self, name: &str, make: impl Fn(FrameReader<'a>) -> T) -> Vec<T> {
        let values = self.0[name].as_array().unwrap_or_else(|| panic!("{name} of {} is not a list", self.0));
        values.iter().map(|value| make(FrameReader(value))).collect()
    }

    fn epoch(&self) -> Epoch {
        Epoch(self.text("epoch").parse().unwrap())
    }

    fn sender(&self) -> Sender<'a> {
        Sender {
            id: self.text("id"),
            name: self.optional_text("name"),
            picture: self.optional_text("picture"),
        }
    }

    fn presence(&self) -> Presence {
        let status = match self.text("status") {
            "online" => "online",
            "away" => "away",
            "offline" => "offline",
            other => panic!("{other} is not a status"),
        };
        Presence { user: self.get("user"), status, last_seen: self.get("last_seen") }
    }

    fn marks(&self) -> Vec<Receipt> {
        self.map_list("marks", |mark| Receipt {
            user: mark.get("user"),
            seq: mark.get("seq"),
            at: mark.get("at"),
        })
    }

    fn joined_room(&self) -> JoinedRoom {
        JoinedRoom {
            room: self.get("room"),
            kind: self.get("kind"),
            name: self.get("name"),
            role: self.get("role"),
            head: self.get("head"),
            read_seq: self.get("read_seq"),
            members: self.get("members"),
            online: self.get::<Option<Vec<PresentMember>>>("online"),
        }
    }

    fn failed_room(&self) -> FailedRoom {
        FailedRoom { room: self.get("room"), code: self.get::<ErrorCode>("code") }
    }

    fn ack(&self) -> Ack {
        Ack {
            room: self.get("room"),
            seq: self.get("seq"),
            epoch: self.epoch(),
            at: self.get("at"),
            stage: self.get::<AckStage>("stage"),
            duplicate: self.get("duplicate"),
            id: self.get("id"),
            client_id: self.get("client_id"),
        }
    }
}

/// The frame that the server would send. `None` for a log event: the log builds it, and no server type exists.
pub fn rebuild_frame(frame: &Value) -> Option<Value> {
    let read = FrameReader(frame);
    let reference = read.optional_text("ref");
    let room = || read.get::<RoomId>("room");
    let json = |frame: ServerFrame<'_>| Some(serde_json::from_slice(&frame.to_json()).unwrap());
    match read.text("type") {
        "connected" => {
            let limits = FrameReader(&frame["limits"]);
            let limits = Limits {
                max_message_chars: limits.get("max_message_chars"),
                max_frame_bytes: limits.get("max_frame_bytes"),
                messages_per_second: limits.get("messages_per_second"),
            };
            json(ServerFrame::Connected {
                reference,
                connection: read.text("connection"),
                user: read.text("user"),
                name: read.optional_text("name"),
                server_time: read.text("server_time"),
                heartbeat_ms: read.get("heartbeat_ms"),
                expires_at: read.text("expires_at"),
                rooms_version: read.text("rooms_version"),
                spread_ms: frame["spread_ms"].as_u64(),
                limits: &limits,
                node: read.text("node"),
            })
        }
        "auth:ok" => json(ServerFrame::AuthOk { reference, expires_at: read.text("expires_at") }),
        "room:joined" => json(ServerFrame::RoomJoined {
            reference,
            rooms: &read.map_list("rooms", |room| room.joined_room()),
            failed: &read.map_list("failed", |room| room.failed_room()),
            more: read.get("more"),
        }),
        "room:left" => json(ServerFrame::RoomLeft { reference, rooms: &read.get::<Vec<RoomId>>("rooms") }),
        "room:caught_up" => {
            json(ServerFrame::CaughtUp { room: &room(), epoch: read.epoch(), seq: read.get::<Seq>("seq") })
        }
        "room:gap" => json(ServerFrame::Gap {
            room: &room(),
            after: read.get("after"),
            head: &read.get::<Cursor>("head"),
        }),
        "ack" => json(read.ack().frame(reference)),
        "ok" => json(ServerFrame::Ok { reference }),
        "presence:list" => json(ServerFrame::PresenceList {
            reference,
            users: &read.map_list("users", |user| user.presence()),
        }),
        "presence" => json(ServerFrame::Presence(&read.presence())),
        "typing:start" => json(ServerFrame::TypingStart {
            room: &room(),
            user: FrameReader(&frame["user"]).sender(),
            expires_ms: read.get("expires_ms"),
        }),
        "typing:stop" => {
            json(ServerFrame::TypingStop { room: &room(), user: FrameReader(&frame["user"]).sender() })
        }
        "signal" => {
            let data = RawValue::from_string(frame["data"].to_string()).unwrap();
            json(ServerFrame::Signal { room: &room(), from: &read.get::<UserId>("from"), data: &data })
        }
        "receipt:read" => json(ServerFrame::ReadReceipt { room: &room(), marks: &read.marks() }),
        "receipt:delivered" => json(ServerFrame::DeliveredReceipt { room: &room(), marks: &read.marks() }),
        "room:added" => json(ServerFrame::RoomAdded {
            room: &room(),
            kind: read.text("kind"),
            name: read.optional_text("name"),
            role: read.text("role"),
            from: &read.get::<Cursor>("from"),
        }),
        "room:removed" => json(ServerFrame::RoomRemoved { room: &room(), seq: read.get("seq") }),
        "rooms:changed" => json(ServerFrame::RoomsChanged {
            rooms_version: read.text("rooms_version"),
            spread_ms: frame["spread_ms"].as_u64(),
        }),
        "room:activity" => json(ServerFrame::RoomActivity {
            room: &room(),
            seq: read.get("seq"),
            mention: read.get("mention"),
            from: &read.get::<Cursor>("from"),
        }),
        "rooms:activity" => json(ServerFrame::RoomsActivity { after_ms: read.get("after_ms") }),
        "draining" => json(ServerFrame::Draining { reconnect_after_ms: read.get("reconnect_after_ms") }),
        "pong" => json(ServerFrame::Pong { reference, server_time: read.text("server_time") }),
        "error" => {
            let refusal: Refusal = serde_json::from_value(frame.clone()).unwrap();
            let room = read.get::<Option<RoomId>>("room");
            json(ServerFrame::Error { reference, room: room.as_ref(), refusal: &refusal })
        }
        _ => None,
    }
}
