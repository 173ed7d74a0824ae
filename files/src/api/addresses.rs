//! The addresses that clients get.

use chrono::{DateTime, Utc};
use tidings_shared::ids::{FileId, RoomId};

use crate::signing::{ADDRESS_TTL_S, AddressSigner, UrlPurpose};

/// Makes addresses.
pub struct Addresses {
    pub signer: AddressSigner,
    /// The beginning of all addresses, without a slash at the end. Empty: addresses begin with `/v1`.
    pub public_url: String,
}

impl Addresses {
    /// Where the content of an upload is sent.
    pub fn upload_url(&self, room: &RoomId, file: &FileId) -> String {
        format!("{}/v1/rooms/{room}/files/{file}/content", self.public_url)
    }

    /// The signed URL at which a part of an upload is sent.
    pub fn part_url(&self, file: &FileId, number: u16, expires_at: DateTime<Utc>) -> String {
        let expires_s = expires_at.timestamp();
        let signature = self.signer.sign(file, expires_s, UrlPurpose::Part(number));
        let url = &self.public_url;
        format!("{url}/v1/files/{file}/parts/{number}?expires={expires_s}&signature={signature}")
    }

    /// The signed download URL of a file, and when it expires.
    pub fn download_url(
        &self,
        file: &FileId,
        purpose: UrlPurpose,
        now: DateTime<Utc>,
    ) -> (String, DateTime<Utc>) {
        let expires_s = now.timestamp() + ADDRESS_TTL_S;
        let signature = self.signer.sign(file, expires_s, purpose);
        let suffix = match purpose {
            UrlPurpose::Download | UrlPurpose::Part(_) => "",
            UrlPurpose::Preview => "&preview=1",
            UrlPurpose::Review => "&review=1",
        };
        let address =
            format!("{}/v1/files/{file}?expires={expires_s}&signature={signature}{suffix}", self.public_url);
        (address, DateTime::from_timestamp(expires_s, 0).unwrap_or(now))
    }
}
