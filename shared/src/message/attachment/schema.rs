//! The schema of an attachment: one of two objects, which differ in where the bytes are.

use std::borrow::Cow;

use utoipa::openapi::schema::{
    KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::Attachment;
use crate::ids::FileId;
use crate::limits::{MAX_ATTACHMENT_PIXELS, MAX_BLURHASH_CHARS, MIN_BLURHASH_CHARS};
use crate::openapi::{AttachmentTextForm, AttachmentUrlForm, number};

impl PartialSchema for Attachment {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .item(object::<AttachmentUrlForm>("url", "A file that is stored outside of this system."))
            .item(object::<FileId>("file", "A file of the files service."))
            .into()
    }
}

impl ToSchema for Attachment {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Attachment")
    }
}

/// An attachment whose bytes are where the field `source` of the form `F` says.
fn object<F: ToSchema>(source: &str, about: &str) -> ObjectBuilder {
    let text = || Ref::from_schema_name(AttachmentTextForm::name());
    let size = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .description(Some("Size of the file, in bytes."))
        .minimum(Some(number(0)))
        .maximum(Some(number(i64::MAX)));
    let pixels = || {
        let about = "Pixels; `width` and `height` come together.";
        let number_or_null =
            ObjectBuilder::new().schema_type(or_null(Type::Integer)).description(Some(about));
        number_or_null.minimum(Some(number(1))).maximum(Some(number(MAX_ATTACHMENT_PIXELS)))
    };
    let blurhash = ObjectBuilder::new()
        .schema_type(or_null(Type::String))
        .description(Some("A blurred preview of an image (blurha.sh)."))
        .pattern(Some(r"^[0-9A-Za-z#$%*+,\-.:;=?@\[\]^_{|}~]*$"))
        .min_length(Some(MIN_BLURHASH_CHARS))
        .max_length(Some(MAX_BLURHASH_CHARS));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(about))
        .property("name", text())
        .required("name")
        .property(source, Ref::from_schema_name(F::name()))
        .required(source)
        .property("media_type", text())
        .required("media_type")
        .property("size", size)
        .required("size")
        .property("width", pixels())
        .property("height", pixels())
        .property("blurhash", blurhash)
}

fn or_null(kind: Type) -> SchemaType {
    SchemaType::from_iter([kind, Type::Null])
}
