//! From a frame of the server to the packets that the application's clients know. Pure.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value};
use tidings_shared::clock::parse_rfc3339;

use super::{
    Dialect,
    answer::{AnswerReference, DialectPacket, PacketReceivers},
    rooms::message_id,
    rules::{RuleReceivers, ServerRule},
    template::Scope,
    user_value,
};

/// The type of frames that refuse a command.
const ERROR: &str = "error";

/// What decides whether a frame must be read at all.
#[derive(Deserialize)]
struct FrameStart<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, rename = "ref", default)]
    reference: Option<Cow<'a, str>>,
}

impl Dialect {
    /// The packets of a frame. `me` is the user whom it is for, if it is for one connection. The packets of a frame for
    /// many connections depend on the user only by [`DialectPacket::receivers`].
    pub fn packets(&self, payload: &[u8], me: Option<&str>) -> Vec<DialectPacket> {
        let Ok(start) = serde_json::from_slice::<FrameStart<'_>>(payload) else { return Vec::new() };
        let reference = start.reference.as_deref().and_then(AnswerReference::parse);
        let rules = self.server.get(&*start.kind);
        if reference.is_none() && rules.is_none() {
            return Vec::new();
        }
        let Ok(Value::Object(mut frame)) = serde_json::from_slice(payload) else { return Vec::new() };
        self.add_fields(&mut frame);
        let (frame, me) = (Value::Object(frame), user_value(me));
        let scope = Scope { frame: Some(&frame), me: me.as_ref(), ..Scope::default() };
        if let Some(reference) = reference {
            let packets = self.answer(reference, &start.kind, &scope);
            if !packets.is_empty() {
                return packets;
            }
        }
        let mut rules = rules.into_iter().flatten().filter_map(|index| self.rules.server.get(*index));
        let scope = Scope { me: None, ..scope };
        rules.find_map(|rule| apply(rule, &scope)).unwrap_or_default()
    }

    /// The ack and the event that the rule of the event demands.
    fn answer(&self, reference: AnswerReference, kind: &str, scope: &Scope<'_>) -> Vec<DialectPacket> {
        let rule = reference.rule.and_then(|index| self.rules.client.get(index));
        let mut packets = Vec::new();
        let acks = rule.is_none_or(|rule| rule.ack.is_some());
        let arguments = if kind == ERROR {
            self.rules.ack_error.as_ref().filter(|_| acks)
        } else {
            rule.and_then(|rule| rule.ack.as_ref())
        };
        if let (Some(id), Some(arguments)) = (reference.ack, arguments) {
            packets.push(DialectPacket::ack(id, arguments, scope));
        }
        if let Some(reply) = rule.and_then(|rule| rule.reply.as_ref()).filter(|_| kind != ERROR) {
            packets.push(DialectPacket::event(reply, scope));
        }
        packets
    }

    /// Adds the ids of messages and the times as numbers, and replaces ids of rooms by their names.
    fn add_fields(&self, frame: &mut Map<String, Value>) {
        let room = frame.get("room").and_then(Value::as_str).map(ToOwned::to_owned);
        add_position(frame, room.as_deref());
        for mark in frame.get_mut("marks").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Value::Object(mark) = mark {
                add_position(mark, room.as_deref());
            }
        }
        self.rules.rooms.rename(frame);
    }
}

/// Adds `message_id`, `reply_to_id` and `at_ms`. The message of a change is the one that it changes.
fn add_position(fields: &mut Map<String, Value>, room: Option<&str>) {
    let position = |name: &str| fields.get(name).and_then(Value::as_u64);
    let (message, reply_to) = (position("target").or_else(|| position("seq")), position("reply_to"));
    let at_ms = fields.get("at").and_then(Value::as_str).and_then(parse_rfc3339);
    for (name, seq) in [("message_id", message), ("reply_to_id", reply_to)] {
        if let (Some(room), Some(seq)) = (room, seq) {
            fields.insert(name.to_owned(), message_id(room, seq).into());
        }
    }
    if let Some(at_ms) = at_ms {
        fields.insert("at_ms".to_owned(), at_ms.into());
    }
}

/// The packets of a rule; `None` if its conditions do not hold.
fn apply(rule: &ServerRule, scope: &Scope<'_>) -> Option<Vec<DialectPacket>> {
    let Some(list) = &rule.each else {
        return rule.when.hold(scope).then(|| emit(rule, scope));
    };
    let items = scope.frame.and_then(|frame| frame.get(list)).and_then(Value::as_array);
    let scopes = items.into_iter().flatten().map(|item| Scope { each: Some(item), ..*scope });
    let matching: Vec<Scope<'_>> = scopes.filter(|scope| rule.when.hold(scope)).collect();
    (!matching.is_empty()).then(|| matching.iter().flat_map(|scope| emit(rule, scope)).collect())
}

fn emit(rule: &ServerRule, scope: &Scope<'_>) -> Vec<DialectPacket> {
    let author = scope.each.or(scope.frame).and_then(author_of);
    let receivers = match (rule.receivers, author) {
        (RuleReceivers::Others, Some(author)) => PacketReceivers::AllBut(author.into()),
        (RuleReceivers::Author, Some(author)) => PacketReceivers::Only(author.into()),
        _ => PacketReceivers::Everybody,
    };
    let packet =
        |emission| DialectPacket { receivers: receivers.clone(), ..DialectPacket::event(emission, scope) };
    rule.emit.iter().map(packet).collect()
}

/// The user who caused a frame: the sender, the user whose state it is, or the user who changed something.
fn author_of(frame: &Value) -> Option<&str> {
    let text = |name: &str| frame.get(name).and_then(|value| value.get("id").unwrap_or(value).as_str());
    ["sender", "user", "from", "by"].into_iter().find_map(text)
}
