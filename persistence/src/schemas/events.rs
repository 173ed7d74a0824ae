//! Schemas of the event frames (docs/PROTOCOL.md, "Log events"): each combines the schema of a body with the fields
//! that all events have.

use std::borrow::Cow;

use utoipa::openapi::schema::{Discriminator, Object, ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use tidings_shared::events::{
    MEMBER_ADDED, MEMBER_CHANGED, MEMBER_REMOVED, MESSAGE_DELETED, MESSAGE_EDITED, MESSAGE_NEW, MESSAGE_VOID,
    REACTION_ADDED, REACTION_REMOVED, ROOM_UPDATED, VOID,
};
use tidings_shared::ids::RoomId;
use tidings_shared::message::Sender;
use tidings_shared::message::events::{Audience, ChangeBody, MemberBody, MessageBody, RoomBody, VoidBody};
use tidings_shared::openapi::{MessageSeqForm, TimeForm};

/// The schema `Event`: one schema per event type, distinguished by the field `type`.
pub struct EventForm;

impl PartialSchema for EventForm {
    fn schema() -> RefOr<Schema> {
        let (mut one_of, mut discriminator) = (OneOfBuilder::new(), Discriminator::new("type"));
        for (kind, _) in event_schemas() {
            let part = Ref::from_schema_name(schema_name(kind));
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
        schemas.extend(event_schemas().into_iter().map(|(kind, event)| (schema_name(kind), event.into())));
        schemas.push((Sender::name().into_owned(), Sender::schema()));
        schemas.push((Audience::name().into_owned(), Audience::schema()));
    }
}

/// The schema name of an event type: `MessageNewEvent` for `message:new`.
fn schema_name(kind: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    kind.split(':').map(capital).chain(["Event".to_owned()]).collect()
}

fn event_schemas() -> Vec<(&'static str, Object)> {
    let change = |kind, about, required: &[&str], without: &[&str]| {
        event_schema::<ChangeBody<'_>>(kind, about, required, without)
    };
    let edited = "`content` is empty once the message is deleted.";
    let removed = "`by` is `user` when they left.";
    let nothing = ObjectBuilder::new().description(Some("The event at this position has no effect."));
    vec![
        event_schema::<MessageBody<'_>>(MESSAGE_NEW, "Holds the present state of the message.", &[], &[]),
        change(MESSAGE_EDITED, edited, &["content"], &["emoji"]),
        change(MESSAGE_DELETED, "", &[], &["content", "metadata", "mentions", "emoji"]),
        change(REACTION_ADDED, "", &["emoji"], &["content", "metadata", "mentions"]),
        change(REACTION_REMOVED, "", &["emoji"], &["content", "metadata", "mentions"]),
        event_schema::<VoidBody<'_>>(MESSAGE_VOID, "The event at `target` has no effect.", &[], &[]),
        event_schema::<MemberBody<'_>>(MEMBER_ADDED, "", &["role"], &[]),
        event_schema::<MemberBody<'_>>(MEMBER_CHANGED, "", &["role"], &["name", "picture"]),
        event_schema::<MemberBody<'_>>(MEMBER_REMOVED, removed, &[], &["role", "name", "picture"]),
        event_schema::<RoomBody<'_>>(ROOM_UPDATED, "Omitted fields stay as they are.", &[], &[]),
        frame_schema(VOID, nothing.build()),
    ]
}

/// The schema of an event type: the fields of `Body` except those in `without`. The fields in `required` are required.
fn event_schema<Body: PartialSchema>(
    kind: &'static str,
    about: &str,
    required: &[&str],
    without: &[&str],
) -> (&'static str, Object) {
    let RefOr::T(Schema::Object(mut body)) = Body::schema() else { unreachable!("a struct is an object") };
    body.description = (!about.is_empty()).then(|| about.to_owned());
    body.required.extend(required.iter().map(ToString::to_string));
    without.iter().for_each(|name| drop(body.properties.remove(*name)));
    frame_schema(kind, body)
}

/// The schema of the frame of an event type: the fields of `body` and those that all events have.
fn frame_schema(kind: &'static str, body: Object) -> (&'static str, Object) {
    let this_kind = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([kind]));
    let mut frame = ObjectBuilder::new()
        .schema_type(Type::Object)
        .title(Some(kind))
        .description(body.description)
        .property("type", this_kind)
        .property("room", Ref::from_schema_name(RoomId::name()))
        .property("seq", Ref::from_schema_name(MessageSeqForm::name()))
        .property("at", Ref::from_schema_name(TimeForm::name()))
        .build();
    frame.required = ["type", "room", "seq", "at"].map(ToOwned::to_owned).to_vec();
    frame.required.extend(body.required);
    frame.properties.extend(body.properties);
    (kind, frame)
}
