//! From a request to what carries it out: is there such a command, may this client use it now, is it to be queued; then
//! the function that does it. The order of these checks is that of Redis, because clients' libraries know it.

use larder_door::resp::limits::{QUEUED_BYTES_MAX, QUEUED_MAX, QUEUED_WHOLE_MAX};
use larder_door::resp::table::{Command, Flags};
use larder_door::resp::{Protocol, Verb};

use super::call::Call;
use super::session::Replies;
use super::{client, commands, hello, info, pubsub, server};

/// Longest name of an unknown command that is repeated to its sender, in bytes.
const SHOWN_LEN_MAX: usize = 64;

/// Answers a request, which is for this command; `None`: for none that the table has. So it says, too.
pub(super) fn answer(call: &mut Call<'_>, verb: Option<Verb>) -> Option<Verb> {
    begin(call, verb);
    after(call);
    verb
}

/// Answers a request that is not even looked at, for a reason. What `MULTI` queued is spoilt by it as by any error; with
/// `EXEC` and `DISCARD` the transaction is over, because whoever sent them goes on as if it were.
pub(super) fn refuse(call: &mut Call<'_>, verb: Option<Verb>, why: &str) {
    let verb = verb.filter(|_| call.session.queue.is_some());
    call.session.spoil();
    if matches!(verb, Some(Verb::Exec | Verb::Discard)) {
        (call.session.queue, call.session.watched) = (None, None);
    }
    match verb {
        Some(Verb::Exec) => {
            call.out.error(format_args!("EXECABORT Transaction discarded because of: {why}"));
        }
        _ => call.out.error(format_args!("ERR {why}")),
    }
    after(call);
}

fn begin(call: &mut Call<'_>, verb: Option<Verb>) {
    let Some(verb) = verb else {
        call.session.spoil();
        unknown(call);
        return;
    };
    let command = verb.command();
    if !command.takes(call.len()) {
        if verb == Verb::Exec {
            // As Redis: a transaction ends with an EXEC that is wrong, too.
            (call.session.queue, call.session.watched) = (None, None);
            call.out.error(
                "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command",
            );
            return;
        }
        call.session.spoil();
        call.wrong_count(command);
        return;
    }
    if !may(call, command) {
        call.session.spoil();
        return;
    }
    if call.session.queue.is_some() && !command.flags.has(Flags::NOW) {
        queue(call, verb);
        return;
    }
    carry_out(call, verb);
}

/// Whether this client may use this command now; if not, it was told so.
fn may(call: &mut Call<'_>, command: &'static Command) -> bool {
    let flags = command.flags;
    if call.session.is_unknown && !flags.has(Flags::NO_AUTH) {
        call.out.error("NOAUTH Authentication required.");
        return false;
    }
    if let Some(identity) = &call.session.identity
        && let Err(why) = super::rights::check(identity, &call.session.space, command, call.args)
    {
        call.out.error(why);
        return false;
    }
    if call.session.subscriptions.is_some()
        && call.out.protocol() == Protocol::Resp2
        && call.session.subscribed() > 0
        && !flags.has(Flags::SUBSCRIBED)
    {
        let name = command.name;
        call.out.error(format_args!(
            "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
             context"
        ));
        return false;
    }
    true
}

fn queue(call: &mut Call<'_>, verb: Verb) {
    let Some(queue) = &mut call.session.queue else { return };
    if queue.push(verb, call.args).is_ok() {
        call.out.simple("QUEUED");
        return;
    }
    queue.spoil();
    call.out.error(format_args!(
        "ERR too much is queued: at most {QUEUED_MAX} commands and {QUEUED_BYTES_MAX} bytes of them, {QUEUED_WHOLE_MAX} about all \
         keys; use several transactions"
    ));
}

/// Whether a command may take so long that others have their turn after it.
pub(super) fn is_long(verb: Verb) -> bool {
    matches!(verb, Verb::Exec | Verb::Publish) || commands::is_about_all(verb)
}

/// Carries out a command that this client may use, whose number of arguments is right.
pub(crate) fn carry_out(call: &mut Call<'_>, verb: Verb) {
    match verb {
        Verb::Auth => hello::auth(call),
        Verb::Hello => hello::hello(call),
        Verb::Client => client::client(call),
        Verb::Echo => {
            let word = call.arg(1);
            call.out.bulk(word);
        }
        Verb::Ping => server::ping(call),
        Verb::Quit => {
            call.out.ok();
            call.session.closing = true;
        }
        Verb::Reset => server::reset(call),
        Verb::Select => server::select(call),
        Verb::CommandTable => server::command(call),
        Verb::Config => server::config(call),
        Verb::Time => server::time(call),
        Verb::Info => info::info(call),
        Verb::Subscribe | Verb::PSubscribe => pubsub::subscribe(call, verb == Verb::PSubscribe),
        Verb::Unsubscribe | Verb::PUnsubscribe => pubsub::unsubscribe(call, verb == Verb::PUnsubscribe),
        Verb::Publish => pubsub::publish(call),
        Verb::PubSub => pubsub::about(call),
        verb => value(call, verb),
    }
}

/// Carries out a command on values, if there is a namespace for it.
fn value(call: &mut Call<'_>, verb: Verb) {
    let space = &call.session.space;
    if space.refusal.is_some() || space.epoch != call.shared.namespaces.epoch() {
        // It may be there by now, or have other settings, or be gone.
        let again = call.shared.space(&call.session.space.settings.name);
        call.session.space = again;
    }
    match &call.session.space.refusal {
        Some(refusal) => call.out.error(refusal),
        None => commands::run(call, verb),
    }
}

fn unknown(call: &mut Call<'_>) {
    let name: String = String::from_utf8_lossy(call.arg(0)).chars().take(SHOWN_LEN_MAX).collect();
    if call.session.is_unknown {
        // As Redis: whoever has not said who they are still hears that there is no such command.
        tracing::debug!(name, "unknown command of somebody unknown");
    }
    call.out.error(format_args!(
        "ERR unknown command '{name}', Larder has no such command; see docs/doors/redis.md"
    ));
}

/// What `CLIENT REPLY` says of the answer that was written.
fn after(call: &mut Call<'_>) {
    match call.session.replies {
        Replies::On => {}
        Replies::Off => call.out.take_back(),
        Replies::SkipNext => call.session.replies = Replies::Skip,
        Replies::Skip => {
            call.out.take_back();
            call.session.replies = Replies::On;
        }
    }
}
