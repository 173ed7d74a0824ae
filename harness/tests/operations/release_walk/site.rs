//! What exists before a release: Redis, PostgreSQL and the secrets. Turns a rendered container into a command on this
//! machine: secrets become files of a folder, ports are moved, names of Services become addresses.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidings_harness::folder::Folder;
use tidings_harness::postgres::{Database, Postgres};
use tidings_harness::redis::Redis;
use tidings_harness::{node, ports, token};

use super::objects::PodSpec;

/// The data of each ConfigMap, by the name of the ConfigMap.
pub type Settings = BTreeMap<String, BTreeMap<String, String>>;

/// The stores and secrets.
pub struct Site {
    redis: Redis,
    database: Database,
    jwt_secret: String,
    internal_secret: String,
    folder: Folder,
}

/// How a container starts on this machine.
#[derive(Clone)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    ports: BTreeMap<u16, u16>,
    pub log: PathBuf,
}

impl Launch {
    /// The command, with other arguments than those of the container if given.
    pub fn command(&self, arguments: Option<&[&str]>) -> Command {
        let mut command = Command::new(&self.program);
        match arguments {
            Some(arguments) => command.args(arguments),
            None => command.args(&self.arguments),
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).envs(&self.environment);
        command
    }

    /// The port of this machine for a port of the container.
    pub fn port(&self, of_container: u16) -> Result<u16> {
        self.ports.get(&of_container).copied().with_context(|| format!("the pod has no port {of_container}"))
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str)
    }
}

impl Site {
    pub async fn start() -> Result<Site> {
        let folder = Folder::new()?;
        let redis = Redis::start_in(folder.path()).await?;
        let database = Postgres::shared().await?.database().await?;
        Ok(Site { redis, database, jwt_secret: token::secret(), internal_secret: token::secret(), folder })
    }

    /// The secret that signs tokens.
    pub fn jwt_secret(&self) -> &str {
        &self.jwt_secret
    }

    /// The list of migrations, as the program prints it.
    pub fn migrations(&self) -> Result<String> {
        let mut command = Command::new(node::program("tidings-migrations")?);
        let output = command.arg("status").env("DATABASE_URL", self.database.url()).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn secret(&self, name: &str, key: &str) -> Result<String> {
        Ok(match (name, key) {
            ("tidings-redis-gateway" | "tidings-redis-persistence" | "tidings-redis-push", "url") => {
                self.redis.url()
            }
            ("tidings-database" | "tidings-database-owner", "url") => self.database.url().to_owned(),
            ("tidings-internal", "secret") => self.internal_secret.clone(),
            ("tidings-tokens", "secret") => self.jwt_secret.clone(),
            _ => anyhow::bail!("there is no secret {name} with the key {key}: the pod would wait for ever"),
        })
    }

    /// Prepares the start of a pod's container. `services` has the port of this machine for each `NAME:PORT`.
    pub fn launch(
        &self,
        pod: &str,
        spec: &PodSpec,
        settings: &Settings,
        services: &BTreeMap<String, u16>,
    ) -> Result<Launch> {
        let container = spec.container()?;
        let mut replaced = self.mount(pod, spec)?;
        let mut moved = BTreeMap::new();
        for port in &container.ports {
            let free = ports::free()?;
            moved.insert(port.container_port, free);
            replaced.push((format!("0.0.0.0:{}", port.container_port), format!("127.0.0.1:{free}")));
        }
        replaced
            .extend(services.iter().map(|(name, port)| (format!("//{name}"), format!("//127.0.0.1:{port}"))));

        let mut environment = BTreeMap::new();
        for source in &container.env_from {
            let name = source["configMapRef"]["name"].as_str().context("envFrom without a ConfigMap")?;
            environment.extend(settings.get(name).with_context(|| format!("no ConfigMap {name}"))?.clone());
        }
        for variable in &container.env {
            let name = variable["name"].as_str().context("a variable without a name")?;
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.name") => pod,
                Some(other) => anyhow::bail!("{name}: {other} is unknown to the walk"),
                None => variable["value"].as_str().with_context(|| format!("{name} has no value"))?,
            };
            environment.insert(name.to_owned(), value.to_owned());
        }
        for value in environment.values_mut() {
            for (rendered, here) in &replaced {
                *value = value.replace(rendered, here);
            }
        }
        Ok(Launch {
            program: node::program(&container.program()?)?,
            arguments: container.args.clone(),
            environment,
            ports: moved,
            log: self.folder.path().join(format!("{pod}.log")),
        })
    }

    /// Writes the secrets of a pod's volumes; returns each mount path with the folder that stands for it.
    fn mount(&self, pod: &str, spec: &PodSpec) -> Result<Vec<(String, String)>> {
        let mut mounts = Vec::new();
        for mount in &spec.container()?.volume_mounts {
            let volume = spec.volumes.iter().find(|volume| volume["name"] == mount["name"]);
            let volume = volume.with_context(|| format!("no volume for {mount}"))?;
            let folder = self.folder.path().join(format!("{pod}-secrets"));
            std::fs::create_dir_all(&folder)?;
            let projected = volume["projected"]["sources"].as_array().into_iter().flatten();
            for secret in projected.chain([volume]).map(|source| &source["secret"]).filter(|it| !it.is_null())
            {
                let name = secret["name"].as_str().or(secret["secretName"].as_str()).context("no name")?;
                for item in secret["items"].as_array().into_iter().flatten() {
                    let text =
                        |field: &str| item[field].as_str().with_context(|| format!("no {field}: {item}"));
                    std::fs::write(folder.join(text("path")?), self.secret(name, text("key")?)?)?;
                }
            }
            let path = mount["mountPath"].as_str().context("no mountPath")?;
            mounts.push((path.to_owned(), folder.display().to_string()));
        }
        Ok(mounts)
    }
}

/// Whether labels contain all those of a selector.
pub fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector.as_object() else { return false };
    selector.iter().all(|(name, value)| labels.get(name).map(String::as_str) == value.as_str())
}
