//! Schemas of the OpenAPI document for ids, names, texts and positions (docs/PROTOCOL.md, "Forms"). A schema states the
//! rules of the parser, as far as JSON Schema can. A form without a Rust type is represented by an empty type.

use std::borrow::Cow;

use utoipa::openapi::schema::{
    AdditionalProperties, Array, ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{Number, PartialSchema, ToSchema};

use crate::error::ErrorCode;
use crate::ids::{ClientId, Epoch, FileId, RoomId, Seq, UserId};
use crate::limits::{
    DEFAULT_FEED_ENTRIES, DEFAULT_PAGE_ENTRIES, MAX_ATTACHMENT_NAME_CHARS, MAX_ATTACHMENT_URL_CHARS,
    MAX_CLIENT_ID_CHARS, MAX_EMOJI_BYTES, MAX_FEED_ENTRIES, MAX_FEED_WAIT_MS, MAX_LABEL_CHARS, MAX_MENTIONS,
    MAX_METADATA_BYTES, MAX_PAGE_ENTRIES, MAX_PERSON_TEXT_CHARS, MAX_ROOM_ID_CHARS, MAX_ROOM_NAME_CHARS,
    MAX_SEQ, MAX_SLOW_MODE_S, MAX_USER_ID_CHARS,
};
use crate::role;

/// A text without control characters.
const LINE_PATTERN: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// A text without control characters except tab and newline.
const TEXT_PATTERN: &str = r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*$";
/// The text of a message: [`TEXT_PATTERN`], and the line ends CR LF, which become newlines.
const MESSAGE_PATTERN: &str = r"^([^\u0000-\u0008\u000b-\u001f\u007f-\u009f]|\r\n)*$";
/// [`TEXT_PATTERN`] without bidi controls.
const FILE_NAME_PATTERN: &str = r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]*$";
/// A text without control characters, bidi controls and Unicode white space.
const WORD_PATTERN: &str = concat!(
    r"^[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a",
    r"\u2028-\u202f\u205f\u2066-\u2069\u3000]+$"
);
const ROOM_PATTERN: &str = "^[A-Za-z0-9._:-]+$";
const LABEL_PATTERN: &str = "^[a-z0-9_-]+$";

macro_rules! empty_types {
    ($($form:ident)+) => {$(
        /// The schema of a form of docs/PROTOCOL.md that has no Rust type. This empty type only names the schema.
        pub struct $form;
    )+};
}

empty_types! {
    MessageIdForm RoleForm LabelForm EmojiForm NameForm PersonTextForm MessageTextForm AttachmentTextForm
    AttachmentUrlForm MetadataForm SlowModeForm ListCursorForm LimitForm PositionForm MessageSeqForm StatusForm
    VoidReasonForm TimeForm FeedLimitForm FeedWaitForm PartitionsForm
    RoomFilterForm UserFilterForm
}

macro_rules! forms {
    ($($form:ident = $name:literal, $about:expr => $schema:expr;)+) => {$(
        impl PartialSchema for $form {
            fn schema() -> RefOr<Schema> {
                let (about, schema): (String, ObjectBuilder) = ($about.into(), $schema);
                schema.description((!about.is_empty()).then_some(about)).into()
            }
        }

        impl ToSchema for $form {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        }
    )+

        /// Returns the name and the schema of each form. They must be added to the document explicitly, because utoipa
        /// does not collect schemas that only parameters reference.
        pub fn all() -> impl Iterator<Item = (String, RefOr<Schema>)> {
            [$(($name.to_owned(), <$form as PartialSchema>::schema())),+].into_iter()
        }
    };
}

forms! {
    RoomId = "RoomId", "Not `.` or `..`." => text_schema(MAX_ROOM_ID_CHARS, ROOM_PATTERN);
    UserId = "UserId", "Without control characters, bidi controls and white space; not `.` or `..`." => text_schema(MAX_USER_ID_CHARS, WORD_PATTERN);
    RoomFilterForm = "RoomFilter", "The id of a room; empty as if omitted." => filter_schema(MAX_ROOM_ID_CHARS, ROOM_PATTERN);
    UserFilterForm = "UserFilter", "The id of a user; empty as if omitted." => filter_schema(MAX_USER_ID_CHARS, WORD_PATTERN);
    MessageIdForm = "MessageId", "" => string().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
    FileId = "FileId", "A UUIDv7 in lower case." =>
        string().pattern(Some("^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"));
    ClientId = "ClientId", "Printable ASCII, unique per room and sender; a UUIDv7 is best." => text_schema(MAX_CLIENT_ID_CHARS, "^[ -~]+$");
    RoleForm = "Role", format!("{}.", role::name_rule()) => text_schema(MAX_LABEL_CHARS, LABEL_PATTERN);
    LabelForm = "Label", "What kind of message it is, or the name of a role." => text_schema(MAX_LABEL_CHARS, LABEL_PATTERN);
    EmojiForm = "Emoji", format!("Up to {MAX_EMOJI_BYTES} bytes of UTF-8; not `.` or `..`. All spellings of an emoji become one.") => text_schema(MAX_EMOJI_BYTES, WORD_PATTERN);
    NameForm = "RoomName", "Empty: no name." => line_schema(MAX_ROOM_NAME_CHARS);
    PersonTextForm = "PersonText", "Empty: removes the value." => line_schema(MAX_PERSON_TEXT_CHARS);
    MessageTextForm = "MessageText", "Unicode scalar values." => string().pattern(Some(MESSAGE_PATTERN));
    AttachmentTextForm = "AttachmentText", "" => string().pattern(Some(FILE_NAME_PATTERN)).max_length(Some(MAX_ATTACHMENT_NAME_CHARS));
    AttachmentUrlForm = "AttachmentUrl", "" =>
        string().pattern(Some(format!("^https?://{}", &TEXT_PATTERN[1..]))).max_length(Some(MAX_ATTACHMENT_URL_CHARS));
    MetadataForm = "Metadata", format!("Up to {} KiB as sent, nested up to 100 deep, without U+0000; kept byte for byte.", MAX_METADATA_BYTES / 1024) =>
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .additional_properties(Some(AdditionalProperties::FreeForm(true)));
    SlowModeForm = "SlowMode", "Seconds between two messages of a member; 0: no slow mode." =>
        unbounded_integer(0).maximum(Some(number(i64::from(MAX_SLOW_MODE_S))));
    ListCursorForm = "ListCursor", "`next` of the page before, opaque. Empty is the same as omitted." => string();
    LimitForm = "Limit", format!("Entries of a page; {DEFAULT_PAGE_ENTRIES} by default, at most {MAX_PAGE_ENTRIES}. A page also ends at about 1 MiB.") =>
        unbounded_integer(1);
    FeedLimitForm = "FeedLimit", format!("Events that a page spans; {DEFAULT_FEED_ENTRIES} by default, at most {MAX_FEED_ENTRIES}. A page also ends at about 1 MiB.") =>
        unbounded_integer(1);
    FeedWaitForm = "FeedWait", format!("Milliseconds; at most {MAX_FEED_WAIT_MS}.") => unbounded_integer(0);
    PartitionsForm = "Partitions", "A partition from 0 to 63, or a range as in `0-15`; empty as if omitted." =>
        string().pattern(Some("^((6[0-3]|[1-5]?[0-9])(-(6[0-3]|[1-5]?[0-9]))?)?$"));
    PositionForm = "Position", "Digits; higher values count as 2^53 − 1." => unbounded_integer(0);
    Seq = "Seq", "Position in the log of a room." => bounded_integer(0);
    MessageSeqForm = "MessageSeq", "Position of a message." => bounded_integer(1);
    Epoch = "Epoch", "One life of the log's data, opaque." => string();
    StatusForm = "Status", "" => enum_schema(&["online", "away", "offline"]);
    VoidReasonForm = "VoidReason", "" => enum_schema(&["duplicate", "rejected"]);
    ErrorCode = "ErrorCode", "See the table of errors in the protocol." => enum_schema(&ErrorCode::ALL.map(ErrorCode::as_str));
    TimeForm = "Time", "RFC 3339 in UTC with milliseconds." =>
        string().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).pattern(Some(r"\.[0-9]{3}Z$"));
}

/// The schema of `mentions` in a request.
pub fn mentions_schema() -> Array {
    ArrayBuilder::new()
        .items(Ref::from_schema_name(UserId::name()))
        .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
        .max_items(Some(MAX_MENTIONS))
        .unique_items(true)
        .description(Some("Members who may see the message, each once."))
        .build()
}

fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// A text of 1 to `max_chars` characters that matches `pattern`.
fn text_schema(max_chars: usize, pattern: &str) -> ObjectBuilder {
    string().pattern(Some(pattern)).min_length(Some(1)).max_length(Some(max_chars))
}

/// Like [`text_schema`], or an empty text. The pattern ends with `+$`.
fn filter_schema(max_chars: usize, pattern: &str) -> ObjectBuilder {
    let pattern = format!("{}*$", pattern.trim_end_matches("+$"));
    string().pattern(Some(pattern)).max_length(Some(max_chars))
}

/// A text of at most `max_chars` characters without control characters.
fn line_schema(max_chars: usize) -> ObjectBuilder {
    string().pattern(Some(LINE_PATTERN)).max_length(Some(max_chars))
}

/// An integer from `minimum` to [`MAX_SEQ`], which every JSON parser represents exactly.
fn bounded_integer(minimum: i64) -> ObjectBuilder {
    unbounded_integer(minimum)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .maximum(Some(number(MAX_SEQ)))
}

/// An integer from `minimum` on, without a maximum, because the parser reduces values above its limit to the limit.
fn unbounded_integer(minimum: i64) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(number(minimum)))
}

/// Converts an integer to a bound of a schema.
pub fn number(value: i64) -> Number {
    Number::Int(isize::try_from(value).unwrap_or(isize::MAX))
}

fn enum_schema(values: &[&str]) -> ObjectBuilder {
    string().enum_values(Some(values.iter().copied()))
}
