//! Secrets of endpoints, and the signatures of deliveries by Standard Webhooks. While a secret is replaced, deliveries
//! have two signatures, so that the receiver may change its secret at any time within the period.

use anyhow::{Context, Result};
use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::STANDARD};
use standardwebhooks::Webhook;

/// Length of a new secret. Standard Webhooks asks for 24 to 64 bytes.
const SECRET_BYTES: usize = 32;

/// Makes a random secret, in the form in which it is shown once.
pub fn new_secret() -> Result<String> {
    let mut bytes = [0; SECRET_BYTES];
    rand::fill(&mut bytes).ok().context("the system has no random numbers")?;
    Ok(format!("whsec_{}", STANDARD.encode(bytes)))
}

/// The header `webhook-signature`: a signature with each secret, the newest first.
pub fn signatures(secrets: &[&str], id: &str, timestamp_s: i64, body: &str) -> Result<String> {
    let sign = |secret: &&str| {
        let signer = Webhook::new(secret).context("the stored secret cannot be read")?;
        signer.sign(id, timestamp_s, body.as_bytes()).context("the body cannot be signed")
    };
    Ok(secrets.iter().map(sign).collect::<Result<Vec<_>>>()?.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification of Standard Webhooks.
    #[test]
    fn signature_equals_that_of_the_specification() {
        let header = signatures(
            &["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(header.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_gives_a_signature() {
        let (one, other) = (new_secret().unwrap(), new_secret().unwrap());
        assert_ne!(one, other);
        let both = signatures(&[&one, &other], "msg_1", 1, "{}").unwrap();
        let single = |secret: &str| signatures(&[secret], "msg_1", 1, "{}").unwrap();
        assert_eq!(both, format!("{} {}", single(&one), single(&other)));
    }
}
