//! What goes wrong in a run: the network divides, machines crash and come back, clocks lie.

use larder_format::rng::{Rng, SeededRng};

use super::super::plan::{Class, SKEW_MS_MAX};
use super::{Event, Machine, Node, SWEEP_US, World};

impl World<'_> {
    pub(super) fn divide(&mut self) {
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

    pub(super) fn heal(&mut self) {
        self.divided = false;
        self.say(|| "the network is whole again".to_owned());
    }

    pub(super) fn crash(&mut self, node: u8) {
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

    pub(super) fn restart(&mut self, node: u8) {
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

    pub(super) fn join_again(&mut self, node: u8, life: u32) {
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

    pub(super) fn clock(&mut self) {
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

/// How far off a good clock is, in milliseconds.
pub(super) fn good_skew(rng: &mut SeededRng) -> i64 {
    rng.below(2 * SKEW_MS_MAX + 1) as i64 - SKEW_MS_MAX as i64
}
