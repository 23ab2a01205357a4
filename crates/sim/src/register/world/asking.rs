//! Clients in a run: they ask one thing at a time, give up waiting, retry what is unknown under the same id.

use larder_format::operation::Outcome;
use larder_format::rng::Rng;
use larder_mesh::attempt::Task;
use larder_mesh::planted::Planted;
use larder_mesh::proposer::Failure;

use super::super::history::{Call, call_text};
use super::super::plan::EPOCH_MS;
use super::{Event, PATIENCE_US, TRIES_MAX, World, outcome_word};

impl World<'_> {
    pub(super) fn next(&mut self, client: u8) {
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
    pub(super) fn ask(&mut self, mut call: Call) {
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

    pub(super) fn choose_node(&mut self) -> u8 {
        if self.rng.below(100) < self.plan.scattered {
            return self.rng.below(u64::from(self.plan.replicas)) as u8;
        }
        (0..self.plan.replicas).find(|n| self.nodes[usize::from(*n)].up).unwrap_or(0)
    }

    pub(super) fn answered(&mut self, call: usize, result: Result<Outcome, Failure>) {
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

    pub(super) fn give_up(&mut self, client: u8, call: usize) {
        if self.clients[usize::from(client)].waiting == Some(call) {
            self.say(|| format!("client {client} gives up on #{call}"));
            self.go_on(client, call, true);
        }
    }

    /// After an answer, or none: retries an unknown outcome under the same id, or thinks of something else.
    pub(super) fn go_on(&mut self, client: u8, call: usize, unknown: bool) {
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
}
