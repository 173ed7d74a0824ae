//! A token, from any bytes: the first says whether they are the token, or the claims or the header of one that is
//! signed. Nobody is let in without a signature of our key, and whoever is stands for what the claims say.

use std::sync::OnceLock;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use serde_json::Value;
use tidings_shared::auth::{CheckedTokenSettings, ClaimRules, TokenSettings, Verifier};

const SECRET: &str = "of the fuzz targets, and secret to nobody";
/// Public, as its name says: whoever signs with its text as a secret must not come in.
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEALywm+tB1rR/pXd9ZPtXncXkhYLrS0pD+2qwyLHzEADg=
-----END PUBLIC KEY-----
";
const HEADER: &[u8] = br#"{"alg":"HS256"}"#;
const CLAIMS: &[u8] = br#"{"sub":"fuzz","exp":9999999999}"#;

pub fn run(data: &[u8]) {
    let Some((&told, bytes)) = data.split_first() else { return };
    match told % 4 {
        0 => as_it_is(bytes),
        1 => claims(bytes),
        2 => header(bytes),
        _ => {
            let confused = signed(bytes, CLAIMS, PUBLIC_KEY.as_bytes());
            assert!(verifier().verify(&confused).is_err(), "a public key is no secret: {confused}");
        }
    }
}

fn as_it_is(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if verifier().verify(text).is_err() {
        return;
    }
    let (signed, signature) = text.rsplit_once('.').expect("a token has parts");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("a signature is base64");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    assert!(hmac::verify(&key, signed.as_bytes(), &signature).is_ok(), "not signed by us: {text}");
}

fn claims(bytes: &[u8]) {
    let Ok(identity) = verifier().verify(&signed(HEADER, bytes, SECRET.as_bytes())) else { return };
    let claims: Value = serde_json::from_slice(bytes).expect("claims are JSON");
    let user = identity.user.as_str();
    match &claims["sub"] {
        Value::String(id) => assert_eq!(id, user),
        id => assert_eq!(id.to_string(), user),
    }
    assert!(!user.is_empty() && user.chars().count() <= 128 && !user.chars().any(char::is_control));
    let said = [identity.name, identity.picture];
    for text in said.iter().flatten() {
        assert!(text.chars().count() <= 512 && !text.chars().any(char::is_control), "{text}");
    }
    assert!(!identity.admin || claims["scope"].to_string().contains("tidings.admin"));
    assert!(identity.expires_at_s > 0);
}

fn header(bytes: &[u8]) {
    if verifier().verify(&signed(bytes, CLAIMS, SECRET.as_bytes())).is_err() {
        return;
    }
    let text = std::str::from_utf8(bytes).expect("a header is UTF-8");
    // Half of a surrogate in what nobody reads is JSON, though not to this parser.
    if let Ok(header) = serde_json::from_str::<Value>(text) {
        assert_eq!(header["alg"], "HS256");
        assert!(header["crit"].is_null(), "what must be understood was not");
    }
}

fn signed(header: &[u8], claims: &[u8], secret: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn verifier() -> &'static Verifier {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    VERIFIER.get_or_init(|| {
        let secret = SecretString::from(SECRET);
        let algorithms = ["HS256", "EdDSA"].map(str::to_owned);
        let given = TokenSettings {
            secret: Some(&secret),
            public_key: Some(PUBLIC_KEY),
            jwks_file: None,
            jwks_url: None,
            algorithms: &algorithms,
            rules: ClaimRules::default(),
        };
        Verifier::start(CheckedTokenSettings::check(given).expect("these settings are good"), |_| {})
    })
}
