//! Keeps the measured targets equal to the wanted ones: merges file and documents together, looks names up, moves
//! targets between groups.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use super::config::{MOST_TARGETS, ProbeConfig, TargetSource};
use super::registry::{SourceStatus, TargetRegistry};
use super::service_discovery::{self, DiscoveredTargets};
use super::target::TargetSpec;
use super::target_state::Watched;
use super::worker::ProbeWorker;
use crate::exit_code::causes;
use crate::sla::SlaConfig;
use crate::sys::clock::{ClockSource, SystemClock};

/// Names that are looked up at a time: each takes a thread while the name server is silent.
const LOOKUPS: usize = 16;
/// Pause after the first failure to look a name up; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Messages that may wait.
const BACKLOG: usize = 1_024;

/// The result of a look-up.
pub(crate) struct Resolved {
    id: u64,
    result: Result<SocketAddr, ResolveError>,
}

/// A name without an address.
#[derive(Debug, thiserror::Error)]
enum ResolveError {
    /// It can't be looked up.
    #[error("{}", causes(.0.as_ref()))]
    Lookup(anyhow::Error),
    /// The look-up found none.
    #[error("has no address")]
    NoAddress,
}

struct TargetEntry {
    watched: Arc<Watched>,
    resolver: JoinHandle<()>,
    /// The destination of its packets, once it is measured.
    address: Option<SocketAddr>,
}

impl Drop for TargetEntry {
    fn drop(&mut self) {
        self.resolver.abort();
    }
}

type TargetIdentity = (String, BTreeMap<String, String>);

/// The state of a probe.
pub(crate) struct Supervisor {
    registry: Arc<TargetRegistry>,
    agreement: Arc<SlaConfig>,
    /// Upper ends of the buckets of all histograms, as they were at the start.
    buckets: Option<Vec<f64>>,
    of_file: Vec<TargetSpec>,
    sources: Vec<(TargetSource, JoinHandle<()>)>,
    /// Increases with each set of sources: what an earlier one still says is not heard.
    generation: usize,
    /// By source, what each of its documents had when it was last good.
    found: Vec<BTreeMap<String, Vec<TargetSpec>>>,
    entries: HashMap<TargetIdentity, TargetEntry>,
    groups: Vec<ProbeWorker>,
    next_id: u64,
    lookups: Arc<Semaphore>,
    messages: Sender<SupervisorMessage>,
}

/// A message from a supervisor's helpers.
pub(crate) enum SupervisorMessage {
    /// A source has said something.
    Found(usize, (usize, DiscoveredTargets)),
    /// A name was looked up, or could not be.
    Resolved(Resolved),
}

impl Supervisor {
    /// Nothing is wanted yet. What comes through the receiver is to be given to [`Self::handle`].
    pub(crate) fn new(registry: Arc<TargetRegistry>) -> (Self, Receiver<SupervisorMessage>) {
        let (messages, receiver) = channel(BACKLOG);
        let supervisor = Self {
            registry,
            agreement: Arc::default(),
            buckets: None,
            of_file: Vec::new(),
            sources: Vec::new(),
            generation: 0,
            found: Vec::new(),
            entries: HashMap::new(),
            groups: Vec::new(),
            next_id: 0,
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            messages,
        };
        (supervisor, receiver)
    }

    /// Takes a configuration over: what stays as it was goes on undisturbed.
    pub(crate) fn configure(&mut self, config: ProbeConfig) {
        if *self.agreement != config.agreement {
            self.agreement = Arc::new(config.agreement);
            for entry in self.entries.values() {
                entry.watched.state().agreement = self.agreement.clone();
            }
        }
        let buckets = || config.series.buckets.iter().map(|bucket| bucket.0).collect();
        self.buckets.get_or_insert_with(buckets);
        self.of_file = config.targets;
        self.set_sources(config.sources);
        self.apply();
    }

    /// Sources that are the same keep what they have found.
    fn set_sources(&mut self, sources: Vec<TargetSource>) {
        self.generation += 1;
        let mut former: Vec<_> = self.sources.drain(..).zip(self.found.drain(..)).collect();
        let statuses = self.registry.sources();
        let mut status = Vec::new();
        let generation = self.generation;
        for source in sources {
            let at = former.iter().position(|((one, _), _)| one.origin == source.origin && one.labels == source.labels);
            let known = at.map(|at| former.swap_remove(at));
            let origin = source.origin.to_string();
            let before = statuses.iter().find(|status| status.origin == origin).filter(|_| known.is_some());
            status.push(before.cloned().unwrap_or(SourceStatus { origin, ..SourceStatus::default() }));
            let mut found = BTreeMap::new();
            if let Some(((_, task), targets)) = known {
                task.abort();
                found = targets;
                found
                    .values_mut()
                    .flatten()
                    .for_each(|target: &mut TargetSpec| target.profile = source.profile.clone());
            }
            let task = self.follow(self.sources.len(), source.clone(), generation);
            self.sources.push((source, task));
            self.found.push(found);
        }
        former.iter().for_each(|((_, task), _)| task.abort());
        self.registry.with_sources(|sources| *sources = status);
    }

    fn follow(&self, at: usize, source: TargetSource, generation: usize) -> JoinHandle<()> {
        let messages = self.messages.clone();
        tokio::spawn(async move {
            let (sender, mut receiver) = channel(1);
            let forward = async {
                while let Some(found) = receiver.recv().await {
                    if messages.send(SupervisorMessage::Found(generation, found)).await.is_err() {
                        return;
                    }
                }
            };
            tokio::join!(service_discovery::follow(at, source, sender), forward);
        })
    }

    /// Acts upon a message.
    pub(crate) fn handle(&mut self, message: SupervisorMessage) {
        match message {
            SupervisorMessage::Found(generation, found) if generation == self.generation => self.take_found(found),
            SupervisorMessage::Found(..) => {}
            SupervisorMessage::Resolved(resolved) => self.take_resolved(resolved),
        }
    }

    fn take_found(&mut self, (at, DiscoveredTargets { documents, is_all }): (usize, DiscoveredTargets)) {
        let Some(kept) = self.found.get_mut(at) else { return };
        if is_all {
            kept.retain(|name, _| documents.iter().any(|(there, _)| there == name));
        }
        let mut problems = Vec::new();
        for (name, result) in documents {
            match result {
                Ok(targets) => drop(kept.insert(name, targets)),
                Err(problem) => problems.push(format!("{name}: {problem}")),
            }
        }
        let count = kept.values().map(Vec::len).sum();
        self.registry.with_sources(|sources| sources[at].update(count, &problems));
        self.apply();
    }

    /// Makes the measured targets equal to the wanted ones.
    fn apply(&mut self) {
        let mut order: Vec<TargetIdentity> = Vec::new();
        let mut targets: HashMap<TargetIdentity, TargetSpec> = HashMap::new();
        let mut nameless = HashSet::new();
        let mut left_out = 0;
        for one in self.of_file.iter().chain(self.found.iter().flat_map(BTreeMap::values).flatten()) {
            let identity = (one.name.clone(), one.labels.clone());
            let is_ambiguous = one.profile.measure.no_ssid && !nameless.insert((one.spec.host.clone(), one.spec.port));
            if targets.len() >= MOST_TARGETS || targets.contains_key(&identity) || is_ambiguous {
                left_out += 1;
                continue;
            }
            order.push(identity.clone());
            targets.insert(identity, one.clone());
        }
        if self.registry.left_out.swap(left_out, Ordering::Relaxed) != left_out && left_out > 0 {
            tracing::warn!(
                count = left_out,
                "targets are left out: they are there twice, or are more than the {MOST_TARGETS} that a probe measures"
            );
        }
        let claimed: HashSet<u16> = targets.values().filter_map(|target| target.ssid).collect();
        let goes = |identity: &TargetIdentity, entry: &TargetEntry| {
            let watched = &entry.watched;
            let is_in_the_way = watched.target.ssid.is_none() && claimed.contains(&watched.ssid);
            is_in_the_way || !targets.get(identity).is_some_and(|target| target.is_same(&watched.target))
        };
        let gone: Vec<TargetIdentity> =
            self.entries.iter().filter(|(identity, entry)| goes(identity, entry)).map(|(id, _)| id.clone()).collect();
        // Those that are measured in another way from now on keep what they have counted.
        let mut former: HashMap<TargetIdentity, Arc<Watched>> = HashMap::new();
        for identity in gone {
            if let Some(entry) = self.entries.remove(&identity) {
                self.leave_group(&entry.watched, entry.address);
                former.insert(identity, entry.watched.clone());
            }
        }
        let mut taken: HashSet<u16> = self.entries.values().map(|entry| entry.watched.ssid).collect();
        taken.extend(claimed);
        for identity in &order {
            if !self.entries.contains_key(identity)
                && let Some(target) = targets.remove(identity)
            {
                let former = former.remove(identity);
                let ssid = match (target.ssid, former.as_ref().map(|former| former.ssid)) {
                    (Some(ssid), _) => ssid,
                    (None, _) if target.profile.measure.no_ssid => 0,
                    (None, Some(ssid)) if ssid != 0 && taken.insert(ssid) => ssid,
                    (None, _) => free_ssid(&mut taken, identity),
                };
                let entry = self.entry(target, ssid, former);
                self.entries.insert(identity.clone(), entry);
            }
        }
        let watched = order.iter().filter_map(|identity| Some(self.entries.get(identity)?.watched.clone()));
        self.registry.set_watched(watched.collect());
        self.end_groups(false);
    }

    /// Begins to measure a target; `former` is what it was while it was measured in another way.
    fn entry(&mut self, target: TargetSpec, ssid: u16, former: Option<Arc<Watched>>) -> TargetEntry {
        self.next_id += 1;
        let buckets = self.buckets.as_deref().unwrap_or(&[]);
        let watched = match former {
            Some(former) => former.replaced(self.next_id, target, ssid),
            None => {
                let now = SystemClock.realtime_ns();
                Watched::new(self.next_id, target, ssid, buckets, self.agreement.clone(), now)
            }
        };
        let watched = Arc::new(watched);
        let resolver = tokio::spawn(resolve(watched.clone(), self.lookups.clone(), self.messages.clone()));
        TargetEntry { watched, resolver, address: None }
    }

    fn take_resolved(&mut self, Resolved { id, result }: Resolved) {
        let Some(entry) = self.entries.values_mut().find(|entry| entry.watched.id == id) else { return };
        let watched = entry.watched.clone();
        match result {
            Ok(address) if entry.address == Some(address) => {}
            Ok(address) => {
                let before = entry.address.replace(address);
                if let Some(before) = before {
                    tracing::info!(target = watched.target.name, %address, %before, "is now at {address}, no longer at {before}");
                }
                self.leave_group(&watched, before);
                watched.state().address = Some(address);
                self.join_group(watched, address);
                self.end_groups(false);
            }
            Err(error) => {
                let problem = error.to_string();
                let mut state = watched.state();
                if state.address.is_none() && state.problem.as_ref() != Some(&problem) {
                    tracing::warn!(target = watched.target.name, error = problem);
                }
                state.problem = Some(problem);
            }
        }
    }

    fn group(&mut self, watched: &Watched, is_v6: bool) -> Option<&mut ProbeWorker> {
        self.groups.iter_mut().find(|group| group.is_v6 == is_v6 && group.profile.is_same(&watched.target.profile))
    }

    fn leave_group(&mut self, watched: &Arc<Watched>, address: Option<SocketAddr>) {
        let Some(address) = address else { return };
        if let Some(group) = self.group(watched, address.is_ipv6()) {
            group.remove(watched.id);
        }
    }

    fn join_group(&mut self, watched: Arc<Watched>, address: SocketAddr) {
        if self.group(&watched, address.is_ipv6()).is_none() {
            match ProbeWorker::start(watched.target.profile.clone(), address.is_ipv6()) {
                Ok(group) => self.groups.push(group),
                Err(error) => {
                    let problem = crate::exit_code::causes(error.as_ref());
                    tracing::error!(target = watched.target.name, error = problem);
                    watched.pause(Some(&problem));
                    // Tried again when the name is looked up again.
                    if let Some(entry) = self.entries.values_mut().find(|entry| entry.watched.id == watched.id) {
                        entry.address = None;
                    }
                    return;
                }
            }
        }
        if let Some(group) = self.group(&watched, address.is_ipv6()) {
            group.add(watched, address);
        }
    }

    /// Ends groups that measure nobody, or all of them.
    fn end_groups(&mut self, is_all: bool) {
        let (ending, staying) = self.groups.drain(..).partition(|group| is_all || group.count == 0);
        self.groups = staying;
        let ending: Vec<ProbeWorker> = ending;
        ending.into_iter().for_each(ProbeWorker::end);
    }

    /// Ends all measuring.
    pub(crate) fn end(mut self) {
        self.sources.iter().for_each(|(_, task)| task.abort());
        self.entries.clear();
        self.end_groups(true);
    }
}

/// An SSID that nobody has; there are fewer targets than SSIDs. Begins with one that is the same in each run, so that a restart
/// of the probe makes no new series.
fn free_ssid(taken: &mut HashSet<u16>, identity: &TargetIdentity) -> u16 {
    let mut hasher = DefaultHasher::new();
    identity.hash(&mut hasher);
    let mut ssid = hasher.finish() as u16;
    while ssid == 0 || !taken.insert(ssid) {
        ssid = ssid.wrapping_add(1);
    }
    ssid
}

/// Looks a target's name up forever. An address that the name still has stays, whatever the order of the answer.
async fn resolve(watched: Arc<Watched>, lookups: Arc<Semaphore>, messages: Sender<SupervisorMessage>) {
    let mut current: Option<SocketAddr> = None;
    let mut pause = FIRST_PAUSE;
    let interval = watched.target.profile.measure.resolve_interval.0;
    loop {
        let found = {
            let Ok(_place) = lookups.acquire().await else { return };
            let (spec, profile) = (watched.target.spec.clone(), watched.target.profile.clone());
            let lookup = move || spec.addresses(profile.measure.port, profile.family());
            let found = tokio::task::spawn_blocking(lookup).await;
            found.unwrap_or_else(|error| Err(error.into())).map_err(ResolveError::Lookup)
        };
        let result = found.and_then(|addresses| {
            let kept = current.filter(|current| addresses.contains(current));
            kept.or(addresses.first().copied()).ok_or(ResolveError::NoAddress)
        });
        let is_found = result.is_ok();
        let is_news = result.as_ref().ok() != current.as_ref() || !watched.state().is_measured;
        if let Ok(address) = result {
            current = Some(address);
        }
        if is_news && messages.send(SupervisorMessage::Resolved(Resolved { id: watched.id, result })).await.is_err() {
            return;
        }
        if is_found {
            pause = FIRST_PAUSE;
            tokio::time::sleep(interval).await;
        } else {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(interval.max(FIRST_PAUSE));
        }
    }
}
