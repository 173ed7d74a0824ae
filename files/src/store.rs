//! All SQL of the files: the tables `files` and `file_parts`, and the look-up of the messages that name a file.

pub mod files;
pub mod parts;
pub mod sweep;
pub mod totals;
pub mod uploads;

/// Whether message `m` shows file `$file`, a row of `files`: it is not deleted, and its attachments name the file. The
/// search for the text of the id is cheap, and leaves out nearly all messages before their JSON is parsed.
macro_rules! shows {
    ($file:literal) => {
        concat!(
            "NOT m.deleted AND m.attachments IS NOT NULL AND strpos(m.attachments::text, ",
            $file,
            ".id) > 0 AND m.attachments::jsonb @> ",
            "jsonb_build_array(jsonb_build_object('file', ",
            $file,
            ".id))"
        )
    };
}

/// The seq of a stored message that shows file `$file`, or NULL. Looks first at the message that was seen last, and then
/// at the messages of the uploader in the room that came after the file got its id.
macro_rules! showing_message {
    ($file:literal) => {
        concat!(
            "COALESCE((SELECT m.seq FROM messages m WHERE m.room_id = ",
            $file,
            ".room_id AND m.seq = ",
            $file,
            ".message_seq AND m.sender_id = ",
            $file,
            ".uploader AND ",
            $crate::store::shows!($file),
            "), (SELECT m.seq FROM messages m WHERE m.room_id = ",
            $file,
            ".room_id AND m.sender_id = ",
            $file,
            ".uploader AND m.seq > ",
            $file,
            ".after_seq AND ",
            $crate::store::shows!($file),
            " ORDER BY m.seq LIMIT 1))"
        )
    };
}

pub(crate) use {showing_message, shows};
