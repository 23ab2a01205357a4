//! The world of a run: one queue of events in true time, a network that loses, delays, doubles, reorders and
//! divides, clocks that lie, machines that crash. Everything is drawn from one generator in the order of
//! events, so a seed repeats exactly.

mod asking;
mod faults;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use larder_format::operation::Outcome;
use larder_format::record::Key;
use larder_format::rng::{Rng, SeededRng};
use larder_mesh::attempt::Task;
use larder_mesh::message::Ask;
use larder_mesh::proposer::{Failure, Wait};

use super::client::Client;
use super::history::Call;
use super::lone::Lone;
use super::plan::{EPOCH_MS, OPERATIONS, Plan};
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
                    skew_ms: faults::good_skew(&mut rng),
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
