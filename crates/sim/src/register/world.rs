//! The world of a run: one queue of events in true time, a network that loses, delays, doubles, reorders and
//! divides, clocks that lie, machines that crash. Everything is drawn from one generator in the order of
//! events, so a seed repeats exactly.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use larder_format::operation::Outcome;
use larder_format::record::Key;
use larder_format::rng::{Rng, SeededRng};
use larder_mesh::attempt::Task;
use larder_mesh::message::Ask;
use larder_mesh::planted::Planted;
use larder_mesh::proposer::{Failure, Wait};

use super::client::Client;
use super::history::{Call, call_text};
use super::lone::Lone;
use super::plan::{Class, EPOCH_MS, OPERATIONS, Plan, SKEW_MS_MAX};
use super::replica::{Effect, Message, Replica};

/// A run that is not over by then (in microseconds) is a defect of the simulation.
const RUN_US_MAX: u64 = 60_000_000;
/// How long a proposer waits for replies, in microseconds.
const REPLIES_US: u64 = 12_000;
/// How long a client waits for an answer, in microseconds.
const PATIENCE_US: u64 = 45_000;
/// How often a node sweeps, in microseconds.
const SWEEP_US: u64 = 25_000;
/// Most attempts of a client under one operation id.
const TRIES_MAX: u32 = 4;

/// What a run leaves for judgement.
pub(crate) struct Run {
    pub(crate) calls: Vec<Call>,
    pub(crate) faults: u64,
    pub(crate) messages: u64,
    pub(crate) trace: u64,
    pub(crate) log: Vec<String>,
}

enum Event {
    Deliver {
        from: u8,
        to: u8,
        message: Message,
    },
    /// A client's request reaches a node.
    Asked {
        call: usize,
        to: u8,
    },
    /// An answer reaches a client.
    Answered {
        call: usize,
        result: Result<Outcome, Failure>,
    },
    Timer {
        node: u8,
        life: u32,
        tag: u64,
    },
    Sync {
        node: u8,
        life: u32,
        upto: u64,
    },
    Sweep {
        node: u8,
        life: u32,
    },
    JoinAgain {
        node: u8,
        life: u32,
    },
    Restart {
        node: u8,
    },
    Next {
        client: u8,
    },
    GiveUp {
        client: u8,
        call: usize,
    },
    Divide,
    Heal,
    Crash,
    /// A crash right after a promise or an accept, when it hurts most.
    CrashAfter {
        node: u8,
    },
    Clock,
}

enum Machine {
    Replica(Box<Replica>),
    Lone(Box<Lone>),
}

struct Node {
    machine: Machine,
    up: bool,
    life: u32,
    syncing: bool,
    skew_ms: i64,
    bad_clock: bool,
    /// Whether it has noted times from a bad clock: they stay with it, so it has no vote that counts until
    /// true time catches up (or a memory node starts anew).
    tainted: bool,
    /// Which side of a partition it is on.
    side: u8,
}

struct World<'a> {
    plan: &'a Plan,
    rng: SeededRng,
    now_us: u64,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    sequence: u64,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    keys: Vec<Key>,
    calls: Vec<Call>,
    /// What was sent for a call, where it differs from what the client means (a planted bug).
    tasks: Vec<Task>,
    drawn: usize,
    idle_clients: usize,
    divided: bool,
    /// Epoch the layout has committed.
    epoch: u64,
    faults: u64,
    messages: u64,
    trace: u64,
    verbose: bool,
    log: Vec<String>,
}

/// Runs a plan to its end.
pub(crate) fn run(plan: &Plan, verbose: bool) -> Run {
    let mut world = World::new(plan, verbose);
    world.start();
    while let Some(Reverse((at_us, _, index))) = world.queue.pop() {
        assert!(at_us < RUN_US_MAX, "a run ends within a minute of simulated time seed={}", plan.seed);
        world.now_us = at_us;
        if let Some(event) = world.events[index].take() {
            world.free.push(index);
            world.handle(event);
        }
        if world.idle_clients == world.clients.len() {
            break;
        }
    }
    let World { calls, faults, messages, trace, log, .. } = world;
    Run { calls, faults, messages, trace, log }
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, verbose: bool) -> Self {
        let mut rng = SeededRng::new(plan.seed);
        let nodes = (0..plan.replicas)
            .map(|index| {
                let machine = if plan.replicas == 1 {
                    Machine::Lone(Box::new(Lone::new(plan)))
                } else {
                    Machine::Replica(Box::new(Replica::new(plan, index, rng.u64())))
                };
                Node {
                    machine,
                    up: true,
                    life: 0,
                    syncing: false,
                    skew_ms: good_skew(&mut rng),
                    bad_clock: false,
                    tainted: false,
                    side: 0,
                }
            })
            .collect();
        Self {
            plan,
            rng,
            now_us: 0,
            queue: BinaryHeap::with_capacity(256),
            events: Vec::with_capacity(256),
            free: Vec::new(),
            sequence: 0,
            nodes,
            clients: (0..plan.clients).map(|_| Client::new(plan)).collect(),
            keys: (0..plan.keys).map(|k| Key::new(vec![b'a' + k]).expect("one byte is a key")).collect(),
            calls: Vec::with_capacity(OPERATIONS * 2),
            tasks: Vec::with_capacity(OPERATIONS * 2),
            drawn: 0,
            idle_clients: 0,
            divided: false,
            epoch: 0,
            faults: 0,
            messages: 0,
            trace: plan.seed,
            verbose,
            log: Vec::new(),
        }
    }

    fn start(&mut self) {
        for client in 0..self.plan.clients {
            let after_us = self.rng.below(5_000);
            self.after(after_us, Event::Next { client });
        }
        for node in 0..self.plan.replicas {
            let after_us = self.rng.below(SWEEP_US);
            self.after(after_us, Event::Sweep { node, life: 0 });
        }
        for (mean_us, event) in [
            (self.plan.partition_every_us, Event::Divide),
            (self.plan.crash_every_us, Event::Crash),
            (self.plan.clock_every_us, Event::Clock),
        ] {
            self.again(mean_us, event);
        }
    }

    fn after(&mut self, after_us: u64, event: Event) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[index] = Some(event);
        self.sequence += 1;
        self.queue.push(Reverse((self.now_us + after_us, self.sequence, index)));
    }

    /// Schedules a recurring fault, at random with this mean.
    fn again(&mut self, mean_us: u64, event: Event) {
        if mean_us > 0 {
            let after_us = mean_us / 4 + self.rng.below(mean_us * 3 / 2);
            self.after(after_us, event);
        }
    }

    fn note(&mut self, what: u64, detail: u64) {
        let mixed = self.trace ^ what.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ detail.rotate_left(32);
        self.trace = (mixed ^ self.now_us).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29);
    }

    fn say(&mut self, text: impl FnOnce() -> String) {
        if self.verbose {
            let line = format!("{:9.3}  {}", self.now_us as f64 / 1000.0, text());
            self.log.push(line);
        }
    }

    fn wall_ms(&self, node: u8) -> u64 {
        let true_ms = EPOCH_MS + self.now_us / 1000;
        true_ms.saturating_add_signed(self.nodes[usize::from(node)].skew_ms)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, message } => self.deliver(from, to, message),
            Event::Asked { call, to } => self.asked(call, to),
            Event::Answered { call, result } => self.answered(call, result),
            Event::Timer { node, life, tag } => self.on_node(node, Some(life), |machine, wall_ms, out| {
                if let Machine::Replica(replica) = machine {
                    replica.timer(tag, wall_ms, out);
                }
            }),
            Event::Sync { node, life, upto } => {
                self.note(3, upto);
                if self.nodes[usize::from(node)].life == life {
                    self.nodes[usize::from(node)].syncing = false;
                }
                self.on_node(node, Some(life), |machine, _, out| match machine {
                    Machine::Replica(replica) => replica.synced(upto, out),
                    Machine::Lone(lone) => lone.synced(upto, out),
                });
            }
            Event::Sweep { node, life } => {
                self.on_node(node, Some(life), |machine, wall_ms, out| match machine {
                    Machine::Replica(replica) => replica.sweep(wall_ms, out),
                    Machine::Lone(lone) => lone.sweep(wall_ms, out),
                });
                if self.nodes[usize::from(node)].life == life {
                    self.after(SWEEP_US, Event::Sweep { node, life });
                }
            }
            Event::JoinAgain { node, life } => self.join_again(node, life),
            Event::Restart { node } => self.restart(node),
            Event::Next { client } => self.next(client),
            Event::GiveUp { client, call } => self.give_up(client, call),
            Event::Divide => self.divide(),
            Event::Heal => self.heal(),
            Event::Crash => {
                self.again(self.plan.crash_every_us, Event::Crash);
                let node = self.rng.below(u64::from(self.plan.replicas)) as u8;
                self.crash(node);
            }
            Event::CrashAfter { node } => self.crash(node),
            Event::Clock => self.clock(),
        }
    }

    /// Runs a step of a node that is up (and in that life) and carries out what it wants.
    fn on_node(
        &mut self,
        node: u8,
        life: Option<u32>,
        step: impl FnOnce(&mut Machine, u64, &mut Vec<Effect>),
    ) {
        let wall_ms = self.wall_ms(node);
        let at = &mut self.nodes[usize::from(node)];
        if !at.up || life.is_some_and(|l| l != at.life) {
            return;
        }
        let mut out = Vec::new();
        step(&mut at.machine, wall_ms, &mut out);
        for effect in out {
            self.carry_out(node, effect);
        }
    }

    fn carry_out(&mut self, node: u8, effect: Effect) {
        let life = self.nodes[usize::from(node)].life;
        match effect {
            Effect::Send { to, message } => self.send(node, to, message),
            Effect::Timer { tag, wait } => {
                let after_us = match wait {
                    Wait::Replies => REPLIES_US + self.rng.below(2_000),
                    Wait::BackOff { attempts } => 300 + self.rng.below(1_500 * u64::from(attempts)),
                };
                self.after(after_us, Event::Timer { node, life, tag });
            }
            // The node asked itself, while sweeping.
            Effect::Answer { call: usize::MAX, .. } => {}
            Effect::Answer { call, result } => {
                self.say(|| format!("node {node} answers #{call} {result:?}"));
                let Some(delay_us) = self.travel() else { return };
                self.after(delay_us, Event::Answered { call, result });
            }
            Effect::Sync => {
                let at = &mut self.nodes[usize::from(node)];
                if !std::mem::replace(&mut at.syncing, true) {
                    // What is appended until the sync begins goes with it, as in a group commit.
                    let upto = match &at.machine {
                        Machine::Replica(replica) => replica.appended(),
                        Machine::Lone(lone) => lone.appended(),
                    };
                    let after_us = 50 + self.rng.below(self.plan.sync_us_max);
                    self.after(after_us, Event::Sync { node, life, upto });
                }
            }
        }
    }

    /// How long a message travels, in microseconds; `None`: it is lost.
    fn travel(&mut self) -> Option<u64> {
        self.messages += 1;
        let luck = self.rng.below(1_000);
        if luck < self.plan.loss {
            self.faults += 1;
            return None;
        }
        let usual_us = 150 + self.rng.below(900);
        if luck < self.plan.loss + self.plan.late {
            self.faults += 1;
            return Some(usual_us + self.rng.below(self.plan.late_us_max));
        }
        Some(usual_us)
    }

    fn send(&mut self, from: u8, to: u8, message: Message) {
        if from == to && !self.plan.apart {
            // A node's own acceptor is a call away; still an event, so that it may crash in between.
            self.after(5, Event::Deliver { from, to, message });
            return;
        }
        let message = if self.plan.wire { message.through_bytes() } else { message };
        let copies = if self.rng.below(1_000) < self.plan.duplicates { 2 } else { 1 };
        self.faults += copies - 1;
        for _ in 0..copies {
            if let Some(delay_us) = self.travel() {
                self.after(delay_us, Event::Deliver { from, to, message: message.clone() });
            } else {
                self.say(|| format!("lost {from} → {to} {message:?}"));
            }
        }
    }

    fn deliver(&mut self, from: u8, to: u8, message: Message) {
        let sides = (self.nodes[usize::from(from)].side, self.nodes[usize::from(to)].side);
        if self.divided && sides.0 != sides.1 {
            self.faults += 1;
            self.say(|| format!("cut off {from} → {to} {message:?}"));
            return;
        }
        let detail = match &message {
            Message::Request(request) => request.tag ^ request.now.to_u64(),
            Message::Reply(reply) => reply.tag ^ reply.high.to_u64() ^ 1,
            Message::JoinAsk(ask) => ask.epoch,
            Message::JoinPage(page) => page.epoch ^ page.high.to_u64(),
        };
        self.note(u64::from(from) << 8 | u64::from(to), detail);
        if self.verbose && self.nodes[usize::from(to)].up {
            self.say(|| format!("{from} → {to} {message:?}"));
        }
        let votes = matches!(&message, Message::Request(r) if matches!(r.ask, Ask::Prepare { .. } | Ask::Accept { .. }));
        if votes && from != to && self.plan.crash_after > 0 && self.rng.below(1_000) < self.plan.crash_after {
            let after_us = 10 + self.rng.below(self.plan.sync_us_max.min(1_000));
            self.after(after_us, Event::CrashAfter { node: to });
        }
        self.on_node(to, None, |machine, wall_ms, out| {
            if let Machine::Replica(replica) = machine {
                replica.message(from, message, wall_ms, out);
            }
        });
    }

    fn asked(&mut self, call: usize, to: u8) {
        self.note(1, call as u64);
        let task = self.tasks[call].clone();
        self.on_node(to, None, |machine, wall_ms, out| match machine {
            Machine::Replica(replica) => replica.call(call, task, wall_ms, out),
            Machine::Lone(lone) => lone.call(call, &task, wall_ms, out),
        });
    }

    fn next(&mut self, client: u8) {
        if self.drawn == self.plan.operations {
            self.idle_clients += 1;
            return;
        }
        self.drawn += 1;
        let now_ms = EPOCH_MS + self.now_us / 1000;
        let number = self.calls.len();
        let ask = self.clients[usize::from(client)].draw(self.plan, &mut self.rng, number, now_ms);
        let call = Call {
            client,
            node: 0,
            key: ask.key,
            operation: ask.operation,
            identity: ask.identity,
            confirm: ask.confirm,
            invoked_us: 0,
            returned_us: None,
            answer: None,
        };
        self.clients[usize::from(client)].tries = 0;
        self.ask(call);
    }

    /// Sends a request, as a call of its own.
    fn ask(&mut self, mut call: Call) {
        let client = call.client;
        call.node = self.choose_node();
        call.invoked_us = self.now_us;
        let index = self.calls.len();
        let at = &mut self.clients[usize::from(client)];
        at.waiting = Some(index);
        at.tries += 1;
        let mut task = Task {
            key: self.keys[usize::from(call.key)].clone(),
            operation: call.operation.clone(),
            identity: call.identity,
            confirm: call.confirm,
        };
        if at.tries > 1
            && self.plan.faults.has(Planted::NewIdRetry)
            && let Some(identity) = &mut task.identity
        {
            identity.id.0[15] ^= at.tries as u8;
        }
        let (node, again) = (call.node, call.identity.is_some());
        self.say(|| format!("client {client} asks {}", call_text(index, &call)));
        self.calls.push(call);
        self.tasks.push(task);
        if let Some(delay_us) = self.travel() {
            self.after(delay_us, Event::Asked { call: index, to: node });
        }
        // Only requests with an id may arrive twice: without one the connection sees to it that they do not.
        // The copy is an attempt of its own, whose answer nobody waits for.
        if again && self.rng.below(1_000) < self.plan.duplicates {
            self.faults += 1;
            self.calls.push(self.calls[index].clone());
            self.tasks.push(self.tasks[index].clone());
            if let Some(delay_us) = self.travel() {
                self.after(delay_us, Event::Asked { call: index + 1, to: node });
            }
        }
        let patience_us = PATIENCE_US / 2 + self.rng.below(PATIENCE_US);
        self.after(patience_us, Event::GiveUp { client, call: index });
    }

    fn choose_node(&mut self) -> u8 {
        if self.rng.below(100) < self.plan.scattered {
            return self.rng.below(u64::from(self.plan.replicas)) as u8;
        }
        (0..self.plan.replicas).find(|n| self.nodes[usize::from(*n)].up).unwrap_or(0)
    }

    fn answered(&mut self, call: usize, result: Result<Outcome, Failure>) {
        let client = self.calls[call].client;
        if self.clients[usize::from(client)].waiting != Some(call) {
            return;
        }
        self.note(2, call as u64);
        if let Ok(outcome) = &result {
            self.note(4, outcome_word(outcome));
            self.clients[usize::from(client)].learn(self.calls[call].key, outcome);
        }
        let unknown = result == Err(Failure::Unknown);
        self.calls[call].returned_us = Some(self.now_us);
        self.calls[call].answer = Some(result);
        self.go_on(client, call, unknown);
    }

    fn give_up(&mut self, client: u8, call: usize) {
        if self.clients[usize::from(client)].waiting == Some(call) {
            self.say(|| format!("client {client} gives up on #{call}"));
            self.go_on(client, call, true);
        }
    }

    /// After an answer, or none: retries an unknown outcome under the same id, or thinks of something else.
    fn go_on(&mut self, client: u8, call: usize, unknown: bool) {
        let tries = self.clients[usize::from(client)].tries;
        self.clients[usize::from(client)].waiting = None;
        if unknown && self.calls[call].identity.is_some() && tries < TRIES_MAX {
            let again = Call { returned_us: None, answer: None, ..self.calls[call].clone() };
            self.ask(again);
            return;
        }
        let pause_us = self.rng.below(self.plan.pause_us_max);
        self.after(pause_us, Event::Next { client });
    }

    fn divide(&mut self) {
        if !self.divided && self.plan.replicas > 1 {
            self.faults += 1;
            self.divided = true;
            for node in &mut self.nodes {
                node.side = self.rng.below(2) as u8;
            }
            let sides: Vec<u8> = self.nodes.iter().map(|n| n.side).collect();
            self.say(|| format!("the network divides: {sides:?}"));
            let lasts_us = 3_000 + self.rng.below(60_000);
            self.after(lasts_us, Event::Heal);
        }
        self.again(self.plan.partition_every_us, Event::Divide);
    }

    fn heal(&mut self) {
        self.divided = false;
        self.say(|| "the network is whole again".to_owned());
    }

    fn crash(&mut self, node: u8) {
        let need = usize::from(self.plan.replicas) / 2 + 1;
        let voting =
            |n: &Node| n.up && !n.tainted && matches!(&n.machine, Machine::Replica(r) if r.is_voting());
        let others = (0..).zip(&self.nodes).filter(|(index, other)| *index != node && voting(other)).count();
        // A memory replica can only come back from a majority of others: losing more is a reset by the
        // layout, which is not simulated here.
        if !self.nodes[usize::from(node)].up || (self.plan.class == Class::Memory && others < need) {
            return;
        }
        self.faults += 1;
        // A process that dies leaves what it appended to the system; a machine that dies loses some.
        let kept = if self.rng.below(3) == 0 { 256 } else { self.rng.below(257) };
        let down_us = if self.rng.below(2) == 0 {
            self.rng.below(1_500)
        } else {
            self.rng.below(self.plan.down_us_max)
        };
        self.say(|| format!("node {node} crashes, {kept}/256 of what was not synced survives"));
        let at = &mut self.nodes[usize::from(node)];
        at.up = false;
        at.life += 1;
        at.syncing = false;
        match &mut at.machine {
            Machine::Replica(replica) => replica.crash(kept),
            Machine::Lone(lone) => lone.crash(kept),
        }
        self.after(down_us, Event::Restart { node });
    }

    fn restart(&mut self, node: u8) {
        self.say(|| format!("node {node} restarts"));
        let name = self.rng.u64();
        if self.plan.class == Class::Memory {
            // The layout's voters register the new incarnation, in a new epoch.
            self.epoch += 1;
        }
        let epoch = self.epoch;
        let at = &mut self.nodes[usize::from(node)];
        at.up = true;
        at.tainted &= at.bad_clock || self.plan.class == Class::Disk;
        let life = at.life;
        self.on_node(node, None, |machine, _, out| match machine {
            Machine::Replica(replica) => replica.restart(name, epoch, out),
            Machine::Lone(lone) => lone.restart(),
        });
        self.after(SWEEP_US, Event::Sweep { node, life });
        self.join_again(node, life);
    }

    fn join_again(&mut self, node: u8, life: u32) {
        let mut joining = false;
        self.on_node(node, Some(life), |machine, _, out| {
            if let Machine::Replica(replica) = machine {
                replica.ask_to_join(out);
                joining = replica.is_joining();
            }
        });
        if joining {
            self.after(6_000, Event::JoinAgain { node, life });
        }
    }

    fn clock(&mut self) {
        self.again(self.plan.clock_every_us, Event::Clock);
        let node = self.rng.below(u64::from(self.plan.replicas)) as u8;
        // Never a majority: then there would be no telling which clocks are the good ones.
        let tainted = (0..).zip(&self.nodes).filter(|(i, n)| *i != node && n.tainted).count();
        let minority = usize::from(self.plan.replicas - 1) / 2;
        let was_bad = self.nodes[usize::from(node)].bad_clock;
        let goes_bad = self.plan.bad_clocks && !was_bad && tainted < minority && self.rng.below(2) == 0;
        let skew_ms = if goes_bad {
            // Far beyond the bound, so that no run lasts long enough for true time to catch up.
            let far_ms = 60_000 + self.rng.below(100_000) as i64;
            if self.rng.below(2) == 0 { far_ms } else { -far_ms }
        } else {
            good_skew(&mut self.rng)
        };
        self.faults += 1;
        self.say(|| format!("clock of node {node} is now off by {skew_ms} ms"));
        let at = &mut self.nodes[usize::from(node)];
        at.bad_clock = goes_bad;
        at.tainted |= goes_bad;
        at.skew_ms = skew_ms;
    }
}

fn good_skew(rng: &mut SeededRng) -> i64 {
    rng.below(2 * SKEW_MS_MAX + 1) as i64 - SKEW_MS_MAX as i64
}

/// Something of an outcome, for the trace.
fn outcome_word(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Found(found) => found.version.to_u64(),
        Outcome::Written { version, .. } | Outcome::Deleted { version } | Outcome::Taken { version, .. } => {
            version.to_u64()
        }
        Outcome::Conflict { current } => current.map_or(6, |v| v.to_u64()),
        Outcome::Absent => 7,
        Outcome::Refused(_) => 8,
    }
}
