//! The fields of Kubernetes objects that the walk obeys, with the defaults of Kubernetes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// A Deployment.
#[derive(Debug, Clone, Deserialize)]
pub struct Deployment {
    pub metadata: Metadata,
    pub spec: DeploymentSpec,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentSpec {
    pub replicas: usize,
    #[serde(default)]
    pub min_ready_seconds: u64,
    pub strategy: Strategy,
    pub template: PodTemplate,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    pub rolling_update: RollingUpdate,
}

/// The test fails if the chart has a percentage in place of a number of pods.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RollingUpdate {
    pub max_surge: usize,
    pub max_unavailable: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Metadata {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// The template of a Deployment's or Job's pods, or a pod itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PodTemplate {
    #[serde(default)]
    pub metadata: Metadata,
    pub spec: PodSpec,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    containers: Vec<Container>,
    #[serde(default)]
    pub volumes: Vec<Value>,
    pub service_account_name: Option<String>,
    #[serde(default = "default_grace")]
    pub termination_grace_period_seconds: u64,
}

fn default_grace() -> u64 {
    30
}

impl PodSpec {
    /// The only container.
    pub fn container(&self) -> Result<&Container> {
        let [container] = self.containers.as_slice() else { bail!("not one container") };
        Ok(container)
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    pub image: String,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub env: Vec<Value>,
    #[serde(default)]
    pub env_from: Vec<Value>,
    #[serde(default)]
    pub ports: Vec<ContainerPort>,
    #[serde(default)]
    pub volume_mounts: Vec<Value>,
    pub startup_probe: Option<Probe>,
    pub readiness_probe: Option<Probe>,
    pub liveness_probe: Option<Probe>,
    #[serde(default)]
    pub lifecycle: Value,
}

impl Container {
    /// The program that the image starts: `tidings-gateway` of `registry.example.com/tidings/gateway:0.1.0`.
    pub fn program(&self) -> Result<String> {
        let name = self.image.rsplit('/').next().and_then(|name| name.split(['@', ':']).next());
        Ok(format!("tidings-{}", name.context("an image without a name")?))
    }

    /// The seconds that `preStop` sleeps. The walk knows no other action.
    pub fn pre_stop_seconds(&self) -> Result<u64> {
        let pre_stop = &self.lifecycle["preStop"];
        if pre_stop.is_null() {
            return Ok(0);
        }
        pre_stop["sleep"]["seconds"].as_u64().with_context(|| format!("unknown preStop: {pre_stop}"))
    }

    /// The number of a port that a probe or Service names.
    pub fn port(&self, name: &Value) -> Result<u16> {
        if let Some(number) = name.as_u64() {
            return Ok(u16::try_from(number)?);
        }
        let found = self.ports.iter().find(|port| Some(port.name.as_str()) == name.as_str());
        Ok(found.with_context(|| format!("the container has no port {name}"))?.container_port)
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerPort {
    pub name: String,
    pub container_port: u16,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    pub http_get: HttpGet,
    pub period_seconds: u64,
    pub timeout_seconds: u64,
    pub failure_threshold: u32,
}

impl Default for Probe {
    fn default() -> Probe {
        Probe { http_get: HttpGet::default(), period_seconds: 10, timeout_seconds: 1, failure_threshold: 3 }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct HttpGet {
    pub path: String,
    pub port: Value,
}
