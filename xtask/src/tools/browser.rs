//! Finds or installs the browser that runs the tests of the demo.

use crate::context::Context;
use crate::packages;
use crate::process::{Outcome, say};

const CHROMIUM: &str = "TIDINGS_CHROMIUM";
const SHELL: &str = "chromium-headless-shell";
const FIREFOX: &str = "TIDINGS_FIREFOX";

/// Finds a Chromium, or installs one, and tells the tests by a variable. Prefers the headless shell: it is the same
/// engine without windows and profiles, and creates a browser context in a third of the time.
///
/// # Errors
/// When the browser is missing and cannot be installed.
pub fn need_chromium(context: &mut Context) -> Outcome {
    if context.variable(CHROMIUM).is_none() && packages::need(context, &[(SHELL, SHELL)]).is_err() {
        say("an older Debian has no headless shell; any Chromium is good enough");
    }
    if !find_chromium(context) {
        packages::need(context, &[("chromium", "chromium")])?;
    }
    if find_chromium(context) { Ok(()) } else { Err("chromium is not available".to_owned()) }
}

/// Debian's wrapper script of the headless shell works only for an installed package, not for an unpacked one.
fn find_chromium(context: &mut Context) -> bool {
    let chosen = context.variable(CHROMIUM).and_then(|value| value.into_string().ok());
    let unpacked = |name: &str| context.tools.join("usr/lib/chromium").join(name).display().to_string();
    let names = [SHELL, "chromium", "chromium-browser", "google-chrome"].map(str::to_owned);
    let mut candidates =
        chosen.into_iter().chain([unpacked(SHELL)]).chain(names).chain([unpacked("chromium")]);
    let Some(found) = candidates.find_map(|name| context.find(&name)) else { return false };
    context.set(CHROMIUM, found);
    true
}

/// Finds or installs a Firefox, and tells the tests by a variable.
///
/// # Errors
/// When the browser is missing and cannot be installed.
pub fn need_firefox(context: &mut Context) -> Outcome {
    if context.variable(FIREFOX).is_some() {
        return Ok(());
    }
    packages::need(context, &[("firefox-esr", "firefox-esr")])?;
    let found = context.find("firefox-esr").ok_or("firefox-esr is not available")?;
    context.set(FIREFOX, found);
    Ok(())
}
