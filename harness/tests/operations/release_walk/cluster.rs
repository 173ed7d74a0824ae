//! A cluster of two machines: it applies revisions of a release and does what the controllers of Kubernetes do with
//! them. Everything happens in `until`, so each step of the walk is a wait for its end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidings_harness::{Nodes, http};

use super::chart::{Action, Revision};
use super::network::Network;
use super::objects::{Deployment, Metadata};
use super::pod::{Pod, Surroundings};
use super::record::Record;
use super::rollout::{PodState, next_actions};
use super::site::{Settings, Site, selects};

const TICK: Duration = Duration::from_millis(200);
const HOOK_TIMEOUT: Duration = Duration::from_secs(60);
const MACHINES: usize = 2;

/// A cluster of two machines.
pub struct Cluster {
    pub pods: Vec<Pod>,
    pub record: Record,
    pub network: Network,
    deployments: Vec<Deployment>,
    budgets: Vec<Value>,
    settings: Settings,
    cordoned: [bool; MACHINES],
    /// The smallest number of ready pods of each Deployment since the step began.
    fewest_ready: BTreeMap<String, usize>,
    created: usize,
    pub site: Site,
}

impl Cluster {
    pub async fn start() -> Result<Cluster> {
        Ok(Cluster {
            pods: Vec::new(),
            record: Record::new(),
            network: Network::default(),
            deployments: Vec::new(),
            budgets: Vec::new(),
            settings: Settings::new(),
            cordoned: [false; MACHINES],
            fewest_ready: BTreeMap::new(),
            created: 0,
            site: Site::start().await?,
        })
    }

    /// The addresses that clients use.
    pub fn nodes(&self) -> Result<Nodes> {
        Ok(Nodes {
            gateways: vec![format!("ws://127.0.0.1:{}/v1/ws", self.network.port("tidings-gateway:8080")?)],
            socket_io: None,
            persistence: vec![format!("http://127.0.0.1:{}", self.network.port("tidings-persistence:8081")?)],
            jwt_secret: self.site.jwt_secret().to_owned(),
            http: http::client(),
        })
    }

    /// Begins a step of the walk.
    pub fn begin(&mut self, step: &str) {
        self.record.begin(step);
        self.fewest_ready.clear();
    }

    /// Does what Helm does: runs the hooks, and then applies the objects.
    pub async fn apply(&mut self, action: Action, revision: &Revision) -> Result<()> {
        self.run_hooks(action, revision).await?;
        for one in revision.plain::<Value>("ConfigMap")? {
            let metadata: Metadata = serde_json::from_value(one["metadata"].clone())?;
            self.settings.insert(metadata.name, serde_json::from_value(one["data"].clone())?);
        }
        self.network.apply(revision.plain("Service")?).await?;
        self.budgets = revision.plain("PodDisruptionBudget")?;
        self.deployments = revision.plain("Deployment")?;
        Ok(())
    }

    /// Runs the hooks one after the other; each must succeed.
    pub async fn run_hooks(&mut self, action: Action, revision: &Revision) -> Result<()> {
        for hook in revision.hooks(action)? {
            let spec = &hook.template.spec;
            let launch = self.site.launch(&hook.name, spec, &self.settings, self.network.ports())?;
            let run = tokio::process::Command::from(launch.command(None)).kill_on_drop(true).output();
            let output = tokio::time::timeout(HOOK_TIMEOUT, run).await.context("a hook hangs")??;
            let printed = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
            ensure!(output.status.success(), "the hook {} failed: {printed}", hook.name);
            let words = spec.container()?.args.join(" ");
            let last = printed.trim().lines().next_back().unwrap_or_default().to_owned();
            self.record.event(&hook.name, &format!("`{words}` ended with 0: {last}"));
        }
        Ok(())
    }

    /// Marks a machine as unschedulable. `until` then evicts its pods, as `kubectl drain` does.
    pub fn cordon(&mut self, machine: usize, cordoned: bool) {
        self.cordoned[machine] = cordoned;
    }

    /// Works until the condition holds.
    pub async fn until(&mut self, limit: Duration, holds: impl Fn(&Cluster) -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            self.tick().await?;
            if holds(self) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the step took longer than {limit:?}");
            tokio::time::sleep(TICK).await;
        }
    }

    /// Whether all pods have the present template and are available, and no others are left.
    pub fn is_complete(&self) -> bool {
        self.pods.iter().all(|pod| !pod.is_deleted())
            && self.deployments.iter().all(|deployment| {
                let own = self.pods_of(deployment);
                own.len() == deployment.spec.replicas
                    && own.iter().all(|&index| {
                        self.state(deployment, index) == PodState { is_current: true, is_available: true }
                    })
            })
    }

    /// The smallest number of ready pods that any Deployment had since the step began.
    pub fn fewest_ready(&self) -> usize {
        self.fewest_ready.values().copied().min().unwrap_or_default()
    }

    fn pods_of(&self, deployment: &Deployment) -> Vec<usize> {
        let own = |pod: &Pod| pod.owner == deployment.metadata.name && !pod.is_deleted();
        (0..self.pods.len()).filter(|&index| own(&self.pods[index])).collect()
    }

    fn state(&self, deployment: &Deployment, index: usize) -> PodState {
        let pod = &self.pods[index];
        PodState {
            is_current: pod.template == deployment.spec.template,
            is_available: pod.is_available(deployment.spec.min_ready_seconds),
        }
    }

    async fn tick(&mut self) -> Result<()> {
        let around =
            Surroundings { site: &self.site, settings: &self.settings, services: self.network.ports() };
        let mut left = Vec::new();
        for mut pod in std::mem::take(&mut self.pods) {
            if !pod.tick(&around, &mut self.record).await? {
                left.push(pod);
            }
        }
        self.pods = left;
        self.evict();
        for deployment in self.deployments.clone() {
            self.reconcile(&deployment)?;
            let ready =
                self.pods_of(&deployment).iter().filter(|&&index| self.pods[index].is_ready()).count();
            let fewest = self.fewest_ready.entry(deployment.metadata.name).or_insert(ready);
            *fewest = ready.min(*fewest);
        }
        self.network.set_endpoints(&self.pods)
    }

    fn reconcile(&mut self, deployment: &Deployment) -> Result<()> {
        let own = self.pods_of(deployment);
        let states: Vec<_> = own.iter().map(|&index| self.state(deployment, index)).collect();
        let (create, delete) = next_actions(&deployment.spec, &states);
        for number in delete {
            self.pods[own[number]].delete(&mut self.record, "deleted");
        }
        for _ in 0..create {
            self.create(deployment)?;
        }
        Ok(())
    }

    /// Starts a pod on the machine that has the fewest of its Deployment.
    fn create(&mut self, deployment: &Deployment) -> Result<()> {
        let own = self.pods_of(deployment);
        let load =
            |machine: &usize| own.iter().filter(|&&index| self.pods[index].machine == *machine).count();
        let machine = (0..MACHINES).filter(|&machine| !self.cordoned[machine]).min_by_key(load);
        let machine = machine.context("no machine takes pods")?;
        self.created += 1;
        let name = format!("{}-{}", deployment.metadata.name, self.created);
        let around =
            Surroundings { site: &self.site, settings: &self.settings, services: self.network.ports() };
        let (owner, template) = (&deployment.metadata.name, &deployment.spec.template);
        self.pods.push(Pod::start(&around, owner, template, name.clone(), machine)?);
        self.record.event(&name, &format!("created on machine {machine}"));
        Ok(())
    }

    /// Evicts pods of cordoned machines, as far as the disruption budgets allow.
    fn evict(&mut self) {
        for index in 0..self.pods.len() {
            let pod = &self.pods[index];
            if self.cordoned[pod.machine] && !pod.is_deleted() && self.may_evict(pod) {
                self.pods[index].delete(&mut self.record, "evicted");
            }
        }
    }

    /// Budgets let pods that are not ready go: `unhealthyPodEvictionPolicy: AlwaysAllow`.
    fn may_evict(&self, pod: &Pod) -> bool {
        let labels = &pod.template.metadata.labels;
        let of_pod = |budget: &&Value| selects(&budget["spec"]["selector"]["matchLabels"], labels);
        let Some(budget) = self.budgets.iter().find(of_pod) else { return true };
        let ready = self.pods.iter().filter(|other| other.owner == pod.owner && other.is_ready()).count();
        let of_owner = |deployment: &&Deployment| deployment.metadata.name == pod.owner;
        let expected = self.deployments.iter().find(of_owner).map_or(0, |owner| owner.spec.replicas);
        let allowed = budget["spec"]["maxUnavailable"].as_u64().and_then(|count| usize::try_from(count).ok());
        !pod.is_ready() || ready > expected.saturating_sub(allowed.unwrap_or_default())
    }
}
