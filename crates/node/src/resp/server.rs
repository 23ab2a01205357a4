//! Commands about the connection and the node that are short: `PING`, `SELECT`, `RESET`, `TIME`, `COMMAND`, `CONFIG`.

use larder_door::resp::glob::Pattern;
use larder_door::resp::limits::CONFIG_PATTERNS_MAX;
use larder_door::resp::table::{COMMANDS, Command, Flags, Group};
use larder_door::resp::{Protocol, Verb, numbers};
use larder_format::namespace::WhenFull;

use super::call::Call;
use super::pubsub;
use super::session::Replies;

/// `PING [message]`.
pub(super) fn ping(call: &mut Call<'_>) {
    if call.len() > 2 {
        return call.wrong_count(Verb::Ping.command());
    }
    let message = call.args.get(1);
    if call.out.protocol() == Protocol::Resp2 && call.session.subscribed() > 0 {
        call.out.array(2);
        call.out.bulk(b"pong");
        return call.out.bulk(message.unwrap_or_default());
    }
    match message {
        Some(message) => call.out.bulk(message),
        None => call.out.simple("PONG"),
    }
}

/// `SELECT`: there is one database.
pub(super) fn select(call: &mut Call<'_>) {
    match numbers::integer(call.arg(1)) {
        Some(0) => call.out.ok(),
        Some(_) => call.out.error("ERR DB index is out of range"),
        None => call.not_an_integer(),
    }
}

/// `RESET`: as a new connection, but for its number.
pub(super) fn reset(call: &mut Call<'_>) {
    pubsub::forget_all(call.shared, call.session);
    pubsub::deliver(call);
    // Where answers are off nobody wants it.
    drop(call.session.client.take_mail());
    let session = &mut *call.session;
    session.queue = None;
    session.watched = None;
    session.replies = Replies::On;
    session.client.set_about(|about| about.name = "".into());
    session.forget_user(call.shared);
    call.out.set_protocol(Protocol::Resp2);
    call.session.client.set_protocol(Protocol::Resp2);
    call.out.simple("RESET");
}

/// `TIME`: seconds, and microseconds in the second.
pub(super) fn time(call: &mut Call<'_>) {
    let now_ms = call.now.ms();
    call.out.array(2);
    call.out.bulk_display(now_ms / 1000);
    call.out.bulk_display(now_ms % 1000 * 1000);
}

/// `COMMAND`.
pub(super) fn command(call: &mut Call<'_>) {
    if call.len() == 1 {
        call.out.array(COMMANDS.len());
        return COMMANDS.iter().for_each(|command| describe(call, command));
    }
    let Some(word) = call.word() else { return };
    let named = call.args.from(2);
    match word {
        "count" => call.out.count(COMMANDS.len()),
        "info" if named.is_empty() => {
            call.out.array(COMMANDS.len());
            COMMANDS.iter().for_each(|command| describe(call, command));
        }
        "info" => {
            call.out.array(named.len());
            for name in named.iter() {
                match Verb::find(name) {
                    Some(verb) => describe(call, verb.command()),
                    None => call.out.null_array(),
                }
            }
        }
        "list" if named.is_empty() => {
            call.out.array(COMMANDS.len());
            COMMANDS.iter().for_each(|command| call.out.bulk(command.name.as_bytes()));
        }
        "list" => call.syntax_error(),
        "getkeys" => keys(call),
        _ => docs(call),
    }
}

/// The groups of rights that Redis has for its commands.
fn categories(command: &Command) -> Vec<&'static str> {
    let flags = command.flags;
    let mut all = Vec::new();
    let of = [
        (flags.has(Flags::WRITE), "@write"),
        (flags.has(Flags::READONLY), "@read"),
        (command.keys.first > 0 || command.group == Group::Generic, "@keyspace"),
        (command.group == Group::String, "@string"),
        (flags.has(Flags::PUBSUB), "@pubsub"),
        (command.group == Group::Transactions, "@transaction"),
        (command.group == Group::Connection, "@connection"),
        (flags.has(Flags::ADMIN), "@admin"),
        (flags.has(Flags::FAST), "@fast"),
        (!flags.has(Flags::FAST), "@slow"),
    ];
    all.extend(of.iter().filter(|(is, _)| *is).map(|(_, name)| *name));
    all
}

fn describe(call: &mut Call<'_>, command: &Command) {
    let out = &mut *call.out;
    out.array(10);
    out.bulk(command.name.as_bytes());
    out.integer(command.arity.into());
    let flags: Vec<_> = command.flags.names().collect();
    out.set(flags.len());
    flags.iter().for_each(|flag| out.simple(flag));
    out.integer(command.keys.first.into());
    out.integer(command.keys.last.into());
    out.integer(command.keys.step.into());
    let categories = categories(command);
    out.set(categories.len());
    categories.iter().for_each(|name| out.simple(name));
    // Tips, key specifications beyond the three numbers, and words that are commands of their own: none.
    out.array(0);
    out.array(0);
    out.array(0);
}

fn keys(call: &mut Call<'_>) {
    let named = call.args.from(2);
    let Some(verb) = Verb::find(named.at(0)) else { return call.out.error("ERR Invalid command specified") };
    let command = verb.command();
    if !command.takes(named.len()) {
        return call.out.error("ERR Invalid number of arguments specified for command");
    }
    let keys: Vec<&[u8]> = command.keys(named).collect();
    if keys.is_empty() {
        return call.out.error("ERR The command has no key arguments");
    }
    call.out.array(keys.len());
    keys.iter().for_each(|key| call.out.bulk(key));
}

fn docs(call: &mut Call<'_>) {
    let named = call.args.from(2);
    let wanted: Vec<&Command> = if named.is_empty() {
        COMMANDS.iter().collect()
    } else {
        named.iter().filter_map(Verb::find).map(Verb::command).collect()
    };
    let out = &mut *call.out;
    out.map(wanted.len());
    for command in wanted {
        out.bulk(command.name.as_bytes());
        let words = command.verb.words();
        out.map(3 + usize::from(!words.is_empty()));
        let about = [("summary", command.summary), ("since", command.since), ("group", command.group.name())];
        for (name, value) in about {
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
        if !words.is_empty() {
            out.bulk(b"subcommands");
            out.map(words.len());
            for word in words {
                out.bulk_display(format_args!("{}|{}", command.name, word.name));
                out.map(1);
                out.bulk(b"summary");
                out.bulk(word.summary.as_bytes());
            }
        }
    }
}

/// `CONFIG`.
pub(super) fn config(call: &mut Call<'_>) {
    let Some(word) = call.word() else { return };
    match word {
        "get" => {
            let (settings, patterns) = (settings(call), call.args.from(2));
            if patterns.len() > CONFIG_PATTERNS_MAX {
                let words = format!("ERR too many patterns at once: at most {CONFIG_PATTERNS_MAX}");
                return call.out.error(words);
            }
            let patterns = patterns.iter().map(|pattern| Pattern::new(&pattern.to_ascii_lowercase()));
            let patterns: Vec<Pattern> = match patterns.collect() {
                Ok(patterns) => patterns,
                Err(why) => return call.out.error(format_args!("ERR {why}")),
            };
            let wanted = |name: &str| patterns.iter().any(|pattern| pattern.matches(name.as_bytes()));
            let found: Vec<_> = settings.iter().filter(|(name, _)| wanted(name)).collect();
            call.out.map(found.len());
            for (name, value) in found {
                call.out.bulk(name.as_bytes());
                call.out.bulk(value.as_bytes());
            }
        }
        "set" => set(call),
        _ => {
            call.out.error("ERR counters here are for everybody and only rise: compare two readings instead");
        }
    }
}

/// What happens now when memory is full, in Redis' words.
pub(super) fn policy(call: &Call<'_>) -> &'static str {
    match call.shared.space(&call.session.space.settings.name).settings.when_full {
        WhenFull::Refuse => "noeviction",
        WhenFull::Evict => "volatile-ttl",
    }
}

/// What Redis calls the settings of this door, and how they are.
fn settings(call: &Call<'_>) -> Vec<(&'static str, String)> {
    let config = &call.shared.config;
    let cap = call.shared.memory_usage().cap_bytes;
    let text = str::to_owned;
    vec![
        ("appendonly", text("no")),
        ("bind", config.listen.ip().to_string()),
        ("databases", text("1")),
        ("maxclients", config.connections_max.to_string()),
        ("maxmemory", cap.to_string()),
        ("maxmemory-policy", text(policy(call))),
        ("notify-keyspace-events", text("AKE")),
        ("port", config.listen.port().to_string()),
        ("proto-max-bulk-len", config.value_len_max.to_string()),
        ("requirepass", String::new()),
        ("save", String::new()),
        ("tcp-keepalive", text("0")),
        ("timeout", text("0")),
    ]
}

/// `CONFIG SET`: what is so already may be set, and notifications, which need no setting.
fn set(call: &mut Call<'_>) {
    let pairs = call.args.from(2);
    if !pairs.len().is_multiple_of(2) {
        return call.out.error("ERR wrong number of arguments for 'config|set' command");
    }
    let settings = settings(call);
    for at in (0..pairs.len()).step_by(2) {
        let (name, value) = (pairs.at(at).to_ascii_lowercase(), pairs.at(at + 1));
        let is_so = settings.iter().any(|(known, now)| known.as_bytes() == name && now.as_bytes() == value);
        if name != b"notify-keyspace-events" && !is_so {
            let name = String::from_utf8_lossy(&name).into_owned();
            return call.out.error(format_args!(
                "ERR CONFIG SET failed - '{name}' is the operator's to set: see `larder config show`"
            ));
        }
    }
    call.out.ok();
}
