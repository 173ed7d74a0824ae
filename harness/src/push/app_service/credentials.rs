//! The keys and tokens by which the push services of apps know the sender, and how they check them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

const PROJECT: &str = "tidings-test";
const ACCOUNT_EMAIL: &str = "push@tidings-test.iam.gserviceaccount.com";
const ACCOUNT_KEY_ID: &str = "account-key-1";
const APNS_KEY_ID: &str = "ABC123DEFG";
const TEAM_ID: &str = "DEF123GHIJ";
const EXPO_TOKEN: &str = "expo-secret";
/// The topic of the app at APNs.
pub const APNS_TOPIC: &str = "org.example.tidings";

/// The keys of the sender, and the access tokens that were given out.
pub struct Credentials {
    account: Value,
    account_key: DecodingKey,
    token_url: String,
    apns_pem: String,
    apns_key: DecodingKey,
    tokens: Mutex<Tokens>,
}

struct Tokens {
    lifetime: Duration,
    issued: usize,
    valid: BTreeMap<String, Instant>,
}

impl Credentials {
    pub fn new(url: &str) -> Result<Credentials> {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("no RSA key"))?;
        let rsa_der = AsDer::<Pkcs8V1Der>::as_der(&rsa).map_err(|_| anyhow!("no RSA key"))?;
        let public = rsa.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (modulus, exponent) = (
            number(public.modulus().big_endian_without_leading_zero()),
            number(public.exponent().big_endian_without_leading_zero()),
        );
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let ec = ec.map_err(|_| anyhow!("no EC key"))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref());
        let pair = pair.map_err(|_| anyhow!("no EC key"))?;
        // One byte 4, then x, then y.
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let token_url = format!("{url}/token");
        Ok(Credentials {
            account: json!({
                "type": "service_account", "project_id": PROJECT, "private_key_id": ACCOUNT_KEY_ID,
                "private_key": pem(rsa_der.as_ref()), "client_email": ACCOUNT_EMAIL, "token_uri": token_url,
            }),
            account_key: DecodingKey::from_rsa_components(&modulus, &exponent)?,
            token_url,
            apns_pem: pem(ec.as_ref()),
            apns_key: DecodingKey::from_ec_components(&number(x), &number(y))?,
            tokens: Mutex::new(Tokens {
                lifetime: Duration::from_secs(3600),
                issued: 0,
                valid: BTreeMap::new(),
            }),
        })
    }

    /// The settings of the sender.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("TIDINGS_PUSH_FCM_ACCOUNT", self.account.to_string()),
            ("TIDINGS_PUSH_APNS_KEY", self.apns_pem.clone()),
            ("TIDINGS_PUSH_APNS_KEY_ID", APNS_KEY_ID.to_owned()),
            ("TIDINGS_PUSH_APNS_TEAM_ID", TEAM_ID.to_owned()),
            ("TIDINGS_PUSH_APNS_TOPIC", APNS_TOPIC.to_owned()),
            ("TIDINGS_PUSH_EXPO", "true".to_owned()),
            ("TIDINGS_PUSH_EXPO_TOKEN", EXPO_TOKEN.to_owned()),
        ]
    }

    pub fn fcm_path(&self) -> String {
        format!("/v1/projects/{PROJECT}/messages:send")
    }

    /// Gives out an access token for a signed token (RFC 7523).
    pub fn issue(&self, headers: &BTreeMap<String, String>, body: &[u8]) -> Result<Value> {
        let content_type = headers.get("content-type").map(String::as_str);
        ensure!(content_type == Some("application/x-www-form-urlencoded"), "{content_type:?}");
        let body = String::from_utf8(body.to_vec())?;
        let field = |name: &str| body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let grant = field("grant_type").context("no grant_type")?;
        ensure!(grant == "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer", "{grant}");
        let assertion = field("assertion").context("no assertion")?;
        let claims = verify(assertion, Algorithm::RS256, &self.account_key, ACCOUNT_KEY_ID)?;
        ensure!(claims["iss"] == ACCOUNT_EMAIL && claims["aud"] == self.token_url.as_str(), "{claims}");
        ensure!(claims["scope"] == "https://www.googleapis.com/auth/firebase.messaging", "{claims}");
        let (issued, expires) = (seconds(&claims, "iat")?, seconds(&claims, "exp")?);
        ensure!(issued.abs_diff(now()?) < 60 && expires > issued && expires - issued <= 3600, "{claims}");
        let mut tokens = self.tokens();
        tokens.issued += 1;
        let (token, lifetime) = (format!("access-{}", tokens.issued), tokens.lifetime);
        tokens.valid.insert(token.clone(), Instant::now() + lifetime);
        Ok(json!({ "access_token": token, "expires_in": lifetime.as_secs(), "token_type": "Bearer" }))
    }

    /// Whether a header `Authorization` has a valid access token.
    pub fn knows(&self, authorization: Option<&String>) -> bool {
        let token = authorization.and_then(|text| text.strip_prefix("Bearer "));
        token.is_some_and(|token| self.tokens().valid.get(token).is_some_and(|end| Instant::now() < *end))
    }

    /// Checks a token of the provider at APNs.
    pub fn check_provider(&self, authorization: &str) -> Result<()> {
        let token = authorization.strip_prefix("bearer ").context("no token of the provider")?;
        let claims = verify(token, Algorithm::ES256, &self.apns_key, APNS_KEY_ID)?;
        let issued = seconds(&claims, "iat")?;
        let is_exact = claims.as_object().is_some_and(|claims| claims.len() == 2);
        ensure!(claims["iss"] == TEAM_ID && is_exact && now()?.abs_diff(issued) < 3600, "{claims}");
        Ok(())
    }

    /// Checks the access token at Expo.
    pub fn check_expo(authorization: &str) -> Result<()> {
        ensure!(authorization == format!("Bearer {EXPO_TOKEN}"), "a wrong access token");
        Ok(())
    }

    pub fn set_lifetime(&self, lifetime: Duration) {
        self.tokens().lifetime = lifetime;
    }

    pub fn issued(&self) -> usize {
        self.tokens().issued
    }

    pub fn revoke(&self) {
        self.tokens().valid.clear();
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn verify(token: &str, algorithm: Algorithm, key: &DecodingKey, key_id: &str) -> Result<Value> {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_aud) = (false, false);
    let decoded = jsonwebtoken::decode::<Value>(token, key, &validation)?;
    ensure!(decoded.header.kid.as_deref() == Some(key_id), "the key id is {:?}", decoded.header.kid);
    Ok(decoded.claims)
}

fn seconds(claims: &Value, name: &str) -> Result<u64> {
    claims[name].as_u64().with_context(|| format!("no {name}"))
}

pub fn now() -> Result<u64> {
    Ok(std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_secs())
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}
