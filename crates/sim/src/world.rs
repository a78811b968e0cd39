//! A plan is run: producer, network, cluster and users on one virtual clock.
//!
//! At each moment, first everything happens that is due at brokers and on the wire, then faults, then whoever can run does, in an
//! order that the seed decides: the sender when its time has come, when it was woken or when the network brought something; a user
//! when it was woken. When nobody can run any more, the clock jumps to the next moment with something to do.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use rohrpost::rules::start_sequences_at;
use rohrpost::simulate::{self, Frame, Sender, Step};
use rohrpost::{Metrics, Producer};

use crate::checker;
use crate::cluster::{self, Cluster};
use crate::history::{History, Told, Violation};
use crate::network::VirtualNetwork;
use crate::plan::{Plan, WorldFault};
use crate::tasks::{Clock, Tasks};
use crate::trace::Trace;
use crate::user::{self, Stage};

/// Steps at one moment of virtual time, after which nobody waits for the end of it any more.
const STEPS_PER_MOMENT_MAX: u32 = 100_000;
/// What the cluster may need after everything is well again: sessions, elections, followers that catch up.
pub const RECOVERY_MS: u64 = 40_000;
/// What an outcome may take beyond `delivery.timeout.ms`.
const OUTCOME_SLACK_MS: u64 = 500;

/// What came of a plan.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Of everything that happened; the same plan gives the same one.
    pub digest: u64,
    /// What must not have been; empty if all is well.
    pub violations: Vec<Violation>,
    /// What happened how often.
    pub counts: BTreeMap<String, u64>,
    /// Accepted records.
    pub records: u64,
    /// Faults that happened.
    pub faults: u64,
    /// Brokers.
    pub brokers: u64,
    /// Virtual time that passed.
    pub simulated_ms: u64,
    /// What happened, if it was asked for.
    pub lines: Vec<String>,
}

/// Runs a plan, all of it on this thread. A rule that is [switched off](rohrpost::rules::break_rule) on this thread is so in this world.
pub fn run(plan: &Plan, keeps_lines: bool) -> Run {
    start_sequences_at(plan.first_sequence);
    let trace = Rc::new(Trace::new(keeps_lines));
    let run = catch_unwind(AssertUnwindSafe(|| World::new(plan, trace.clone()).map(World::run)));
    let failed = |kind, text| Run { violations: vec![Violation { kind, text }], ..Run::default() };
    let mut run = match run {
        Ok(Ok(run)) => run,
        Ok(Err(text)) => failed("refused configuration", text),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            failed("panic", text.unwrap_or_default())
        }
    };
    run.digest = trace.digest();
    run.lines = trace.take_lines();
    run
}

struct World<'a> {
    plan: &'a Plan,
    rng: fastrand::Rng,
    trace: Rc<Trace>,
    clock: Rc<Clock>,
    stage: Rc<Stage>,
    tasks: Tasks,
    sender: Sender,
    network: VirtualNetwork,
    cluster: Cluster,
    told: Vec<cluster::Event>,
    events: Vec<rohrpost_net::Event<Frame>>,
    /// When the sender runs by itself.
    wakes_at_ms: Option<u64>,
    /// The sender has more to do at this moment.
    goes_on: bool,
    /// The last step only wrote: events are handed to it only if there are any.
    only_wrote: bool,
    has_ended: bool,
    /// The client's process stands still until then.
    paused_until_ms: u64,
    wall_offset_ms: i64,
    next_fault: usize,
    is_healed: bool,
    /// The sender's state was odd once; that is told once.
    is_odd: bool,
    counts: BTreeMap<String, u64>,
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, trace: Rc<Trace>) -> Result<World<'a>, String> {
        let mut rng = fastrand::Rng::with_seed(plan.seed);
        let mut cluster = Cluster::new(&plan.cluster, rng.u64(..), 0);
        if trace.keeps_lines() {
            cluster.tell_story();
        }
        let addresses = (1..=plan.cluster.brokers).filter_map(|node| cluster.address(node));
        let bootstrap: Vec<String> = addresses.map(|(host, port)| format!("{host}:{port}")).collect();
        let mut builder = Producer::builder(bootstrap.join(",")).client_id("simulated");
        for (key, value) in &plan.settings {
            builder = builder.set(*key, value.as_str()).map_err(|error| error.to_string())?;
        }
        let (producer, mut sender) =
            simulate::producer(&builder, rng.u64(..)).map_err(|errors| errors.to_string())?;
        sender.set_time(0, plan.cluster.wall_clock_ms);
        let mut network = VirtualNetwork::new(sender.net_config(), plan.latency, rng.u64(..), trace.clone());
        sender.start(&mut network);
        let config = producer.config();
        let history = History::new(config.delivery_timeout_ms + OUTCOME_SLACK_MS + plan.pauses_ms());
        let clock = Rc::new(Clock::default());
        let stage = Rc::new(Stage {
            clock: clock.clone(),
            history: RefCell::new(history),
            trace: trace.clone(),
            acks_none: config.acks.id() == 0,
            producer: RefCell::new(Some(producer)),
            callbacks: Arc::default(),
            topics: plan.topics.clone(),
            closed: RefCell::default(),
            sending: Cell::new(plan.users.len()),
            stop_ms: plan.heal_ms,
        });
        let mut tasks = Tasks::default();
        for (number, user) in plan.users.iter().enumerate() {
            tasks.spawn(format!("user {number}"), user::run(stage.clone(), user.clone()));
        }
        tasks.spawn("closer".into(), user::end(stage.clone(), Rc::new(plan.clone())));
        Ok(World {
            plan,
            rng,
            trace,
            clock,
            stage,
            tasks,
            sender,
            network,
            cluster,
            told: Vec::new(),
            events: Vec::new(),
            wakes_at_ms: Some(0),
            goes_on: false,
            only_wrote: false,
            has_ended: false,
            paused_until_ms: 0,
            wall_offset_ms: 0,
            next_fault: 0,
            is_healed: false,
            is_odd: false,
            counts: BTreeMap::new(),
        })
    }

    fn run(mut self) -> Run {
        let mut now_ms = 0;
        let limit_ms = self.limit_ms();
        let mut settled_ms = None;
        let mut simulated_ms = 0;
        while let Some(next_ms) = self.moment(now_ms) {
            if self.has_ended && self.tasks.are_done() && self.is_healed {
                // What is still on the wire arrives, and followers catch up.
                simulated_ms = simulated_ms.max(now_ms);
                let until_ms = *settled_ms.get_or_insert(now_ms.max(self.plan.heal_ms) + RECOVERY_MS);
                if next_ms > until_ms && !self.network.has_requests() {
                    break;
                }
            } else if next_ms > limit_ms {
                break;
            }
            now_ms = next_ms.max(now_ms);
            self.set_time(now_ms);
        }
        self.finish(simulated_ms.max(now_ms.min(limit_ms)))
    }

    /// After this moment nobody has a reason to wait.
    fn limit_ms(&self) -> u64 {
        let config = self.stage.producer.borrow().as_ref().map(|producer| {
            let config = producer.config();
            2 * config.delivery_timeout_ms + config.max_block_ms.min(120_000) + config.request_timeout_ms
        });
        self.plan.heal_ms + config.unwrap_or_default() + RECOVERY_MS + 2 * user::PROBE_MS
    }

    fn set_time(&mut self, now_ms: u64) {
        self.trace.set_now(now_ms);
        let wall_ms = self.plan.cluster.wall_clock_ms + now_ms as i64 + self.wall_offset_ms;
        self.sender.set_time(now_ms, wall_ms);
    }

    /// Everything that happens at this moment; the next one with something to do.
    fn moment(&mut self, now_ms: u64) -> Option<u64> {
        self.outside(now_ms);
        self.faults(now_ms);
        if now_ms >= self.paused_until_ms {
            self.clock.set(now_ms);
            for step in 0.. {
                if !self.step(now_ms) {
                    break;
                }
                if step > STEPS_PER_MOMENT_MAX {
                    let text = format!("at {now_ms} ms nobody comes to rest");
                    self.stage.history.borrow_mut().violation("spins", text);
                    return None;
                }
            }
        }
        let inside = [self.clock.next_ms(), self.wakes_at_ms.filter(|_| !self.has_ended)];
        let inside = inside.into_iter().flatten().min();
        let woken = now_ms < self.paused_until_ms
            && (self.tasks.ready() > 0 || self.sender.is_woken() || self.network.has_events());
        let inside = if woken { Some(now_ms) } else { inside };
        let inside = inside.map(|at| at.max(self.paused_until_ms));
        let fault = self.plan.faults.get(self.next_fault).map(|fault| fault.at_ms);
        let heal = (!self.is_healed).then_some(self.plan.heal_ms);
        let network = self.network.next_ms().map(|at| at.max(self.paused_until_ms.min(at.max(now_ms + 1))));
        [inside, fault, heal, network, self.cluster.next_ms()]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.max(now_ms))
    }

    /// Brokers and wires.
    fn outside(&mut self, now_ms: u64) {
        loop {
            self.cluster.advance(now_ms, &mut self.told);
            if self.trace.keeps_lines() {
                for (_, text) in self.cluster.take_story() {
                    self.trace.tell("cluster", || text);
                }
            }
            for event in self.told.drain(..) {
                match event {
                    cluster::Event::Answer { to, frame, .. } => self.network.answer(to, frame, now_ms),
                    cluster::Event::Cut { connection, .. } => self.network.cut(connection, now_ms),
                }
            }
            self.network.advance(&mut self.cluster, now_ms);
            if self.cluster.next_ms().is_none_or(|at| at > now_ms)
                && self.network.next_arrival_ms().is_none_or(|at| at > now_ms)
            {
                return;
            }
        }
    }

    fn faults(&mut self, now_ms: u64) {
        let (before, was_healed) = (self.next_fault, self.is_healed);
        while let Some(fault) = self.plan.faults.get(self.next_fault)
            && fault.at_ms <= now_ms
        {
            self.next_fault += 1;
            *self.counts.entry(format!("fault: {}", fault.what.kind())).or_default() += 1;
            self.trace.note("fault", self.next_fault as u64, 0, || fault.what.to_string());
            match &fault.what {
                WorldFault::Cluster(fault) => self.cluster.apply(fault, now_ms),
                WorldFault::Link(fault) => self.network.apply(fault, now_ms),
                WorldFault::ClientPause { ms } => {
                    self.paused_until_ms = self.paused_until_ms.max(now_ms + ms)
                }
                WorldFault::ClientClock { ms } => {
                    self.wall_offset_ms += ms;
                    self.set_time(now_ms);
                }
            }
        }
        if now_ms >= self.plan.heal_ms && !self.is_healed {
            self.is_healed = true;
            self.trace.note("healed", 0, 0, String::new);
            self.network.heal();
            self.cluster.heal(now_ms);
        }
        if before != self.next_fault || was_healed != self.is_healed {
            self.outside(now_ms);
        }
    }

    /// Lets somebody run who can. False if nobody can.
    fn step(&mut self, now_ms: u64) -> bool {
        let users = self.tasks.ready();
        let sender_runs = !self.has_ended
            && (self.goes_on
                || self.sender.is_woken()
                || self.network.has_events()
                || self.wakes_at_ms.is_some_and(|at| at <= now_ms));
        if users == 0 && !sender_runs {
            return false;
        }
        if sender_runs && (users == 0 || self.rng.bool()) {
            self.run_sender(now_ms);
        } else {
            let task = self.tasks.run(self.rng.usize(0..users));
            self.trace.note("runs", task.unwrap_or_default() as u64, 0, String::new);
        }
        true
    }

    fn run_sender(&mut self, now_ms: u64) {
        let has_events = self.network.poll(&mut self.events, now_ms);
        if has_events || !self.only_wrote {
            self.count_answers();
            self.sender.handle(&mut self.events, &mut self.network, now_ms);
        }
        let step = self.sender.step(&mut self.network, now_ms);
        self.network.flush(now_ms);
        self.goes_on = matches!(step, Step::Write | Step::Again);
        self.only_wrote = step == Step::Write;
        self.wakes_at_ms = match step {
            Step::Sleep { until_ms } => until_ms,
            _ => None,
        };
        if step == Step::Ended {
            self.trace.note("ended", 0, 0, String::new);
            self.network.clear();
            self.sender.end();
            self.has_ended = true;
        }
        if let Some(text) = self.sender.went_back() {
            self.stage.history.borrow_mut().violation("older metadata", text);
        }
        if let Some(text) = self.sender.oddity().filter(|_| !self.is_odd) {
            self.is_odd = true;
            self.stage.history.borrow_mut().violation("odd state", text);
        }
        self.stage.take_callbacks();
    }

    fn count_answers(&mut self) {
        for event in &self.events {
            if let rohrpost_net::Event::Disconnected { reason, .. } = event {
                let name = match reason {
                    rohrpost_net::Disconnect::Closed => "connection lost",
                    rohrpost_net::Disconnect::ConnectFailed(_) => "connect failed",
                    rohrpost_net::Disconnect::Timeout => "request timed out",
                    rohrpost_net::Disconnect::Protocol(_) => "answer unreadable",
                    rohrpost_net::Disconnect::Idle => "connection idle",
                    rohrpost_net::Disconnect::Resolve(_) => "name not resolved",
                    _ => continue,
                };
                *self.counts.entry(name.to_owned()).or_default() += 1;
            }
        }
    }

    fn finish(mut self, simulated_ms: u64) -> Run {
        self.liveness(simulated_ms);
        self.stage.take_callbacks();
        self.take_handles(simulated_ms);
        self.tasks.clear();
        self.network.clear();
        self.stage.producer.borrow_mut().take();
        let metrics = self.sender.metrics();
        let stage = self.stage;
        let mut history = stage.history.replace(History::default());
        // Who never ended has been told already; the rest would only follow from that.
        if self.has_ended {
            checker::check(self.plan, &mut history, &self.cluster, &metrics);
        }
        let mut counts = std::mem::take(&mut history.counts);
        counts.extend(self.counts);
        count_all(&mut counts, &metrics, &self.cluster, &self.network);
        Run {
            digest: 0,
            violations: history.violations,
            counts,
            records: u64::from(history.accepted),
            faults: self.next_fault as u64,
            brokers: self.plan.cluster.brokers as u64,
            simulated_ms,
            lines: Vec::new(),
        }
    }

    /// Everybody ended; or was somebody not woken?
    fn liveness(&mut self, now_ms: u64) {
        let open = self.tasks.open();
        let sender_ended = self.has_ended;
        let mut texts = Vec::new();
        for (task, name) in open {
            let ends = self.tasks.poll(task);
            let why = if ends { "was never woken, though it could go on" } else { "never ended" };
            texts.push((ends, format!("{name} {why}")));
        }
        let pending = self.sender.metrics().records_pending;
        let mut history = self.stage.history.borrow_mut();
        for (ends, text) in texts {
            let kind = if ends { "lost wake-up" } else { "never ends" };
            history.violation(kind, format!("{text}, at {now_ms} ms"));
        }
        if !sender_ended {
            history.violation(
                "never ends",
                format!("the sender runs on at {now_ms} ms; {pending} records are pending"),
            );
        }
    }

    /// Outcomes that nobody waited for in the end.
    fn take_handles(&mut self, now_ms: u64) {
        let kept = std::mem::take(&mut self.stage.history.borrow_mut().kept);
        for (_, (id, mut delivery)) in kept {
            let told = delivery.poll_now();
            let mut history = self.stage.history.borrow_mut();
            match told {
                Some(result) => {
                    history.told(id, Told::of(&result, self.stage.acks_none));
                }
                None if self.has_ended => {
                    history.violation("no outcome", format!("record {id} has none at {now_ms} ms"));
                }
                None => {}
            }
        }
    }
}

fn count_all(
    counts: &mut BTreeMap<String, u64>,
    metrics: &Metrics,
    cluster: &Cluster,
    network: &VirtualNetwork,
) {
    let mut add = |name: &str, times: u64| {
        if times > 0 {
            *counts.entry(name.to_owned()).or_default() += times;
        }
    };
    add("records acked", metrics.records_acked);
    add("records handed over", metrics.records_handed_over);
    add("records not written", metrics.records_not_written);
    add("records unknown", metrics.records_unknown);
    add("batches sent", metrics.batches_sent);
    add("batches retried", metrics.batches_retried);
    add("batches split", metrics.batches_split);
    add("epoch bumps", metrics.epoch_bumps);
    add("requests that arrived after their connection's end", network.late_requests);
    add("connections begun", network.connects);
    add("rebootstraps", network.bootstraps.saturating_sub(1));
    let seen = cluster.counts();
    add("duplicates found by brokers", seen.duplicates);
    add("leader moves", seen.leader_moves);
    add("appends by deposed leaders", seen.deposed_appends);
    add("unclean elections", seen.unclean_elections);
    add("in-sync sets shrunk", seen.isr_shrinks);
    add("follower truncations", seen.truncations);
    add("topics deleted", seen.topics_deleted);
    add("throttled answers", seen.throttles);
    add("elections that lost committed records", cluster.losses().len() as u64);
    for ((api, code), times) in &seen.answers {
        if *code != 0 {
            let api = match api {
                0 => "Produce",
                3 => "Metadata",
                22 => "InitProducerId",
                _ => "other",
            };
            add(&format!("answer: {api} {}", rohrpost::ErrorCode(*code).name()), *times);
        }
    }
}
