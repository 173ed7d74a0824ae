//! A pod, and what its kubelet does: it starts the container again after an end, runs the probes, and stops a deleted
//! pod by `preStop`, SIGTERM and the grace period.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use tidings_harness::daemon::Daemon;

use super::objects::{Container, PodTemplate};
use super::prober::Prober;
use super::record::{ProbeKind, Record};
use super::site::{Launch, Settings, Site};

/// Machines learn of a removed endpoint only after this time.
const ENDPOINT_DELAY: Duration = Duration::from_secs(3);
/// A container that ended is started again after this time; it doubles with each end.
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
/// A probe may have been sent just before SIGTERM.
const SIGNAL_DELAY: Duration = Duration::from_secs(1);

/// What a start of a container needs from the cluster.
pub struct Surroundings<'a> {
    pub site: &'a Site,
    pub settings: &'a Settings,
    pub services: &'a BTreeMap<String, u16>,
}

/// A pod.
pub struct Pod {
    pub name: String,
    /// The name of the Deployment.
    pub owner: String,
    pub template: PodTemplate,
    pub machine: usize,
    pub launch: Launch,
    /// Number of times that the container exited without being stopped.
    pub crashes: u32,
    daemon: Daemon,
    startup: Option<Prober>,
    readiness: Prober,
    liveness: Prober,
    ready_since: Option<Instant>,
    listed_until: Option<Instant>,
    restart_at: Option<Instant>,
    deleted_at: Option<Instant>,
    signalled_at: Option<Instant>,
}

impl Pod {
    /// Starts a pod on a machine.
    pub fn start(
        around: &Surroundings<'_>,
        owner: &str,
        template: &PodTemplate,
        name: String,
        machine: usize,
    ) -> Result<Pod> {
        let launch = around.site.launch(&name, &template.spec, around.settings, around.services)?;
        let container = template.spec.container()?;
        let (daemon, (startup, readiness, liveness)) = begin(&name, container, &launch)?;
        Ok(Pod {
            owner: owner.to_owned(),
            template: template.clone(),
            machine,
            launch,
            crashes: 0,
            daemon,
            startup,
            readiness,
            liveness,
            ready_since: None,
            listed_until: None,
            restart_at: None,
            deleted_at: None,
            signalled_at: None,
            name,
        })
    }

    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.daemon.log())?)
    }

    pub fn is_deleted(&self) -> bool {
        self.deleted_at.is_some()
    }

    pub fn is_ready(&self) -> bool {
        self.ready_since.is_some() && !self.is_deleted()
    }

    pub fn is_available(&self, min_ready_seconds: u64) -> bool {
        let long_enough = |since: Instant| since.elapsed() >= Duration::from_secs(min_ready_seconds);
        self.is_ready() && self.ready_since.is_some_and(long_enough)
    }

    /// Whether machines send new connections to it.
    pub fn is_listed(&self) -> bool {
        self.listed_until.is_some_and(|until| Instant::now() < until)
    }

    /// Deletes the pod. It ends in its own time.
    pub fn delete(&mut self, record: &mut Record, why: &str) {
        if self.deleted_at.is_none() {
            record.event(&self.name, why);
            self.deleted_at = Some(Instant::now());
        }
    }

    /// Does what is due. Returns whether the pod is gone.
    pub async fn tick(&mut self, around: &Surroundings<'_>, record: &mut Record) -> Result<bool> {
        if self.daemon.pid().is_none() {
            self.ready_since = None;
            return self.handle_end(around, record);
        }
        if let Some(deleted_at) = self.deleted_at {
            let spec = &self.template.spec;
            let grace = Duration::from_secs(spec.termination_grace_period_seconds);
            let (name, log) = (&self.name, self.daemon.log_tail());
            ensure!(
                deleted_at.elapsed() < grace,
                "{name} is killed after its grace period of {grace:?}\n{log}"
            );
            let pre_stop = Duration::from_secs(spec.container()?.pre_stop_seconds()?);
            if self.signalled_at.is_none() && deleted_at.elapsed() >= pre_stop {
                self.daemon.signal(Signal::SIGTERM)?;
                record.event(&self.name, "SIGTERM");
                self.signalled_at = Some(Instant::now());
            }
        }
        self.probe(record).await?;
        if self.is_ready() {
            self.listed_until = Some(Instant::now() + ENDPOINT_DELAY);
        }
        Ok(false)
    }

    fn handle_end(&mut self, around: &Surroundings<'_>, record: &mut Record) -> Result<bool> {
        if self.is_deleted() {
            record.event(&self.name, "ended");
            return Ok(true);
        }
        match self.restart_at {
            None => {
                self.crashes += 1;
                record.event(&self.name, "crashed");
                self.restart_at = Some(Instant::now() + FIRST_BACKOFF * 2_u32.pow(self.crashes - 1));
            }
            Some(at) if Instant::now() >= at => {
                let spec = &self.template.spec;
                // As after each start, the container gets the settings that the ConfigMaps have now.
                self.launch = around.site.launch(&self.name, spec, around.settings, around.services)?;
                let (daemon, probers) = begin(&self.name, spec.container()?, &self.launch)?;
                (self.daemon, self.restart_at) = (daemon, None);
                (self.startup, self.readiness, self.liveness) = probers;
                record.event(&self.name, "started again");
            }
            Some(_) => {}
        }
        Ok(false)
    }

    /// A kubelet runs the other probes after the first success of the startup probe, and of a deleted pod only the
    /// readiness probe.
    async fn probe(&mut self, record: &mut Record) -> Result<()> {
        if let Some(startup) = &mut self.startup {
            match startup.run(&self.name, record).await? {
                Some(true) => self.startup = None,
                Some(false) => bail!("{}: the startup probe failed\n{}", self.name, self.daemon.log_tail()),
                None => return Ok(()),
            }
        }
        if !self.is_deleted()
            && self.liveness.run(&self.name, record).await? == Some(false)
            && self.daemon.pid().is_some()
        {
            bail!("{}: the liveness probe failed\n{}", self.name, self.daemon.log_tail());
        }
        match self.readiness.run(&self.name, record).await? {
            Some(true) => {
                let draining = self.signalled_at.is_some_and(|at| at.elapsed() > SIGNAL_DELAY);
                ensure!(!draining, "{}: the readiness probe passes while the pod drains", self.name);
                if self.ready_since.is_none() {
                    record.event(&self.name, "ready");
                    self.ready_since = Some(Instant::now());
                }
            }
            Some(false) => self.ready_since = None,
            None => {}
        }
        Ok(())
    }
}

type Probers = (Option<Prober>, Prober, Prober);

/// Starts the container and its probes.
fn begin(name: &str, container: &Container, launch: &Launch) -> Result<(Daemon, Probers)> {
    let started = launch.clone();
    let daemon = Daemon::new(name, &launch.log, Signal::SIGKILL, move || started.command(None));
    daemon.start()?;
    let prober = |kind, probe: &Option<_>| -> Result<Prober> {
        let probe: &super::objects::Probe = probe.as_ref().with_context(|| format!("{kind:?}: no probe"))?;
        Ok(Prober::new(kind, probe, launch.port(container.port(&probe.http_get.port)?)?))
    };
    let startup = Some(prober(ProbeKind::Startup, &container.startup_probe)?);
    let readiness = prober(ProbeKind::Readiness, &container.readiness_probe)?;
    Ok((daemon, (startup, readiness, prober(ProbeKind::Liveness, &container.liveness_probe)?)))
}
