//! Commands on values, one file for each family. Each looks at its arguments, then at the values, and writes one reply;
//! what it answers instead of what was asked for is a [`Fault`].
//!
//! A command's keys are locked before it begins, and all of a transaction's before its first command: so everything here
//! happens as one step, alone or between `MULTI` and `EXEC`, by the same code. What is about the whole namespace
//! ([`whole`]) is alone a step for each part that it looks at.

mod edit;
mod expire;
mod fault;
mod get;
mod keys;
mod lifetime;
mod rename;
mod set;
mod several;
mod sum;
mod transaction;
mod whole;
mod work;

use larder_door::resp::{Args, Out, Verb};
use larder_format::clock::Hlc;

use super::call::Call;
use super::session::Space;
use super::shared::Shared;
use crate::plain::{Held, Until, Values};
use fault::{Fault, denied};
use whole::Whole;
pub(super) use whole::is_about_all;

/// A command at work: the keys it may touch, and where its reply goes.
struct Run<'r, 'v> {
    held: &'r mut Held<'v>,
    out: &'r mut Out,
    shared: &'r Shared,
    verb: Verb,
}

impl Run<'_, '_> {
    /// Milliseconds since 1970, now.
    fn now_ms(&self) -> u64 {
        self.held.values().now.ms()
    }

    /// Tells whoever listens what happened to a key.
    fn tell(&self, event: &'static str, key: &[u8]) {
        self.shared.notify.tell(self.held.values().id, event, key);
    }

    /// Writes a value.
    fn put(&mut self, key: &[u8], parts: &[&[u8]], until: Until) -> Result<(), Fault> {
        self.held.put(key, parts, until).map_err(denied(self.verb))
    }

    /// Says no where several keys cannot be changed as one.
    fn check_atomic(&self) -> Result<(), Fault> {
        if self.held.values().is_atomic() { Ok(()) } else { Err(Fault::NotAtomic(self.verb)) }
    }
}

/// The values that a session works on.
fn values<'a>(shared: &'a Shared, space: &'a Space, now: Hlc) -> Values<'a> {
    Values {
        table: &shared.memory,
        used: shared.sources.log.used(),
        namespace: &space.settings,
        id: space.id,
        value_len_max: shared.config.value_len_max,
        now,
    }
}

/// Carries out a command on values.
pub(super) fn run(call: &mut Call<'_>, verb: Verb) {
    match verb {
        Verb::Multi => transaction::multi(call),
        Verb::Exec => transaction::exec(call),
        Verb::Discard => transaction::discard(call),
        Verb::Watch => transaction::watch(call),
        Verb::Unwatch => transaction::unwatch(call),
        Verb::DbSize | Verb::FlushAll | Verb::FlushDb | Verb::Keys | Verb::RandomKey | Verb::Scan => {
            let values = values(call.shared, &call.session.space, call.now);
            whole::run(Whole::Free(values), verb, call.args, call.out);
        }
        _ => {
            let values = values(call.shared, &call.session.space, call.now);
            let keys = verb.command().keys;
            let mut held = if i16::from(keys.first) == i16::from(keys.last) {
                values.lock_one(call.args.at(usize::from(keys.first)))
            } else {
                values.lock_keys(verb.command().keys(call.args))
            };
            on_values(&mut held, call.shared, call.out, verb, call.args);
            call.session.moved += held.moved();
        }
    }
}

/// Carries out a command whose keys are held.
fn on_values(held: &mut Held<'_>, shared: &Shared, out: &mut Out, verb: Verb, args: Args<'_>) {
    let mut run = Run { held, out, shared, verb };
    if let Err(fault) = carry_out(&mut run, args) {
        run.out.error(fault);
    }
}

fn carry_out(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    match run.verb {
        Verb::Get => get::get(run, args),
        Verb::GetDel => get::getdel(run, args),
        Verb::GetEx => get::getex(run, args),
        Verb::GetRange => get::getrange(run, args),
        Verb::StrLen => get::strlen(run, args),
        Verb::Set => set::set(run, args),
        Verb::SetEx | Verb::PSetEx => set::setex(run, args),
        Verb::SetNx => set::setnx(run, args),
        Verb::GetSet => set::getset(run, args),
        Verb::MGet => several::mget(run, args),
        Verb::MSet => several::mset(run, args),
        Verb::MSetNx => several::msetnx(run, args),
        Verb::Append => edit::append(run, args),
        Verb::SetRange => edit::setrange(run, args),
        Verb::Incr => sum::add(run, args.at(1), 1),
        Verb::Decr => sum::add(run, args.at(1), -1),
        Verb::IncrBy => sum::incrby(run, args),
        Verb::DecrBy => sum::decrby(run, args),
        Verb::IncrByFloat => sum::incrbyfloat(run, args),
        Verb::Del | Verb::Unlink => keys::del(run, args),
        Verb::Exists | Verb::Touch => keys::exists(run, args),
        Verb::Type => keys::kind(run, args),
        Verb::Rename | Verb::RenameNx => rename::rename(run, args),
        Verb::Copy => rename::copy(run, args),
        Verb::Expire | Verb::PExpire | Verb::ExpireAt | Verb::PExpireAt => expire::expire(run, args),
        Verb::Ttl | Verb::PTtl | Verb::ExpireTime | Verb::PExpireTime => expire::ttl(run, args),
        Verb::Persist => expire::persist(run, args),
        // All others are carried out elsewhere.
        _ => Err(Fault::Words("ERR this command has no place here")),
    }
}
