//! The forms of docs/PROTOCOL.md as schemas of the OpenAPI document: ids, names, texts and positions. `http` and
//! `query` name them in their annotations. They state the rules of the parsers, as far as JSON Schema can.

pub mod events;

use std::borrow::Cow;

use sea_orm::FromQueryResult;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{AdditionalProperties, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{Number, PartialSchema, ToSchema};

use crate::limits::{DEFAULT_LIMIT, MAX_LIMIT, MAX_NAME_CHARS, MAX_PERSON_CHARS, MAX_SEQ};

/// No control characters.
const LINE_PATTERN: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// No control characters except tab and newline.
const TEXT_PATTERN: &str = r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*$";
/// Neither control characters nor white space (that of Unicode).
const WORD_PATTERN: &str =
    concat!(r"^[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a", r"\u2028\u2029\u202f\u205f\u3000]+$");
const LABEL_PATTERN: &str = "^[a-z0-9_-]+$";

macro_rules! forms {
    ($($form:ident = $name:literal, $about:expr => $schema:expr;)+) => {$(
        #[doc = concat!("The schema `", $name, "`.")]
        pub struct $form;

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

        /// All of them. The document's parameters name them, but their components are not collected from there.
        pub fn all() -> impl Iterator<Item = (String, RefOr<Schema>)> {
            [$(($name.to_owned(), <$form as PartialSchema>::schema())),+].into_iter()
        }
    };
}

forms! {
    RoomIdForm = "RoomId", "Not `.` or `..`." => text(64, "^[A-Za-z0-9._:-]+$");
    UserIdForm = "UserId", "Without control characters and white space; not `.` or `..`." => text(128, WORD_PATTERN);
    MessageIdForm = "MessageId", "" => string().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
    ClientIdForm = "ClientId", "Printable ASCII, unique per room and sender; a UUIDv7 is best." => text(64, "^[ -~]+$");
    RoleForm = "Role", "`owner`, `admin`, `member`, `guest`, or a custom name other than `removed`." => text(32, LABEL_PATTERN);
    LabelForm = "Label", "What kind of message it is, or the name of a role." => text(32, LABEL_PATTERN);
    EmojiForm = "Emoji", "Up to 32 bytes of UTF-8; not `.` or `..`." => text(32, WORD_PATTERN);
    NameForm = "RoomName", "Empty: no name." => line(MAX_NAME_CHARS);
    PersonTextForm = "PersonText", "Empty: removes the value." => line(MAX_PERSON_CHARS);
    MessageTextForm = "MessageText", "Unicode scalar values." => string().pattern(Some(TEXT_PATTERN));
    AttachmentTextForm = "AttachmentText", "" => string().pattern(Some(TEXT_PATTERN)).max_length(Some(255));
    AttachmentUrlForm = "AttachmentUrl", "" =>
        string().pattern(Some(format!("^https?://{}", &TEXT_PATTERN[1..]))).max_length(Some(2048));
    MetadataForm = "Metadata", "Up to 4 KiB as sent, nested up to 100 deep, without U+0000; kept byte for byte." =>
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .additional_properties(Some(AdditionalProperties::FreeForm(true)));
    ListCursorForm = "ListCursor", "`next` of the page before, opaque. Empty is the same as omitted." => string();
    LimitForm = "Limit", format!("Entries of a page; {DEFAULT_LIMIT} by default, at most {MAX_LIMIT}.") =>
        unbounded(1);
    PositionForm = "Position", "Digits; higher values count as 2^53 − 1." => unbounded(0);
    SeqForm = "Seq", "Position in the log of a room." => integer(0);
    MessageSeqForm = "MessageSeq", "Position of a message." => integer(1);
    EpochForm = "Epoch", "One life of the log's data, opaque." => string();
    RoomKindForm = "RoomKind", "" => one_of(&["direct", "private", "public"]);
    StageForm = "Stage", "`accepted`: appended in Redis. `stored`: committed in PostgreSQL." =>
        one_of(&["accepted", "stored"]);
    OwnStatusForm = "OwnStatus", "" => one_of(&["online", "away"]);
    StatusForm = "Status", "" => one_of(&["online", "away", "offline"]);
    ErrorCodeForm = "ErrorCode", "See the table of errors in the protocol." => one_of(&[
        "bad_request", "unauthorized", "forbidden", "not_found", "conflict", "too_large", "rate_limited", "internal",
        "overloaded", "unavailable",
    ]);
    TimeForm = "Time", "RFC 3339 in UTC with milliseconds." =>
        string().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).pattern(Some(r"\.[0-9]{3}Z$"));
}

/// A file that is stored elsewhere.
#[derive(Deserialize, ToSchema)]
#[schema(as = Attachment)]
#[allow(dead_code, reason = "a form for the OpenAPI document")]
pub struct AttachmentForm {
    #[schema(value_type = AttachmentTextForm)]
    name: String,
    #[schema(value_type = AttachmentUrlForm)]
    url: String,
    #[schema(value_type = AttachmentTextForm)]
    media_type: String,
    /// Bytes.
    #[schema(maximum = 9_223_372_036_854_775_807_i64)]
    size: u64,
}

/// The audience of a private message, in addition to its sender.
#[derive(Clone, Debug, Serialize, FromQueryResult, ToSchema)]
pub struct VisibleTo {
    pub users: Vec<String>,
    pub roles: Vec<String>,
}

fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// At least one character, each matching `pattern`.
fn text(max_chars: usize, pattern: &str) -> ObjectBuilder {
    string().pattern(Some(pattern)).min_length(Some(1)).max_length(Some(max_chars))
}

fn line(max_chars: usize) -> ObjectBuilder {
    string().pattern(Some(LINE_PATTERN)).max_length(Some(max_chars))
}

/// A position that every JSON reader keeps exactly.
fn integer(minimum: i64) -> ObjectBuilder {
    unbounded(minimum)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .maximum(Some(number(MAX_SEQ)))
}

/// An integer without a maximum: values above the limit count as the limit.
fn unbounded(minimum: i64) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(number(minimum)))
}

/// Bounds of integers; all of ours fit into a float exactly.
fn number(value: i64) -> Number {
    Number::Int(isize::try_from(value).unwrap_or(isize::MAX))
}

fn one_of(values: &[&str]) -> ObjectBuilder {
    string().enum_values(Some(values.iter().copied()))
}
