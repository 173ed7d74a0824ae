//! Why a line of an import is refused: a code for programs, and a reason for people.

use std::fmt;

use tidings_shared::error::Refusal;

/// The kind of mistake. Its text is in the output of the job, between the line number and the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCode {
    /// The line is too long, is not UTF-8, or is not a JSON object of a known form.
    BadLine,
    /// A field has a value that is not allowed.
    BadField,
    /// A time cannot be read, is in the future, or is before the time of the message.
    BadTime,
    /// The room has a message with a later time.
    OutOfOrder,
    NoRoom,
    NoMember,
    /// A user whom the line names is erased.
    Erased,
    /// Stored data contradict the line.
    Conflict,
    /// PostgreSQL refuses the content.
    Rejected,
}

impl RefusalCode {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadLine => "bad_line",
            Self::BadField => "bad_field",
            Self::BadTime => "bad_time",
            Self::OutOfOrder => "out_of_order",
            Self::NoRoom => "no_room",
            Self::NoMember => "no_member",
            Self::Erased => "erased",
            Self::Conflict => "conflict",
            Self::Rejected => "rejected",
        }
    }
}

/// A line that is not imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineRefusal {
    pub code: RefusalCode,
    pub reason: String,
}

impl LineRefusal {
    pub fn new(code: RefusalCode, reason: impl fmt::Display) -> Self {
        Self { code, reason: reason.to_string() }
    }
}

impl fmt::Display for LineRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.reason)
    }
}

/// The checks that imported fields share with those of clients refuse a field.
impl From<Refusal> for LineRefusal {
    fn from(refusal: Refusal) -> Self {
        Self::new(RefusalCode::BadField, refusal.message)
    }
}
