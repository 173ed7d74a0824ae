//! The origins that may connect by WebSocket and over HTTP (CORS): listed ones, subdomains of a wildcard, and by
//! default pages from localhost. Uses a whole stack.

use anyhow::{Result, ensure};
use reqwest::Method;
use tidings_harness::{Client, ClientError, Stack, System, TokenBy};

/// Returns whether a page of this origin may open a WebSocket, and whether CORS allows its HTTP requests.
async fn allowed_access(stack: &impl System, origin: &str) -> Result<(bool, bool)> {
    let headers = [("origin", origin.to_owned())];
    let ws = format!("{}/v1/ws", stack.gateway_url(0).replacen("http", "ws", 1));
    let connected = Client::connect_with(TokenBy::Header, &ws, &stack.token("alice"), &headers).await;
    let socket = match connected {
        Ok(client) => client.ping().await.is_ok(),
        Err(ClientError::Refused { status: 403, .. }) => false,
        Err(error) => return Err(error.into()),
    };
    let url = format!("{}/v1/me/rooms", stack.persistence_url(0));
    let http = tidings_harness::http::client();
    // The preflight request that a browser sends before a request with a token.
    let preflight = http
        .request(Method::OPTIONS, &url)
        .header("origin", origin)
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization")
        .send()
        .await?;
    let allowed = |answer: &reqwest::Response| {
        let to = answer.headers().get("access-control-allow-origin").and_then(|value| value.to_str().ok());
        to.map(str::to_owned)
    };
    let before = preflight.status().is_success() && allowed(&preflight).as_deref() == Some(origin);
    let answer = http.get(&url).header("origin", origin).bearer_auth(stack.token("alice")).send().await?;
    let after = allowed(&answer).as_deref() == Some(origin);
    ensure!(before == after, "{origin}: the preflight allows it: {before}, the answer: {after}");
    // A cache must not serve the answer for one origin to another.
    ensure!(
        answer.headers().get_all("vary").iter().any(|vary| vary.to_str().is_ok_and(|v| v.contains("Origin")))
    );
    Ok((socket, after))
}

#[tokio::test]
async fn only_listed_and_wildcard_origins_may_connect() -> Result<()> {
    let origins = "https://chat.example, https://*.tea.example:8443";
    let stack = Stack::builder().env("TIDINGS_ALLOWED_ORIGINS", origins).start().await?;
    for good in ["https://chat.example", "https://a.tea.example:8443", "https://a.b.tea.example:8443"] {
        ensure!(allowed_access(&stack, good).await? == (true, true), "{good}");
    }
    for bad in [
        "http://chat.example",
        "https://chat.example:444",
        "https://chat.example.evil.test",
        "https://a.chat.example",
        "https://tea.example:8443",
        "https://a.tea.example",
        "https://eviltea.example:8443",
        "http://localhost:3000",
        "null",
    ] {
        ensure!(allowed_access(&stack, bad).await? == (false, false), "{bad}");
    }
    Ok(())
}

#[tokio::test]
async fn default_origins_allow_only_localhost_pages() -> Result<()> {
    let stack = Stack::shared().await?;
    for good in ["http://localhost:5173", "http://127.0.0.1:8080", "https://[::1]"] {
        ensure!(allowed_access(&stack, good).await? == (true, true), "{good}");
    }
    for bad in ["https://chat.example", "http://localhost.evil.test", "null", "file://"] {
        ensure!(allowed_access(&stack, bad).await? == (false, false), "{bad}");
    }
    // Clients that are not browsers send no origin.
    stack.connect("alice").await?.ping().await?;
    Ok(())
}

#[tokio::test]
async fn refusal_has_cors_headers_for_its_page() -> Result<()> {
    let stack = Stack::shared().await?;
    let url = format!("{}/v1/me/rooms", stack.persistence(0).url());
    let origin = "http://localhost:5173";
    let answer = tidings_harness::http::client().get(&url).header("origin", origin).send().await?;
    ensure!(answer.status() == 401);
    ensure!(answer.headers().get("access-control-allow-origin").is_some_and(|to| to == origin));
    let exposed = answer.headers().get("access-control-expose-headers").and_then(|value| value.to_str().ok());
    let exposed = exposed.unwrap_or_default().to_ascii_lowercase();
    ensure!(exposed.contains("retry-after") && exposed.contains("www-authenticate"), "{exposed}");
    Ok(())
}
