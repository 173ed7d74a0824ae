//! Which media type a file is served with. A browser runs scripts in HTML, SVG and XML, so a file gets a media type only
//! if its first bytes show one of a short list of harmless types. All other files are downloads of unknown bytes. Pure.

/// Number of bytes at the beginning of a file that are looked at.
pub const HEAD_BYTES: usize = 8 * 1024;
/// The media type of bytes about which nothing is known.
pub const UNKNOWN: &str = "application/octet-stream";

/// Types that a browser may show inline: the name that sniffing finds, and the registered name.
const INLINE_TYPES: [(&str, &str); 18] = [
    ("image/png", "image/png"),
    ("image/jpeg", "image/jpeg"),
    ("image/gif", "image/gif"),
    ("image/webp", "image/webp"),
    ("image/avif", "image/avif"),
    ("image/bmp", "image/bmp"),
    ("audio/mpeg", "audio/mpeg"),
    ("audio/ogg", "audio/ogg"),
    ("audio/opus", "audio/ogg"),
    ("audio/x-wav", "audio/wav"),
    ("audio/x-flac", "audio/flac"),
    ("audio/m4a", "audio/mp4"),
    ("audio/aac", "audio/aac"),
    ("video/mp4", "video/mp4"),
    ("video/x-m4v", "video/mp4"),
    ("video/webm", "video/webm"),
    ("video/ogg", "video/ogg"),
    ("video/quicktime", "video/quicktime"),
];
/// Safe types that are served as attachments.
const ATTACHMENT_TYPES: [&str; 1] = ["application/pdf"];

/// How a file is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    pub content_type: &'static str,
    /// Whether a browser may show the file instead of saving it.
    pub inline: bool,
}

/// The media type that the first bytes of a file show.
pub fn sniff(head: &[u8]) -> Option<&'static str> {
    infer::get(head).map(|kind| kind.mime_type())
}

/// How to serve a file with this sniffed type.
pub fn delivery(sniffed: Option<&str>) -> Delivery {
    let sniffed = sniffed.unwrap_or(UNKNOWN);
    if let Some((_, content_type)) = INLINE_TYPES.iter().find(|(name, _)| *name == sniffed) {
        return Delivery { content_type, inline: true };
    }
    let attachment = ATTACHMENT_TYPES.iter().find(|listed| **listed == sniffed);
    Delivery { content_type: attachment.copied().unwrap_or(UNKNOWN), inline: false }
}

/// The media type that a message may state for a file. Uses the declared type, unless sniffing finds another safe type,
/// or the file claims to be media and sniffing does not confirm it.
pub fn stated_type(declared: &str, sniffed: Option<&str>) -> String {
    let delivery = delivery(sniffed);
    if delivery.content_type != UNKNOWN {
        return delivery.content_type.to_owned();
    }
    let top_level = |media_type: &str| media_type.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let claimed = top_level(declared);
    let is_shown = ["image", "audio", "video"].contains(&claimed.as_str());
    if is_shown && sniffed.is_none_or(|sniffed| top_level(sniffed) != claimed) {
        return UNKNOWN.to_owned();
    }
    declared.to_owned()
}

/// Whether a text is a media type: `type/subtype` of the characters of RFC 6838, without parameters.
pub fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        (1..=127).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    text.split_once('/').is_some_and(|(top, sub)| is_name(top) && is_name(sub))
}

/// The media types that may be uploaded.
#[derive(Debug, Clone)]
pub struct AllowedTypes(Vec<String>);

impl AllowedTypes {
    /// Parses a comma-separated list of `type/subtype`, `type/*` and `*/*`. The error is the wrong entry.
    pub fn parse(list: &str) -> Result<Self, String> {
        let entries: Vec<String> = list.split(',').map(|entry| entry.trim().to_ascii_lowercase()).collect();
        let is_pattern = |entry: &str| {
            entry == "*/*"
                || is_media_type(entry.strip_suffix('*').map_or(entry, |_| "a/b")) && {
                    let top = entry.split('/').next().unwrap_or_default();
                    !top.contains('*') && is_media_type(&entry.replace('*', "any"))
                }
        };
        match entries.iter().find(|entry| !is_pattern(entry)) {
            Some(wrong) => Err(wrong.clone()),
            None => Ok(Self(entries)),
        }
    }

    /// Whether a file with these stated and sniffed types may be stored. Both types must be allowed, so that a refused
    /// type does not get in under the name of another one.
    pub fn allows_content(&self, stated: &str, sniffed: Option<&str>) -> bool {
        let shown = |sniffed: &str| self.allows(sniffed) || self.allows(delivery(Some(sniffed)).content_type);
        self.allows(stated) && sniffed.is_none_or(shown)
    }

    /// Whether a media type may be uploaded.
    pub fn allows(&self, media_type: &str) -> bool {
        let media_type = media_type.to_ascii_lowercase();
        self.0.iter().any(|entry| match entry.strip_suffix('*') {
            Some("*/") => true,
            Some(top_level) => media_type.starts_with(top_level),
            None => *entry == media_type,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

    #[test]
    fn scripts_are_served_as_unknown_bytes() {
        for head in [
            b"<html><script>alert(1)</script>".as_slice(),
            b"<!DOCTYPE html><script>alert(1)</script>",
            b"<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>",
            b"<svg onload=\"alert(1)\"/>",
            b"alert(1)",
            b"#!/bin/sh\n",
            b"PK\x03\x04",
            b"",
        ] {
            assert_eq!(delivery(sniff(head)), Delivery { content_type: UNKNOWN, inline: false });
        }
    }

    #[test]
    fn images_are_shown_and_documents_are_downloaded() {
        assert_eq!(delivery(sniff(PNG)), Delivery { content_type: "image/png", inline: true });
        let polyglot = delivery(sniff(b"GIF89a/*<script>*/=1;alert(1)"));
        assert_eq!(polyglot, Delivery { content_type: "image/gif", inline: true });
        let pdf = delivery(sniff(b"%PDF-1.7"));
        assert_eq!(pdf, Delivery { content_type: "application/pdf", inline: false });
    }

    #[test]
    fn declared_type_yields_to_the_content() {
        for (declared, head, stated) in [
            ("image/png", PNG, "image/png"),
            ("text/html", PNG, "image/png"),
            ("image/png", b"<html>", UNKNOWN),
            ("image/svg+xml", b"<svg/>", UNKNOWN),
            ("Video/MP4", b"MZ", UNKNOWN),
            ("text/plain", b"hello", "text/plain"),
            ("application/zip", b"PK\x03\x04", "application/zip"),
        ] {
            assert_eq!(stated_type(declared, sniff(head)), stated, "{declared}");
        }
    }

    #[test]
    fn allowed_types_match_whole_types_and_families() {
        let allowed = AllowedTypes::parse("image/*, Application/PDF").unwrap();
        for good in ["image/png", "IMAGE/x", "application/pdf"] {
            assert!(allowed.allows(good), "{good}");
        }
        for bad in ["imagex/png", "application/pdfx", "text/plain", "application/*"] {
            assert!(!allowed.allows(bad), "{bad}");
        }
        assert!(allowed.allows_content("application/pdf", sniff(b"%PDF-1.7")));
        assert!(allowed.allows_content("image/png", sniff(PNG)));
        for bytes in [b"MZ".as_slice(), b"PK\x03\x04", b"Rar!\x1a\x07\0"] {
            assert!(!allowed.allows_content("application/pdf", sniff(bytes)), "{bytes:?}");
        }
        assert!(AllowedTypes::parse("*/*").unwrap().allows_content("a/b", sniff(b"MZ")));
        assert!(AllowedTypes::parse("*/*").unwrap().allows("a/b"));
        for wrong in ["", "image", "image/", "*/png", "*", "image/png;q=1", "im*/png"] {
            assert!(AllowedTypes::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn media_type_has_two_names_without_parameters() {
        assert!(is_media_type("image/svg+xml") && is_media_type("application/vnd.x-1"));
        for bad in
            ["", "a", "a/", "/b", "a/b/c", "a/b; c", "a/b\r\n", "a/ b", &format!("a/{}", "b".repeat(128))]
        {
            assert!(!is_media_type(bad), "{bad}");
        }
    }
}
