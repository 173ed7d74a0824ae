//! The log's events as `GET …/events` gives them, for the OpenAPI document: the frames of docs/PROTOCOL.md, "Log
//! events". Says what `query::events` and the log write; makes no JSON of theirs.

use std::borrow::Cow;

use utoipa::openapi::schema::{ArrayBuilder, Discriminator, Object, ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{
    AttachmentForm, ClientIdForm, EmojiForm, LabelForm, MessageIdForm, MessageSeqForm, MetadataForm,
    RoleForm, RoomIdForm, TimeForm, UserIdForm,
};
use crate::query::messages::VisibleTo;

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

/// The schema `Event`: one of those below, told apart by `type`.
pub struct EventForm;

impl PartialSchema for EventForm {
    fn schema() -> RefOr<Schema> {
        let (mut one_of, mut told_by) = (OneOfBuilder::new(), Discriminator::new("type"));
        for (kind, _) in all() {
            let part = Ref::from_schema_name(name(kind));
            told_by.mapping.insert(kind.to_owned(), part.ref_location.clone());
            one_of = one_of.item(part);
        }
        one_of.description(Some("An event of a room's log.")).discriminator(Some(told_by)).into()
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
    let aimed = || {
        let by = must("by", UserIdForm::name());
        [must("target", MessageSeqForm::name()), must("target_id", MessageIdForm::name()), by]
    };
    let reaction = || aimed().into_iter().chain([must("emoji", EmojiForm::name())]);
    let member = || [must("user", UserIdForm::name()), must("by", UserIdForm::name())];
    let role = || must("role", RoleForm::name());
    let text = |name, required| own(name, String::schema(), required);
    let said = [
        must("id", MessageIdForm::name()),
        must("client_id", ClientIdForm::name()),
        must("sender", SenderForm::name()),
        must("kind", LabelForm::name()),
        text("content", true),
        may("reply_to", MessageSeqForm::name()),
        own("attachments", attachments(), false),
        may("metadata", MetadataForm::name()),
        may("visible_to", VisibleTo::name()),
        may("edited_at", TimeForm::name()),
        own("deleted", bool::schema(), false),
    ];
    let void = [
        must("target", MessageSeqForm::name()),
        must("client_id", ClientIdForm::name()),
        must("by", UserIdForm::name()),
        own("reason", one_of(&["duplicate", "rejected"]), true),
        may("of", MessageSeqForm::name()),
        may("message", MessageSeqForm::name()),
    ];
    let room = [
        text("name", false),
        may("metadata", MetadataForm::name()),
        own("archived", bool::schema(), false),
        must("by", UserIdForm::name()),
    ];
    vec![
        event("message:new", "With what the message says now.", said),
        event(
            "message:edited",
            "`content` is empty once the message is deleted.",
            aimed().into_iter().chain([text("content", true), may("metadata", MetadataForm::name())]),
        ),
        event("message:deleted", "", aimed()),
        event("reaction:added", "", reaction()),
        event("reaction:removed", "", reaction()),
        event("message:void", "What was at `target` counts for nothing.", void),
        event("member:added", "", member().into_iter().chain([role()])),
        event("member:changed", "", member().into_iter().chain([role()])),
        event("member:removed", "`by` is `user` when they left.", member()),
        event("room:updated", "What is not named stays.", room),
        event("void", "What was here counts for nothing.", []),
    ]
}

/// A field: its name, its schema, whether it is always there. None is ever null.
type Field = (&'static str, RefOr<Schema>, bool);

fn must(name: &'static str, schema: Cow<'static, str>) -> Field {
    (name, Ref::from_schema_name(schema).into(), true)
}

fn may(name: &'static str, schema: Cow<'static, str>) -> Field {
    (name, Ref::from_schema_name(schema).into(), false)
}

fn own(name: &'static str, schema: RefOr<Schema>, required: bool) -> Field {
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
        own("type", one_of(&[kind]), true),
        must("room", RoomIdForm::name()),
        must("seq", MessageSeqForm::name()),
        must("at", TimeForm::name()),
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
