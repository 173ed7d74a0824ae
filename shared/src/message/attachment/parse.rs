//! Checks the fields of an attachment.

use serde::Deserialize;

use super::{Attachment, AttachmentSource, Dimensions};
use crate::{
    error::Refusal,
    ids::{FileId, is_bidi_control},
    limits::{
        MAX_ATTACHMENT_NAME_CHARS, MAX_ATTACHMENT_PIXELS, MAX_ATTACHMENT_URL_CHARS, MAX_BLURHASH_CHARS,
        MIN_BLURHASH_CHARS,
    },
    message::check_text,
};

/// The fields of an attachment with their types only.
#[derive(Debug, Clone, Deserialize)]
pub struct AttachmentFields {
    name: String,
    url: Option<String>,
    file: Option<String>,
    media_type: String,
    size: u64,
    width: Option<u64>,
    height: Option<u64>,
    blurhash: Option<String>,
}

fn refuse(rule: &str) -> Refusal {
    Refusal::bad_field("attachments", rule)
}

impl TryFrom<AttachmentFields> for Attachment {
    type Error = Refusal;

    fn try_from(fields: AttachmentFields) -> Result<Self, Refusal> {
        let AttachmentFields { name, url, file, media_type, size, width, height, blurhash } = fields;
        for text in [&name, &media_type] {
            check_text(text, "attachments", MAX_ATTACHMENT_NAME_CHARS)?;
            // `a\u{202e}gnp.exe` would be shown as `aexe.png`.
            if text.chars().any(is_bidi_control) {
                return Err(refuse("`name` and `media_type` of an attachment must not hold bidi controls"));
            }
        }
        if size > i64::MAX as u64 {
            return Err(refuse("`size` of an attachment is out of range"));
        }
        if blurhash.as_deref().is_some_and(|text| !is_blurhash(text)) {
            return Err(refuse("`blurhash` of an attachment must be 6 to 100 characters of base 83"));
        }
        let (source, dimensions) = (source(url, file)?, dimensions(width, height)?);
        Ok(Self { source, name, media_type, size, dimensions, blurhash })
    }
}

fn source(url: Option<String>, file: Option<String>) -> Result<AttachmentSource, Refusal> {
    match (url, file) {
        (Some(url), None) => {
            check_text(&url, "attachments", MAX_ATTACHMENT_URL_CHARS)?;
            // Users click on this URL, so it must not run a script.
            if !(url.starts_with("https://") || url.starts_with("http://")) {
                return Err(refuse("`url` of an attachment must begin with https:// or http://"));
            }
            Ok(AttachmentSource::Url(url))
        }
        (None, Some(file)) => {
            let file = FileId::parse(&file).map_err(|error| refuse(&error.to_string()))?;
            Ok(AttachmentSource::File(file))
        }
        _ => Err(refuse("an attachment must have either `url` or `file`")),
    }
}

fn dimensions(width: Option<u64>, height: Option<u64>) -> Result<Option<Dimensions>, Refusal> {
    let pixels = |number: u64| u16::try_from(number).ok().filter(|pixels| *pixels > 0);
    match (width, height) {
        (None, None) => Ok(None),
        (Some(width), Some(height)) => pixels(width)
            .zip(pixels(height))
            .map(|(width, height)| Some(Dimensions { width, height }))
            .ok_or_else(|| {
                let rule = format!("must be 1 to {MAX_ATTACHMENT_PIXELS}");
                refuse(&format!("`width` and `height` of an attachment {rule}"))
            }),
        _ => Err(refuse("an attachment must have both `width` and `height`, or neither")),
    }
}

fn is_blurhash(text: &str) -> bool {
    (MIN_BLURHASH_CHARS..=MAX_BLURHASH_CHARS).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"#$%*+,-.:;=?@[]^_{|}~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    const FILE: &str = "0190f2a4-8d3e-7000-8000-0a1b2c3d4e5f";

    /// Replaces fields of a valid attachment; `null` removes a field.
    fn parse(changes: &str) -> Result<Attachment, serde_json::Error> {
        let mut fields = serde_json::json!({"name": "a", "media_type": "image/png", "size": 1});
        let changes: serde_json::Map<String, serde_json::Value> = serde_json::from_str(changes).unwrap();
        fields.as_object_mut().unwrap().extend(changes);
        serde_json::from_value(fields)
    }

    #[test]
    fn valid_attachment_is_written_as_it_was_read() {
        for json in [
            r#"{"name":"a","url":"https://x/a","media_type":"image/png","size":0}"#.to_owned(),
            format!(r#"{{"name":"a","file":"{FILE}","media_type":"image/png","size":9}}"#),
            format!(
                r#"{{"name":"","file":"{FILE}","media_type":"","size":9,"width":65535,"height":1,"blurhash":"LEHV6n"}}"#
            ),
            r#"{"name":"a","url":"http://x","media_type":"b","size":1,"width":1,"height":2}"#.to_owned(),
        ] {
            let attachment: Attachment = serde_json::from_str(&json).unwrap();
            assert_eq!(serde_json::to_string(&attachment).unwrap(), json);
        }
    }

    #[test]
    fn null_counts_as_absent() {
        let with_nulls =
            format!(r#"{{"url":null,"file":"{FILE}","width":null,"height":null,"blurhash":null}}"#);
        assert_eq!(parse(&with_nulls).unwrap(), parse(&format!(r#"{{"file":"{FILE}"}}"#)).unwrap());
    }

    #[test]
    fn invalid_mix_of_fields_is_refused() {
        let file = |more: &str| format!(r#"{{"file":"{FILE}"{more}}}"#);
        for bad in [
            "{}".to_owned(),
            file(r#","url":"https://x""#),
            r#"{"url":"ftp://x"}"#.to_owned(),
            r#"{"file":""}"#.to_owned(),
            file(",\"name\":\"a\u{202e}gnp.exe\""),
            file(",\"name\":\"a\u{2066}b\""),
            format!(r#"{{"file":"{}"}}"#, FILE.to_uppercase()),
            format!(r#"{{"file":"{}"}}"#, FILE.replace('-', "")),
            format!(r#"{{"file":"{}"}}"#, FILE.replace("-7", "-4")),
            r#"{"file":"../../../../etc/passwd"}"#.to_owned(),
            file(r#","width":1"#),
            file(r#","height":1"#),
            file(r#","width":0,"height":1"#),
            file(r#","width":1,"height":65536"#),
            file(r#","width":-1,"height":1"#),
            file(r#","width":1.5,"height":1"#),
            file(r#","blurhash":"LEHV6""#),
            file(r#","blurhash":"LEHV6\"n""#),
            file(&format!(r#","blurhash":"{}""#, "a".repeat(101))),
            file(r#","size":9223372036854775808"#),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn long_name_is_too_large() {
        let fields: AttachmentFields = serde_json::from_value(serde_json::json!({
            "name": "x".repeat(256), "file": FILE, "media_type": "a/b", "size": 1
        }))
        .unwrap();
        assert_eq!(Attachment::try_from(fields).unwrap_err().code, ErrorCode::TooLarge);
    }
}
