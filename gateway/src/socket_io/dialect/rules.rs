//! The rules of a dialect, read from its file. Each key of the file is known and each reference can have a value.
//! Otherwise the file is refused with all its errors. Pure.

use serde_json::Value;

use super::{
    document::{DialectError, TomlContent, TomlEntry, TomlNode},
    rooms::RoomNames,
    template::{Reference, Scope, Template},
    vocabulary::{CommandForm, command_form, frame_fields, is_frame_field},
};
use crate::socket_io::packet::is_reserved_event;

/// An event to send: its name and its arguments.
#[derive(Debug)]
pub(super) struct Emission {
    pub event: String,
    pub arguments: Vec<Template>,
}

/// Conditions of a rule: the value of each reference must be one of these.
#[derive(Debug, Default)]
pub(super) struct Conditions(Vec<(Reference, Vec<Value>)>);

impl Conditions {
    pub fn hold(&self, scope: &Scope<'_>) -> bool {
        let holds = |(reference, values): &(Reference, Vec<Value>)| {
            reference.evaluate(scope).is_some_and(|value| values.contains(&value))
        };
        self.0.iter().all(holds)
    }
}

/// A rule for an event of a client.
#[derive(Debug)]
pub(super) struct ClientRule {
    pub event: String,
    pub when: Conditions,
    /// The command; without one, the event is answered at once.
    pub command: Option<Template>,
    pub ack: Option<Vec<Template>>,
    pub reply: Option<Emission>,
}

/// Whom the events of a rule reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuleReceivers {
    Everybody,
    /// Not the user who caused the frame.
    Others,
    /// Only the user who caused the frame.
    Author,
}

/// A rule for a frame of the server.
#[derive(Debug)]
pub(super) struct ServerRule {
    pub frame: String,
    pub when: Conditions,
    /// The list of the frame of which each item becomes an event.
    pub each: Option<String>,
    pub receivers: RuleReceivers,
    /// Nothing is sent if this is empty.
    pub emit: Vec<Emission>,
}

/// Everything in a file.
#[derive(Debug, Default)]
pub(super) struct DialectRules {
    pub rooms: RoomNames,
    /// The token of a CONNECT packet.
    pub token: Option<Template>,
    /// The rooms that a client joins when it connects: a list of names, or the text `mine`.
    pub join: Option<Template>,
    /// The arguments of an ack of a refused command.
    pub ack_error: Option<Vec<Template>>,
    pub client: Vec<ClientRule>,
    pub server: Vec<ServerRule>,
}

impl DialectRules {
    pub fn read(document: &TomlNode) -> Result<Self, Vec<DialectError>> {
        let mut reader = RuleReader { errors: Vec::new() };
        let rules = reader.read_file(document);
        reader.errors.sort_by_key(|error| error.line);
        if reader.errors.is_empty() { Ok(rules) } else { Err(reader.errors) }
    }
}

/// Reads rules and gathers the errors.
struct RuleReader {
    errors: Vec<DialectError>,
}

impl RuleReader {
    fn refuse(&mut self, line: usize, message: impl Into<String>) {
        self.errors.push(DialectError { line, message: message.into() });
    }

    fn entries<'a>(&mut self, node: &'a TomlNode, name: &str) -> &'a [TomlEntry] {
        if let TomlContent::Table(entries) = &node.content {
            return entries;
        }
        self.refuse(node.line, format!("`{name}` must be a table"));
        &[]
    }

    fn refuse_key(&mut self, entry: &TomlEntry, known: &str) {
        self.refuse(entry.line, format!("`{}` is not known here; known are {known}", entry.key));
    }

    fn text(&mut self, entry: &TomlEntry) -> Option<String> {
        let text = entry.value.as_text().map(ToOwned::to_owned);
        if text.is_none() {
            self.refuse(entry.line, format!("`{}` must be a text", entry.key));
        }
        text
    }

    fn template(&mut self, node: &TomlNode, is_root: &dyn Fn(&str) -> bool) -> Template {
        Template::read(node, is_root, &mut self.errors)
    }

    /// A list of templates.
    fn arguments(&mut self, entry: &TomlEntry, is_root: &dyn Fn(&str) -> bool) -> Option<Vec<Template>> {
        if !matches!(entry.value.content, TomlContent::Array(_)) {
            self.refuse(entry.line, format!("`{}` must be a list of arguments", entry.key));
            return None;
        }
        Some(entry.value.items().iter().map(|item| self.template(item, is_root)).collect())
    }

    fn read_file(&mut self, document: &TomlNode) -> DialectRules {
        let mut rules = DialectRules::default();
        let is_error_root = |name: &str| name == "me" || is_field_of("error", name);
        for entry in self.entries(document, "file") {
            match entry.key.as_str() {
                "rooms" => rules.rooms = self.read_rooms(&entry.value),
                "connect" => self.read_connect(&entry.value, &mut rules),
                "ack_error" => rules.ack_error = self.arguments(entry, &is_error_root),
                "client" => {
                    let items = entry.value.items().iter();
                    rules.client = items.filter_map(|item| self.read_client_rule(item)).collect();
                }
                "server" => {
                    let items = entry.value.items().iter();
                    rules.server = items.filter_map(|item| self.read_server_rule(item)).collect();
                }
                _ => self.refuse_key(entry, "`rooms`, `connect`, `ack_error`, `client` and `server`"),
            }
        }
        if rules.ack_error.is_none() && rules.client.iter().any(|rule| rule.ack.is_some()) {
            self.refuse(1, "`ack_error` is missing: it is the ack of a refused command");
        }
        rules
    }

    fn read_rooms(&mut self, node: &TomlNode) -> RoomNames {
        let mut rooms = RoomNames::default();
        for entry in self.entries(node, "rooms") {
            match (entry.key.as_str(), &entry.value.content) {
                ("prefix", _) => rooms.prefix = self.text(entry),
                ("numbers", TomlContent::Scalar(Value::Bool(numbers))) => rooms.numbers = *numbers,
                ("create", TomlContent::Scalar(Value::Bool(create))) => rooms.create = *create,
                ("numbers" | "create", _) => {
                    self.refuse(entry.line, format!("`{}` must be true or false", entry.key));
                }
                _ => self.refuse_key(entry, "`prefix`, `numbers` and `create`"),
            }
        }
        if rooms.create && rooms.prefix.as_ref().is_none_or(String::is_empty) {
            self.refuse(node.line, "`create` needs a `prefix`, so that clients make no other rooms");
        }
        rooms
    }

    fn read_connect(&mut self, node: &TomlNode, rules: &mut DialectRules) {
        let is_root = |name: &str| name == "auth";
        for entry in self.entries(node, "connect") {
            let value = Some(self.template(&entry.value, &is_root));
            match entry.key.as_str() {
                "token" => rules.token = value,
                "join" if matches!(entry.value.content, TomlContent::Array(_)) => rules.join = value,
                "join" if entry.value.as_text() == Some("mine") => rules.join = value,
                "join" => self.refuse(entry.line, "`join` must be a list of rooms or \"mine\""),
                _ => self.refuse_key(entry, "`token` and `join`"),
            }
        }
    }

    fn read_client_rule(&mut self, node: &TomlNode) -> Option<ClientRule> {
        let (mut event, mut when, mut command, mut form) = (None, Conditions::default(), None, None);
        let is_argument = |name: &str| name == "me" || name.parse::<usize>().is_ok_and(|number| number > 0);
        let entries = self.entries(node, "client");
        for entry in entries {
            match entry.key.as_str() {
                "event" => event = self.event_name(&entry.value),
                "when" => when = self.conditions(&entry.value, &is_argument),
                "command" => {
                    form = self.command_form(&entry.value);
                    command = Some(self.template(&entry.value, &is_argument));
                }
                "ack" | "reply" => {}
                _ => self.refuse_key(entry, "`event`, `when`, `command`, `ack` and `reply`"),
            }
        }
        // The answer is all that is known when a command has run; without a command, the event is.
        let is_answer_field =
            |name: &str| name == "me" || form.is_some_and(|form| is_field_of(form.answer, name));
        let is_root: &dyn Fn(&str) -> bool = if command.is_some() { &is_answer_field } else { &is_argument };
        let (mut ack, mut reply) = (None, None);
        for entry in entries {
            match entry.key.as_str() {
                "ack" => ack = self.arguments(entry, is_root),
                "reply" => reply = self.emission(&entry.value, is_root),
                _ => {}
            }
        }
        if event.is_none() && !entries.iter().any(|entry| entry.key == "event") {
            self.refuse(node.line, "`event` is missing: the name of the client's event");
        }
        Some(ClientRule { event: event?, when, command, ack, reply })
    }

    /// Checks the type and the fields of a command.
    fn command_form(&mut self, node: &TomlNode) -> Option<&'static CommandForm> {
        let entries = self.entries(node, "command");
        let kind = entries.iter().find(|entry| entry.key == "type").and_then(|entry| entry.value.as_text());
        let Some(form) = command_form(kind.unwrap_or_default()) else {
            let message =
                format!("`type` of `command` must be a command, not `{}`", kind.unwrap_or_default());
            self.refuse(node.line, message);
            return None;
        };
        for entry in entries.iter().filter(|entry| entry.key != "type") {
            if !form.fields.contains(&entry.key.as_str()) {
                let fields = form.fields.join("`, `");
                self.refuse(
                    entry.line,
                    format!("`{}` has no field `{}`, but `{fields}`", form.kind, entry.key),
                );
            }
        }
        Some(form)
    }

    fn read_server_rule(&mut self, node: &TomlNode) -> Option<ServerRule> {
        let entries = self.entries(node, "server");
        let find = |key: &str| entries.iter().find(|entry| entry.key == key);
        let Some(frame) = find("frame").and_then(|entry| entry.value.as_text()) else {
            self.refuse(node.line, "`frame` is missing: the type of the server's frame");
            return None;
        };
        let Some(fields) = frame_fields(frame) else {
            self.refuse(node.line, format!("`{frame}` is no type of a frame"));
            return None;
        };
        let each = find("each").and_then(|entry| self.text(entry));
        let is_root = |name: &str| is_frame_field(fields, name) || (name == "each" && each.is_some());
        let (mut when, mut receivers, mut emit) =
            (Conditions::default(), RuleReceivers::Everybody, Vec::new());
        for entry in entries {
            match (entry.key.as_str(), entry.value.as_text()) {
                ("frame", _) => {}
                ("each", Some(list)) if fields.contains(&list) => {}
                ("each", _) => self.refuse(entry.line, format!("`each` must be a list of `{frame}`")),
                ("when", _) => when = self.conditions(&entry.value, &is_root),
                ("to", Some("others")) => receivers = RuleReceivers::Others,
                ("to", Some("author")) => receivers = RuleReceivers::Author,
                ("to", _) => self.refuse(entry.line, "`to` must be \"others\" or \"author\""),
                ("emit", _) => emit = self.emissions(&entry.value, &is_root),
                _ => self.refuse_key(entry, "`frame`, `when`, `each`, `to` and `emit`"),
            }
        }
        Some(ServerRule { frame: frame.to_owned(), when, each, receivers, emit })
    }

    /// Conditions: a table from references to a value or a list of values.
    fn conditions(&mut self, node: &TomlNode, is_root: &dyn Fn(&str) -> bool) -> Conditions {
        let mut conditions = Vec::new();
        for entry in self.entries(node, "when") {
            let key = TomlNode { line: entry.line, content: TomlContent::Scalar(entry.key.clone().into()) };
            let values = entry.value.items().iter().map(|item| match &item.content {
                TomlContent::Scalar(value) => Some(value.clone()),
                _ => None,
            });
            match (self.template(&key, is_root), values.collect::<Option<Vec<_>>>()) {
                (Template::Reference(reference), Some(values)) => conditions.push((reference, values)),
                // The error of the key is known already.
                (Template::Literal(Value::Null), _) => {}
                _ => self.refuse(
                    entry.line,
                    "a condition is a reference, such as \"$1.typing\", and a value or a list of values",
                ),
            }
        }
        Conditions(conditions)
    }

    /// One event, or a list of events.
    fn emissions(&mut self, node: &TomlNode, is_root: &dyn Fn(&str) -> bool) -> Vec<Emission> {
        let is_list = node.items().iter().all(|item| matches!(item.content, TomlContent::Array(_)));
        if is_list && matches!(node.content, TomlContent::Array(_)) {
            return node.items().iter().filter_map(|item| self.emission(item, is_root)).collect();
        }
        self.emission(node, is_root).into_iter().collect()
    }

    /// An event as the arguments of `socket.emit`: its name, then its arguments.
    fn emission(&mut self, node: &TomlNode, is_root: &dyn Fn(&str) -> bool) -> Option<Emission> {
        let TomlContent::Array(items) = &node.content else {
            self.refuse(node.line, "an event is a list of its name and its arguments");
            return None;
        };
        let Some((name, arguments)) = items.split_first() else {
            self.refuse(node.line, "the name of the event is missing");
            return None;
        };
        let event = self.event_name(name);
        let arguments = arguments.iter().map(|argument| self.template(argument, is_root)).collect();
        Some(Emission { event: event?, arguments })
    }

    /// The name of an event, which must not be one that libraries give a meaning of their own.
    fn event_name(&mut self, node: &TomlNode) -> Option<String> {
        match node.as_text() {
            Some(name) if !is_reserved_event(name) => Some(name.to_owned()),
            Some(name) => {
                self.refuse(node.line, format!("`{name}` is reserved by Socket.IO"));
                None
            }
            None => {
                self.refuse(node.line, "the name of an event must be a text");
                None
            }
        }
    }
}

fn is_field_of(frame: &str, name: &str) -> bool {
    frame_fields(frame).is_some_and(|fields| is_frame_field(fields, name))
}
