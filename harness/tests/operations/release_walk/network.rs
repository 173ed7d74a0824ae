//! The Services of a release and their endpoints.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::pod::Pod;
use super::service_address::ServiceAddress;
use super::site::selects;

/// The ports of Services, by `NAME:PORT`.
#[derive(Default)]
pub struct Network {
    addresses: BTreeMap<String, (ServiceAddress, Endpoints)>,
    ports: BTreeMap<String, u16>,
}

struct Endpoints {
    selector: Value,
    target_port: Value,
    /// Whether pods that are not ready belong to them.
    all: bool,
}

impl Network {
    /// Makes the Services; those that exist keep their address.
    pub async fn apply(&mut self, services: Vec<Value>) -> Result<()> {
        for service in services {
            let (spec, name) = (&service["spec"], &service["metadata"]["name"]);
            for port in spec["ports"].as_array().into_iter().flatten() {
                let name = format!("{}:{}", name.as_str().context("no name")?, port["port"]);
                let endpoints = Endpoints {
                    selector: spec["selector"].clone(),
                    target_port: port["targetPort"].clone(),
                    all: spec["publishNotReadyAddresses"] == true,
                };
                if let Some((_, present)) = self.addresses.get_mut(&name) {
                    *present = endpoints;
                    continue;
                }
                let address = ServiceAddress::start(spec["clusterIP"] == "None").await?;
                self.ports.insert(name.clone(), address.port());
                self.addresses.insert(name, (address, endpoints));
            }
        }
        Ok(())
    }

    /// The port of this machine for each `NAME:PORT`.
    pub fn ports(&self) -> &BTreeMap<String, u16> {
        &self.ports
    }

    pub fn port(&self, name: &str) -> Result<u16> {
        self.ports.get(name).copied().with_context(|| format!("there is no Service {name}"))
    }

    /// Number of connections to a Service that no pod accepted.
    pub fn refused(&self, name: &str) -> Result<u64> {
        let (address, _) = self.addresses.get(name).with_context(|| format!("there is no Service {name}"))?;
        Ok(address.refused())
    }

    /// Sends new connections to these pods.
    pub fn set_endpoints(&self, pods: &[Pod]) -> Result<()> {
        for (address, endpoints) in self.addresses.values() {
            let mut ports = Vec::new();
            for pod in pods {
                if selects(&endpoints.selector, &pod.template.metadata.labels)
                    && (endpoints.all || pod.is_listed())
                {
                    let port = pod.template.spec.container()?.port(&endpoints.target_port)?;
                    ports.push(pod.launch.port(port)?);
                }
            }
            address.set_endpoints(ports);
        }
        Ok(())
    }
}
