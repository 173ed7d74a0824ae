//! The chart, rendered by Helm: the objects that an installation, an upgrade or a rollback applies, and its hooks.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidings_harness::{folder, node};

use super::objects::{Deployment, PodTemplate};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// The values of an example, which those of the walk change.
const EXAMPLE: &str = "deploy/helm/tidings/examples/gateway-api/values.yaml";
const CHECKSUM: &str = "checksum/settings";
/// The exit code of `deploy.sh` when Helm is missing and cannot be installed.
const NOT_CHECKED: i32 = 3;

/// What Helm does with a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Install,
    Upgrade,
    Rollback,
    /// `helm test`
    Test,
}

impl Action {
    /// The value of `helm.sh/hook` that runs before the objects are applied.
    fn hook(self) -> &'static str {
        match self {
            Action::Install => "pre-install",
            Action::Upgrade => "pre-upgrade",
            Action::Rollback => "pre-rollback",
            Action::Test => "test",
        }
    }
}

/// A pod that runs to its end, of a Job or alone.
pub struct Hook {
    pub name: String,
    pub template: PodTemplate,
}

/// One revision of the release.
pub struct Revision {
    objects: Vec<Value>,
}

impl Revision {
    /// Renders the chart with these values. Returns `None` when Helm is missing and cannot be installed.
    pub fn render(action: Action, values: &[&str]) -> Result<Option<Revision>> {
        let files = folder::Folder::new()?;
        let mut command = Command::new(Path::new(ROOT).join("deploy/tools/deploy.sh"));
        let tools = node::program("tidings-gateway")?;
        let tools = tools.parent().and_then(Path::parent).context("no target folder")?.join("tools");
        command.arg("objects").arg("--values").arg(Path::new(ROOT).join(EXAMPLE)).env("TIDINGS_TOOLS", tools);
        for (number, text) in values.iter().enumerate() {
            let file = files.path().join(format!("{number}.yaml"));
            std::fs::write(&file, text)?;
            command.arg("--values").arg(file);
        }
        if action == Action::Upgrade {
            command.arg("--is-upgrade");
        }
        let output = command.output()?;
        if output.status.code() == Some(NOT_CHECKED) {
            return Ok(None);
        }
        ensure!(output.status.success(), "deploy.sh objects: {}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout)?;
        let objects = lines.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        Ok(Some(Revision { objects }))
    }

    /// The pods that Helm runs before it applies the objects, by weight. What a pod's service account needs must be
    /// among the hooks before it.
    pub fn hooks(&self, action: Action) -> Result<Vec<Hook>> {
        let mut hooks: Vec<(i64, &str, &Value)> = Vec::new();
        for object in &self.objects {
            let Some(events) = annotation(object, "helm.sh/hook") else { continue };
            if events.split(',').any(|event| event.trim() == action.hook()) {
                let weight = annotation(object, "helm.sh/hook-weight").unwrap_or("0").parse()?;
                hooks.push((weight, text(object, "/kind"), object));
            }
        }
        // Helm orders hooks of the same weight by kind: accounts and policies before pods and jobs.
        hooks.sort_by_key(|(weight, kind, _)| (*weight, ["Pod", "Job"].contains(kind)));
        let (mut accounts, mut pods) = (Vec::new(), Vec::new());
        for (_, kind, object) in hooks {
            let name = text(object, "/metadata/name").to_owned();
            let template = match kind {
                "Job" => &object["spec"]["template"],
                "Pod" => object,
                "ServiceAccount" => {
                    accounts.push(name);
                    continue;
                }
                _ => continue,
            };
            let template: PodTemplate = serde_json::from_value(template.clone())?;
            let account = template.spec.service_account_name.as_ref();
            let exists = account.is_none_or(|account| accounts.contains(account));
            ensure!(exists, "{name} needs the account {account:?}, which no hook before it creates");
            pods.push(Hook { name, template });
        }
        Ok(pods)
    }

    /// The objects of a kind that are no hooks.
    pub fn plain<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<T>> {
        let plain = self.objects.iter().filter(|object| annotation(object, "helm.sh/hook").is_none());
        let of_kind = plain.filter(|object| text(object, "/kind") == kind);
        of_kind.map(|object| Ok(serde_json::from_value(object.clone())?)).collect()
    }

    /// The checksums of the settings, by Deployment.
    pub fn checksums(&self) -> Result<Vec<String>> {
        let deployments = self.plain::<Deployment>("Deployment")?;
        let checksum = |one: &Deployment| one.spec.template.metadata.annotations.get(CHECKSUM).cloned();
        deployments.iter().map(|one| checksum(one).context("no checksum of the settings")).collect()
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][name].as_str()
}
