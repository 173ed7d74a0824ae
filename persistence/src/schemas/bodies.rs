//! Schemas of the request bodies that [`tidings_shared::command_fields::Fields`] parses, as lists of its fields.

use std::borrow::Cow;

use serde_json::json;
use utoipa::openapi::schema::{
    ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, RefBuilder, Schema, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use tidings_shared::{
    command_fields::VisibleTo,
    ids::{ClientId, UserId},
    limits::{MAX_ATTACHMENTS, MAX_MENTIONS},
    message::{AckStage, Attachment},
    openapi::{LabelForm, MessageIdForm, MessageSeqForm, MessageTextForm, MetadataForm, number},
    protocol::Status,
};

macro_rules! bodies {
    ($($form:ident = $name:literal, $about:literal, [$($required:literal)*] [$($optional:literal)*] $example:expr;)+) => {$(
        #[doc = concat!("The schema `", $name, "`.")]
        pub struct $form;

        impl PartialSchema for $form {
            fn schema() -> RefOr<Schema> {
                let body = ObjectBuilder::new().schema_type(Type::Object).description(Some($about));
                let body = body$(.property($required, field_schema($required, false)).required($required))*
                    $(.property($optional, field_schema($optional, true)))*;
                let examples: Vec<serde_json::Value> = $example;
                body.examples(examples).into()
            }
        }

        impl ToSchema for $form {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }

            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                schemas.extend([named_schema::<AckStage>(), named_schema::<Attachment>(), named_schema::<Status>(), named_schema::<VisibleTo>()]);
            }
        }
    )+};
}

bodies! {
    SendForm = "Send", "The body of a send, as for `message:send`.",
        ["client_id"]
        ["content" "kind" "reply_to" "visible_to" "mentions" "attachments" "metadata" "attempt" "ack"]
        vec![json!({"client_id": "0198f2c4-8e7a-7c31-9d42-6b1f0e5a7c90", "content": "Tea is ready"})];
    EditForm = "Edit", "The body of an edit, as for `message:edit`. Omitted metadata and mentions stay.",
        ["content"] ["metadata" "mentions" "id" "client_id" "ack"] vec![json!({"content": "Tea was ready"})];
    ChangeForm = "Change", "The body of every other change. May be omitted.", [] ["id" "client_id" "ack"] vec![];
    PresenceSetForm = "PresenceSet", "What a user sets for themselves.", ["status"] [] vec![];
}

fn named_schema<T: ToSchema>() -> (String, RefOr<Schema>) {
    (T::name().into_owned(), T::schema())
}

/// The schema of a field. An optional field may be null.
fn field_schema(name: &str, optional: bool) -> RefOr<Schema> {
    let (schema, about) = match name {
        "ack" => (AckStage::name(), "`stored` if omitted."),
        "client_id" if optional => (ClientId::name(), "If omitted, the server chooses one."),
        "client_id" => (ClientId::name(), ""),
        "content" if optional => (MessageTextForm::name(), "Empty or omitted only with attachments."),
        "content" => (MessageTextForm::name(), "Empty only if the message has attachments."),
        "id" => (MessageIdForm::name(), "The message must have this id, else `conflict`."),
        "kind" => (LabelForm::name(), "`text` if omitted."),
        "metadata" => (MetadataForm::name(), ""),
        "reply_to" => (MessageSeqForm::name(), ""),
        "status" => (Status::name(), ""),
        "visible_to" => (VisibleTo::name(), ""),
        "attachments" => {
            let list = ArrayBuilder::new().items(Ref::from_schema_name(Attachment::name()));
            return list.schema_type(or_null(Type::Array)).max_items(Some(MAX_ATTACHMENTS)).into();
        }
        "mentions" => {
            let list = ArrayBuilder::new().items(Ref::from_schema_name(UserId::name()));
            let about = "Members who may see the message, each once.";
            return list
                .schema_type(or_null(Type::Array))
                .max_items(Some(MAX_MENTIONS))
                .unique_items(true)
                .description(Some(about))
                .into();
        }
        "attempt" => return attempt_schema().into(),
        _ => unreachable!("{name} has no schema"),
    };
    let about = (!about.is_empty()).then_some(about);
    let form = RefBuilder::new().ref_location_from_schema_name(schema).description(about);
    if !optional {
        return RefOr::Ref(form.build());
    }
    OneOfBuilder::new().item(form).item(ObjectBuilder::new().schema_type(Type::Null)).into()
}

fn or_null(kind: Type) -> SchemaType {
    SchemaType::from_iter([kind, Type::Null])
}

fn attempt_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(or_null(Type::Integer))
        .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::Int64)))
        .description(Some("1 promises that this client id was never sent before."))
        .minimum(Some(number(0)))
        .maximum(Some(number(i64::from(u32::MAX))))
        .build()
}
