//! Checks the address of a PostgreSQL database before a program connects to it.

use std::path::Path;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

/// The URL parameters that name the file of root certificates.
const ROOT_CERTIFICATE_PARAMETERS: [&str; 2] = ["sslrootcert", "ssl-root-cert"];

/// Checks whether a PostgreSQL address can be used, and whether the certificate file that it names can be read. The
/// error says what is wrong, and quotes only the name of the certificate file, never a secret.
pub fn check_address(url: &str) -> Result<(), String> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err("must begin with postgres://".to_owned());
    }
    let url = url::Url::parse(url).map_err(|error| format!("is no URL: {error}"))?;
    PgConnectOptions::from_str(url.as_str()).map_err(|_| {
        "cannot be read: its parameters are those of PostgreSQL's own programs, such as sslmode=verify-full".to_owned()
    })?;
    for (_, path) in
        url.query_pairs().filter(|(name, _)| ROOT_CERTIFICATE_PARAMETERS.contains(&name.as_ref()))
    {
        let read = std::fs::read(Path::new(path.as_ref()));
        read.map_err(|error| format!("names the file {path} as sslrootcert, which cannot be read: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_address_is_explained_without_password() {
        for (url, expected) in [
            ("mysql://u:hunter2@x/y", "postgres://"),
            ("postgres://u:hunter2@x:port/y", "no URL"),
            ("postgres://u:hunter2@x/y?sslmode=hunter2", "sslmode"),
            ("postgres://u:hunter2@x/y?sslrootcert=/no/such/file", "/no/such/file"),
        ] {
            let why = check_address(url).unwrap_err();
            assert!(why.contains(expected) && !why.contains("hunter2"), "{url}: {why}");
        }
        assert_eq!(check_address("postgres://u:hunter2@x/y?sslmode=verify-full"), Ok(()));
    }
}
