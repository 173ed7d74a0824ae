//! From an event of a client to a command, or to an answer without a command. Pure: the caller creates fresh ids.

use serde_json::{Map, Value, json};
use tidings_shared::error::{ErrorCode, Refusal};

use super::{
    Dialect,
    answer::{AnswerReference, DialectPacket},
    rooms::message_position,
    rules::ClientRule,
    template::Scope,
    user_value,
};

/// Libraries and applications put this before a token.
const BEARER: &str = "Bearer ";

/// What an event of a client leads to.
#[derive(Debug)]
pub enum EventAction {
    /// Run the command, a frame of the protocol without `ref`, with this `ref`.
    Run { command: String, reference: String },
    /// Send these packets.
    Send(Vec<DialectPacket>),
    /// Refuse the event like a command with this `ref`.
    Refuse { refusal: Refusal, reference: String },
}

impl EventAction {
    /// Refuses an event of which no rule can be known.
    pub fn refuse(ack: Option<u64>, message: &str) -> Self {
        let refusal = Refusal::new(ErrorCode::BadRequest, message);
        Self::Refuse { refusal, reference: AnswerReference { rule: None, ack }.to_ref() }
    }
}

/// What a CONNECT packet asks for.
#[derive(Debug, PartialEq)]
pub struct DialectConnect {
    pub token: Option<String>,
    /// The fields of a `room:join`.
    pub join: Option<Value>,
}

impl Dialect {
    /// What an event of a client leads to. `me` is the user. `fresh_client_id` makes the client id of a message to which
    /// the dialect gives none.
    pub fn event(
        &self,
        event: &str,
        arguments: &[Value],
        ack: Option<u64>,
        me: Option<&str>,
        fresh_client_id: impl FnOnce() -> String,
    ) -> EventAction {
        let me = user_value(me);
        let scope = Scope { arguments, me: me.as_ref(), ..Scope::default() };
        let rules = self.client.get(event).into_iter().flatten();
        let mut rules = rules.filter_map(|index| Some((*index, self.rules.client.get(*index)?)));
        let Some((index, rule)) = rules.find(|(_, rule)| rule.when.hold(&scope)) else {
            return EventAction::refuse(ack, "the dialect has no rule for this event");
        };
        let reference = AnswerReference { rule: Some(index), ack }.to_ref();
        let Some(command) = &rule.command else { return EventAction::Send(answer_now(rule, ack, &scope)) };
        let fields = match command.evaluate(&scope) {
            Some(Value::Object(fields)) => self.to_command(fields, fresh_client_id),
            _ => Err(Refusal::new(ErrorCode::BadRequest, "the event has no command")),
        };
        match fields {
            Ok(fields) => EventAction::Run { command: Value::Object(fields).to_string(), reference },
            Err(refusal) => EventAction::Refuse { refusal, reference },
        }
    }

    /// Replaces the application's names of rooms and messages by ours.
    fn to_command(
        &self,
        mut fields: Map<String, Value>,
        fresh_client_id: impl FnOnce() -> String,
    ) -> Result<Map<String, Value>, Refusal> {
        if let Some(room) = fields.get_mut("room") {
            *room = self.room_id(room);
        }
        if let Some(Value::Array(rooms)) = fields.get_mut("rooms") {
            rooms.iter_mut().for_each(|room| *room = self.room_id(room));
        }
        if let Some(id) = fields.remove("message_id") {
            let (room, seq) = position_of(&id, "message_id")?;
            fields.entry("room").or_insert_with(|| room.into());
            if fields.get("room").and_then(Value::as_str) != Some(room) {
                return Err(Refusal::bad_field("message_id", "the message is in another room"));
            }
            fields.insert("seq".to_owned(), seq.into());
        }
        if let Some(id) = fields.remove("reply_to_id").filter(|id| !id.is_null()) {
            let (_, seq) = position_of(&id, "reply_to_id")?;
            fields.insert("reply_to".to_owned(), seq.into());
        }
        let is_send = fields.get("type").and_then(Value::as_str) == Some("message:send");
        if is_send && fields.get("client_id").is_none_or(Value::is_null) {
            fields.insert("client_id".to_owned(), fresh_client_id().into());
        }
        Ok(fields)
    }

    fn room_id(&self, name: &Value) -> Value {
        match name {
            Value::String(name) => self.rules.rooms.to_id(name).into(),
            Value::Number(number) => self.rules.rooms.to_id(&number.to_string()).into(),
            other => other.clone(),
        }
    }

    /// Reads the object of a CONNECT packet.
    pub fn connect(&self, auth: &Value) -> DialectConnect {
        let scope = Scope { auth: Some(auth), ..Scope::default() };
        let token = match &self.rules.token {
            Some(template) => template.evaluate(&scope),
            None => auth.get("token").cloned(),
        };
        let token = token.as_ref().and_then(Value::as_str);
        let rooms = self.rules.join.as_ref().and_then(|template| template.evaluate(&scope));
        let join = rooms.map(|rooms| match rooms {
            // A name that the client did not give is no room.
            Value::Array(rooms) => {
                let named = rooms.iter().filter(|room| !room.is_null());
                json!({ "rooms": named.map(|room| self.room_id(room)).collect::<Vec<_>>() })
            }
            mine => json!({ "rooms": mine }),
        });
        DialectConnect {
            token: token.map(|token| token.strip_prefix(BEARER).unwrap_or(token).to_owned()),
            join,
        }
    }
}

/// The packets of a rule without a command.
fn answer_now(rule: &ClientRule, ack: Option<u64>, scope: &Scope<'_>) -> Vec<DialectPacket> {
    let of_ack = ack.zip(rule.ack.as_ref()).map(|(id, arguments)| DialectPacket::ack(id, arguments, scope));
    let of_reply = rule.reply.as_ref().map(|emission| DialectPacket::event(emission, scope));
    of_ack.into_iter().chain(of_reply).collect()
}

fn position_of<'a>(id: &'a Value, field: &str) -> Result<(&'a str, u64), Refusal> {
    let position = id.as_str().and_then(message_position);
    position.ok_or_else(|| Refusal::bad_field(field, format!("`{field}` is no id of a message")))
}
