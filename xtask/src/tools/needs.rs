//! Which tests need which tools, by the beginning of a test's name. A tool is installed only when such a test runs.

use crate::context::Context;
use crate::packages::ProgramPackage;
use crate::process::{Outcome, run};
use crate::tools::{azurite, pip, s3_server};

/// A tool that tests start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    Schemathesis,
    PythonSocketIo,
    S3Server,
    Azurite,
    /// What `deploy.sh check` renders and checks manifests with.
    Deployment,
}

const HAPROXY: ProgramPackage = ("haproxy", "haproxy");
const MONITORING: [ProgramPackage; 5] = [
    HAPROXY,
    ("prometheus", "prometheus"),
    ("amtool", "prometheus-alertmanager"),
    ("prometheus-redis-exporter", "prometheus-redis-exporter"),
    ("prometheus-postgres-exporter", "prometheus-postgres-exporter"),
];
const BACKUPS: ProgramPackage = ("pgbackrest", "pgbackrest");

/// A test whose name starts with the text needs the packages.
const PACKAGES_OF_TESTS: [(&str, &[ProgramPackage]); 7] = [
    ("balancer", &[HAPROXY]),
    ("balancer_rolling", &MONITORING),
    ("deploy", &[BACKUPS]),
    ("deploy", &MONITORING),
    ("probe", &[HAPROXY]),
    ("stock_conversations::stock_clients_lose_nothing", &[HAPROXY]),
    ("watch", &MONITORING),
];

/// A test whose name starts with the text needs the tool.
const TOOLS_OF_TESTS: [(&str, Tool); 9] = [
    ("openapi", Tool::Schemathesis),
    ("stock_conversations", Tool::PythonSocketIo),
    ("files_", Tool::S3Server),
    ("faults::killed_and_paused_bucket", Tool::S3Server),
    ("faults::random_faults_with_a_bucket", Tool::S3Server),
    ("sabotage", Tool::S3Server),
    ("files_cloud", Tool::Azurite),
    ("deploy", Tool::Deployment),
    ("release_walk", Tool::Deployment),
];

/// The tools that these tests need.
pub fn tools_of(tests: &[&str]) -> Vec<Tool> {
    let mut tools = Vec::new();
    for (beginning, tool) in TOOLS_OF_TESTS {
        if tests.iter().any(|test| test.starts_with(beginning)) && !tools.contains(&tool) {
            tools.push(tool);
        }
    }
    tools
}

/// The Debian packages that these tests need.
pub fn packages_of(tests: &[&str]) -> Vec<ProgramPackage> {
    let needed = PACKAGES_OF_TESTS
        .iter()
        .filter(|(beginning, _)| tests.iter().any(|test| test.starts_with(beginning)));
    let mut packages: Vec<ProgramPackage> =
        needed.flat_map(|(_, packages)| packages.iter().copied()).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// The Debian packages of all tests, and of the checks of monitoring and deployment.
pub fn all_packages() -> Vec<ProgramPackage> {
    packages_of(&PACKAGES_OF_TESTS.map(|(beginning, _)| beginning))
}

/// The tools of `./dev test --all`.
pub const TOOLS_OF_GATE: [Tool; 4] = [Tool::Schemathesis, Tool::S3Server, Tool::Azurite, Tool::Deployment];

impl Tool {
    /// The name of its step.
    pub fn name(self) -> &'static str {
        match self {
            Tool::Schemathesis => "schemathesis",
            Tool::PythonSocketIo => "python-socketio",
            Tool::S3Server => "S3 server",
            Tool::Azurite => "Azurite",
            Tool::Deployment => "tools of the deployment",
        }
    }

    /// Installs the tool, unless it is there.
    ///
    /// # Errors
    /// When it cannot be installed.
    pub fn install(self, context: &Context) -> Outcome {
        match self {
            Tool::Schemathesis => pip::SCHEMATHESIS.install(context),
            Tool::PythonSocketIo => pip::PYTHON_SOCKETIO.install(context),
            Tool::S3Server => s3_server::install(context),
            Tool::Azurite => azurite::install(context),
            Tool::Deployment => {
                let mut install = context.command(context.root.join("deploy/tools/deploy.sh"));
                run(install.arg("install").env("TIDINGS_TOOLS", &context.tools))
            }
        }
    }
}

/// Tells the tests where the tools are, or would be.
///
/// # Errors
/// When the pins of a tool cannot be read.
pub fn set_paths(context: &mut Context) -> Outcome {
    let schemathesis = pip::SCHEMATHESIS.folder(context)?.join("bin/schemathesis");
    let python = pip::PYTHON_SOCKETIO.folder(context)?.join("bin/python");
    let (s3_server, azurite) = (s3_server::program(context), azurite::script(context));
    context.set("TIDINGS_SCHEMATHESIS", schemathesis);
    context.set("TIDINGS_PYTHON_SOCKETIO", python);
    context.set("TIDINGS_S3_SERVER", s3_server);
    context.set("TIDINGS_AZURITE", azurite);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_needed_only_by_their_tests() {
        assert_eq!(tools_of(&["conversation::a", "files_limits::b"]), [Tool::S3Server]);
        assert_eq!(tools_of(&["files_cloud::a"]), [Tool::S3Server, Tool::Azurite]);
        assert!(tools_of(&["conversation::a"]).is_empty() && packages_of(&["conversation::a"]).is_empty());
        assert_eq!(packages_of(&["balancer_limits::a"]), [HAPROXY]);
    }
}
