//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! EXEC locks the keys of all that was queued, and those that are watched, before it looks whether one of these has
//! changed; so nobody comes between the look and the last command. Where something is about the whole namespace (KEYS,
//! SCAN, RANDOMKEY, FLUSHDB), all keys are locked. How much it may do at once is bounded ([`work`]).

use std::sync::atomic::Ordering;

use larder_door::resp::Verb;
use larder_door::resp::limits::{EXEC_WORK_BYTES_MAX, WATCHED_MAX};

use super::super::call::Call;
use super::super::dispatch;
use super::super::queue::Queue;
use super::super::watching::Watching;
use super::whole::{self, Whole};
use super::work;
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
    let mut held = if queue.iter().any(|(verb, _)| whole::is_about_all(verb)) {
        values.lock_all()
    } else {
        values.lock_keys(keys_of(&queue, watching.as_deref()))
    };
    if let Some(watching) = &watching {
        // One that has ended since is removed when it is met, which is a change.
        watching.keys().for_each(|key| {
            held.is_there(key);
        });
        if watching.flag.load(Ordering::Acquire) {
            return call.out.null_array();
        }
    }
    if !work::is_bearable(shared, &mut held, &queue) {
        return call.out.error(format_args!(
            "EXECABORT Transaction discarded: it would copy and look through more than {EXEC_WORK_BYTES_MAX} bytes; use several \
             transactions"
        ));
    }
    call.session.in_exec = true;
    call.out.array(queue.len());
    for (verb, args) in queue.iter() {
        call.out.begin_part();
        let is_about_all = whole::is_about_all(verb);
        if !is_about_all && !is_on_keys(verb) {
            dispatch::carry_out(&mut call.with(args), verb);
        } else if call.session.space.id != space.id {
            call.out.error("ERR another namespace was chosen since the transaction began");
        } else if is_about_all {
            whole::run(Whole::Held(&mut held), verb, args, call.out);
        } else {
            on_values(&mut held, shared, call.out, verb, args);
        }
        call.out.finish_part();
    }
    call.session.in_exec = false;
    call.session.moved += held.moved();
}

fn is_on_keys(verb: Verb) -> bool {
    verb.command().keys.first > 0
}

/// The keys of what was queued, and those that are watched.
fn keys_of<'a>(queue: &'a Queue, watching: Option<&'a Watching>) -> impl Iterator<Item = &'a [u8]> {
    let watched = watching.into_iter().flat_map(Watching::keys);
    queue.iter().flat_map(|(verb, args)| verb.command().keys(args)).chain(watched)
}

fn has_several_keys(queue: &Queue, watching: Option<&Watching>) -> bool {
    let mut keys = keys_of(queue, watching);
    let first = keys.next();
    keys.any(|key| Some(key) != first)
}
