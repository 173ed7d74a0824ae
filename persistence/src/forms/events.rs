//! The log's events as `GET …/events` returns them, for the OpenAPI document: the frames of docs/PROTOCOL.md, "Log
//! events". Describes the JSON that `query::events` and the log write, and writes none itself.

use std::borrow::Cow;

use utoipa::openapi::schema::{ArrayBuilder, Discriminator, Object, ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{
    AttachmentForm, ClientIdForm, EmojiForm, LabelForm, MessageIdForm, MessageSeqForm, MetadataForm,
    RoleForm, RoomIdForm, TimeForm, UserIdForm, VisibleTo,
};

/// Who sent a message.
#[derive(ToSchema)]
#[schema(as = EventSender)]
#[allow(dead_code, reason = "a form for the OpenAPI document")]
pub struct SenderForm {
    #[schema(value_type = UserIdForm)]
    id: String,
    #[schema(nullable = false)]
    name: Option<String>,
    #[schema(nullable = false)]
    picture: Option<String>,
}

/// The schema `Event`: one of the schemas below, distinguished by `type`.
pub struct EventForm;

impl PartialSchema for EventForm {
    fn schema() -> RefOr<Schema> {
        let (mut one_of, mut discriminator) = (OneOfBuilder::new(), Discriminator::new("type"));
        for (kind, _) in all() {
            let part = Ref::from_schema_name(name(kind));
            discriminator.mapping.insert(kind.to_owned(), part.ref_location.clone());
            one_of = one_of.item(part);
        }
        one_of.description(Some("An event of a room's log.")).discriminator(Some(discriminator)).into()
    }
}

impl ToSchema for EventForm {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Event")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.extend(all().into_iter().map(|(kind, event)| (name(kind), event.into())));
        schemas.push((SenderForm::name().into_owned(), SenderForm::schema()));
        schemas.push((VisibleTo::name().into_owned(), VisibleTo::schema()));
    }
}

/// `message:new` as `MessageNewEvent`.
fn name(kind: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    kind.split(':').map(capital).chain(["Event".to_owned()]).collect()
}

fn all() -> Vec<(&'static str, Object)> {
    let targeted = || {
        let by = required_field("by", UserIdForm::name());
        [
            required_field("target", MessageSeqForm::name()),
            required_field("target_id", MessageIdForm::name()),
            by,
        ]
    };
    let reaction = || targeted().into_iter().chain([required_field("emoji", EmojiForm::name())]);
    let member = || [required_field("user", UserIdForm::name()), required_field("by", UserIdForm::name())];
    let role = || required_field("role", RoleForm::name());
    let text = |name, required| inline_field(name, String::schema(), required);
    let message_fields = [
        required_field("id", MessageIdForm::name()),
        required_field("client_id", ClientIdForm::name()),
        required_field("sender", SenderForm::name()),
        required_field("kind", LabelForm::name()),
        text("content", true),
        optional_field("reply_to", MessageSeqForm::name()),
        inline_field("attachments", attachments(), false),
        optional_field("metadata", MetadataForm::name()),
        optional_field("visible_to", VisibleTo::name()),
        optional_field("edited_at", TimeForm::name()),
        inline_field("deleted", bool::schema(), false),
    ];
    let void = [
        required_field("target", MessageSeqForm::name()),
        required_field("client_id", ClientIdForm::name()),
        required_field("by", UserIdForm::name()),
        inline_field("reason", one_of(&["duplicate", "rejected"]), true),
        optional_field("of", MessageSeqForm::name()),
        optional_field("message", MessageSeqForm::name()),
    ];
    let room = [
        text("name", false),
        optional_field("metadata", MetadataForm::name()),
        inline_field("archived", bool::schema(), false),
        required_field("by", UserIdForm::name()),
    ];
    vec![
        event("message:new", "Holds the present state of the message.", message_fields),
        event(
            "message:edited",
            "`content` is empty once the message is deleted.",
            targeted()
                .into_iter()
                .chain([text("content", true), optional_field("metadata", MetadataForm::name())]),
        ),
        event("message:deleted", "", targeted()),
        event("reaction:added", "", reaction()),
        event("reaction:removed", "", reaction()),
        event("message:void", "The event at `target` has no effect.", void),
        event("member:added", "", member().into_iter().chain([role()])),
        event("member:changed", "", member().into_iter().chain([role()])),
        event("member:removed", "`by` is `user` when they left.", member()),
        event("room:updated", "Omitted fields stay as they are.", room),
        event("void", "The event at this position has no effect.", []),
    ]
}

/// A field: its name, its schema, whether it is always present. No field is ever null.
type Field = (&'static str, RefOr<Schema>, bool);

fn required_field(name: &'static str, schema: Cow<'static, str>) -> Field {
    (name, Ref::from_schema_name(schema).into(), true)
}

fn optional_field(name: &'static str, schema: Cow<'static, str>) -> Field {
    (name, Ref::from_schema_name(schema).into(), false)
}

fn inline_field(name: &'static str, schema: RefOr<Schema>, required: bool) -> Field {
    (name, schema, required)
}

fn attachments() -> RefOr<Schema> {
    ArrayBuilder::new().items(Ref::from_schema_name(AttachmentForm::name())).into()
}

fn one_of(values: &[&str]) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(values.iter().copied())).into()
}

fn event(kind: &'static str, about: &str, fields: impl IntoIterator<Item = Field>) -> (&'static str, Object) {
    let common = [
        inline_field("type", one_of(&[kind]), true),
        required_field("room", RoomIdForm::name()),
        required_field("seq", MessageSeqForm::name()),
        required_field("at", TimeForm::name()),
    ];
    let mut object = ObjectBuilder::new().schema_type(Type::Object);
    for (name, schema, required) in common.into_iter().chain(fields) {
        object = object.property(name, schema);
        if required {
            object = object.required(name);
        }
    }
    let about = (!about.is_empty()).then(|| about.to_owned());
    (kind, object.title(Some(kind)).description(about).build())
}
