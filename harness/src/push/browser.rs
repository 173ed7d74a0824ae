//! A browser with a push subscription: it decrypts what its push service gets, and checks who has sent it. Written by the
//! standards, without the code of the sender.

use anyhow::{Context, Result, ensure};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use aws_lc_rs::{rand, signature};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::VAPID_PUBLIC_KEY;
use crate::webhooks::{Delivery, Receiver};

/// A browser with a subscription.
pub struct Browser {
    name: String,
    endpoint: String,
    private: PrivateKey,
    public: Vec<u8>,
    auth: [u8; 16],
}

impl Browser {
    /// Subscribes at a push service. `name` makes the endpoint unique there.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn subscribe(service: &Receiver, name: &str) -> Result<Browser> {
        Browser::with_endpoint(&format!("{}/{name}", service.url()), name)
    }

    /// Subscribes with this endpoint.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn with_endpoint(endpoint: &str, name: &str) -> Result<Browser> {
        let private = PrivateKey::generate(&ECDH_P256).ok().context("no key")?;
        let public = private.compute_public_key().ok().context("no key")?.as_ref().to_vec();
        let mut auth = [0; 16];
        rand::fill(&mut auth).ok().context("no random numbers")?;
        Ok(Browser { name: name.to_owned(), endpoint: endpoint.to_owned(), private, public, auth })
    }

    /// The form that registers the browser.
    pub fn subscription(&self) -> Value {
        json!({
            "kind": "web_push", "endpoint": self.endpoint,
            "p256dh": URL_SAFE_NO_PAD.encode(&self.public), "auth": URL_SAFE_NO_PAD.encode(self.auth),
        })
    }

    /// The requests for this browser at its push service, in their order.
    pub fn requests(&self, service: &Receiver) -> Vec<Delivery> {
        let end = format!("/{}", self.name);
        service.deliveries().into_iter().filter(|request| request.path.ends_with(&end)).collect()
    }

    /// The accepted notifications of this browser, decrypted, with all their headers checked.
    ///
    /// # Errors
    /// When one is not as the standards demand.
    pub fn notifications(&self, service: &Receiver) -> Result<Vec<Value>> {
        let accepted = self.requests(service).into_iter().filter(|request| request.accepted);
        accepted.map(|request| self.open(&request).with_context(|| format!("{request:?}"))).collect()
    }

    fn open(&self, request: &Delivery) -> Result<Value> {
        ensure!(request.header("content-encoding") == "aes128gcm" && request.bytes.len() <= 4096);
        ensure!(request.header("ttl").parse::<u64>()? > 0, "no TTL");
        ensure!(matches!(request.header("urgency"), "normal" | "high"), "no urgency");
        let topic = request.header("topic");
        let is_base64url = topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        ensure!(is_base64url && (1..=32).contains(&topic.len()), "the topic is {topic}");
        self.check_sender(request)?;
        Ok(serde_json::from_slice(&self.decrypt(&request.bytes)?)?)
    }

    /// RFC 8292: the token is signed by the key that the browser has subscribed with, and made for this push service.
    fn check_sender(&self, request: &Delivery) -> Result<()> {
        let header = request.header("authorization").strip_prefix("vapid t=").context("not VAPID")?;
        let (token, key) = header.split_once(", k=").context("no key")?;
        ensure!(key == VAPID_PUBLIC_KEY, "another key");
        let (signed, signature) = token.rsplit_once('.').context("no token")?;
        let key = signature::UnparsedPublicKey::new(
            &signature::ECDSA_P256_SHA256_FIXED,
            URL_SAFE_NO_PAD.decode(key)?,
        );
        let verified = key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature)?);
        ensure!(verified.is_ok(), "the signature is wrong");
        let (_, claims) = signed.split_once('.').context("no claims")?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
        let origin = self.endpoint.split('/').take(3).collect::<Vec<_>>().join("/");
        ensure!(claims["aud"] == origin && claims["sub"] == "mailto:ops@example.org", "{claims}");
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
        let expires = claims["exp"].as_u64().context("no exp")?;
        ensure!((now..now + 24 * 3600).contains(&expires), "{claims}");
        Ok(())
    }

    /// RFC 8291 and RFC 8188, with one record.
    fn decrypt(&self, body: &[u8]) -> Result<Vec<u8>> {
        let (salt, rest) = body.split_at_checked(16).context("no salt")?;
        let (head, rest) = rest.split_at_checked(5).context("no head")?;
        ensure!(head == [0, 0, 16, 0, 65], "the head is {head:?}");
        let (sender, record) = rest.split_at_checked(65).context("no key")?;
        let auth = Key::new(HMAC_SHA256, &self.auth);
        let prk = agree(&self.private, UnparsedPublicKey::new(&ECDH_P256, sender), (), |secret| {
            Ok(sign(&auth, secret))
        });
        let prk = prk.map_err(|()| anyhow::anyhow!("the key of the sender is wrong"))?;
        let info = [b"WebPush: info\0".as_slice(), &self.public, sender, &[1]].concat();
        let shared = sign(&Key::new(HMAC_SHA256, prk.as_ref()), &info);
        let prk = sign(&Key::new(HMAC_SHA256, salt), shared.as_ref());
        let derive = |info: &[u8]| sign(&Key::new(HMAC_SHA256, prk.as_ref()), &[info, &[1]].concat());
        let content_key = derive(b"Content-Encoding: aes128gcm\0");
        let nonce = derive(b"Content-Encoding: nonce\0");
        let key = UnboundKey::new(&AES_128_GCM, &content_key.as_ref()[..16]).ok().context("no key")?;
        let nonce = Nonce::try_assume_unique_for_key(&nonce.as_ref()[..12]).ok().context("no nonce")?;
        let mut record = record.to_vec();
        let opened = LessSafeKey::new(key).open_in_place(nonce, Aad::empty(), &mut record);
        let opened = opened.ok().context("the record cannot be decrypted")?;
        // Zeros may follow the byte that ends the content of the last record.
        let end = opened.iter().rposition(|byte| *byte != 0).context("the record is empty")?;
        ensure!(opened[end] == 2, "not the last record");
        Ok(opened[..end].to_vec())
    }
}
