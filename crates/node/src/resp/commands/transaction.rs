//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! EXEC locks the keys of all that was queued, and those that are watched, before it looks whether one of these has
//! changed; so nobody comes between the look and the last command. What is about the whole namespace (KEYS, SCAN,
//! RANDOMKEY, FLUSHDB) is a step of its own: the locks are let go for it, and what follows is locked anew.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use larder_door::resp::Verb;
use larder_door::resp::limits::WATCHED_MAX;

use super::super::call::Call;
use super::super::dispatch;
use super::super::queue::Queue;
use super::super::watching::Watching;
use super::{on_values, values};

/// Begins to queue.
pub(super) fn multi(call: &mut Call<'_>) {
    if call.session.queue.is_some() {
        return call.out.error("ERR MULTI calls can not be nested");
    }
    call.session.queue = Some(Box::default());
    call.out.ok();
}

/// Forgets what was queued, and what is watched.
pub(super) fn discard(call: &mut Call<'_>) {
    if call.session.queue.take().is_none() {
        return call.out.error("ERR DISCARD without MULTI");
    }
    call.session.watched = None;
    call.out.ok();
}

/// Watches keys for the next EXEC.
pub(super) fn watch(call: &mut Call<'_>) {
    if call.session.queue.is_some() {
        return call.out.error("ERR WATCH inside MULTI is not allowed");
    }
    let values = values(call.shared, &call.session.space, call.now);
    let watching = call.session.watched.get_or_insert_default();
    for key in call.args.from(1).iter() {
        if watching.flag.load(Ordering::Acquire) {
            // EXEC will do nothing in any case.
            break;
        }
        if watching.has(key) {
            continue;
        }
        if !watching.add(key) {
            return call.out.error(format_args!("ERR too many keys are watched: at most {WATCHED_MAX}"));
        }
        let mut held = values.lock_one(key);
        // One that has ended goes now: that it does is no change to whoever begins to watch.
        held.is_there(key);
        held.watch(key, &watching.flag);
    }
    call.out.ok();
}

/// Forgets what is watched.
pub(super) fn unwatch(call: &mut Call<'_>) {
    call.session.watched = None;
    call.out.ok();
}

/// Carries out what was queued.
pub(super) fn exec(call: &mut Call<'_>) {
    let Some(queue) = call.session.queue.take() else { return call.out.error("ERR EXEC without MULTI") };
    let watching = call.session.watched.take();
    if queue.is_spoilt() {
        return call.out.error("EXECABORT Transaction discarded because of previous errors.");
    }
    let (shared, space) = (call.shared, call.session.space.clone());
    let values = values(shared, &space, call.now);
    if !values.is_atomic() && has_several_keys(&queue, watching.as_deref()) {
        return call.out.error(
            "EXECABORT Transaction discarded: a namespace that wants several replicas changes one key at a time; watch \
             and write one key only",
        );
    }
    let watched = watching.iter().flat_map(|watching| watching.keys());
    let mut held = Some(values.lock_keys(keys_from(&queue, 0).chain(watched)));
    if let (Some(watching), Some(held)) = (&watching, &mut held) {
        // One that has ended since is removed when it is met, which is a change.
        watching.keys().for_each(|key| {
            held.is_there(key);
        });
        if watching.flag.load(Ordering::Acquire) {
            return call.out.null_array();
        }
    }
    call.out.array(queue.len());
    for (at, (verb, args)) in queue.iter().enumerate() {
        if is_on_keys(verb) && call.session.space.id != space.id {
            call.out.error("ERR another namespace was chosen since the transaction began");
        } else if is_on_keys(verb) {
            let held = held.get_or_insert_with(|| values.lock_keys(keys_from(&queue, at)));
            on_values(held, shared, call.out, verb, args);
        } else {
            if is_on_all(verb) {
                held = None;
            }
            dispatch::carry_out(&mut call.with(args), verb);
        }
    }
}

fn is_on_keys(verb: Verb) -> bool {
    verb.command().keys.first > 0
}

fn is_on_all(verb: Verb) -> bool {
    matches!(verb, Verb::Scan | Verb::Keys | Verb::RandomKey | Verb::FlushDb | Verb::FlushAll)
}

/// The keys of what was queued, from this request on.
fn keys_from(queue: &Queue, at: usize) -> impl Iterator<Item = &[u8]> {
    queue.iter().skip(at).flat_map(|(verb, args)| verb.command().keys(args))
}

fn has_several_keys(queue: &Queue, watching: Option<&Watching>) -> bool {
    let watched = watching.into_iter().flat_map(Watching::keys);
    let keys: BTreeSet<&[u8]> = keys_from(queue, 0).chain(watched).take(1 + WATCHED_MAX).collect();
    keys.len() > 1
}
