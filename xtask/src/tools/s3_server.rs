//! versitygw: a server with the protocol of S3, for files in a bucket. There is no package of it, so Go builds it once.

use std::path::PathBuf;

use crate::context::{Context, is_executable};
use crate::process::{Outcome, run};

const VERSION: &str = "v1.8.0";
const NAME: &str = "versitygw";
const MODULE: &str = "github.com/versity/versitygw/cmd/versitygw";

/// The program.
pub fn program(context: &Context) -> PathBuf {
    context.tools.join(format!("{NAME}-{VERSION}")).join(NAME)
}

/// Builds the program, unless it is there.
///
/// # Errors
/// When Go fails.
pub fn install(context: &Context) -> Outcome {
    if is_executable(&program(context)) {
        return Ok(());
    }
    let mut build = context.command(context.root.join("deploy/tools/deploy.sh"));
    run(build.env("TIDINGS_TOOLS", &context.tools).args(["go-tool", NAME, MODULE, VERSION]))
}
