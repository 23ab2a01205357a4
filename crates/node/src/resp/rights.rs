//! What a certificate or token lets its holder do at this door: reading, changing values, and on which keys.
//!
//! Where a token is limited to keys with certain beginnings, that holds for channels as well, and for notifications about
//! keys by the key; what looks at all keys is refused, but for listings whose pattern begins with what is allowed.

use larder_door::resp::table::{Command, Flags, Group};
use larder_door::resp::{Args, Verb};

use super::session::Space;
use crate::identity::{Identity, Right};

/// What names of channels about one key begin with.
const KEYSPACE: &[u8] = b"__keyspace@0__:";

/// The least right that a request needs; `None`: none at all, it is about the connection.
fn needed(command: &Command, args: Args<'_>) -> Option<Right> {
    match command.verb {
        Verb::Publish => Some(Right::Write),
        // It tells whether keys change.
        Verb::Watch => Some(Right::Read),
        // What is there stays as it is.
        Verb::SetNx | Verb::MSetNx => Some(Right::AppendOnly),
        Verb::Set if only_if_absent(args.from(3)) => Some(Right::AppendOnly),
        _ if command.flags.has(Flags::WRITE) => Some(Right::Write),
        _ if command.group == Group::Connection || command.group == Group::Transactions => None,
        _ => Some(Right::Read),
    }
}

/// Whether these options of `SET` leave alone what is there. What follows `IFEQ` is a value, whatever it says.
fn only_if_absent(options: Args<'_>) -> bool {
    let has = |name: &[u8]| options.iter().any(|option| option.eq_ignore_ascii_case(name));
    has(b"nx") && !has(b"ifeq")
}

/// Whether somebody may do this.
///
/// # Errors
/// What is told instead.
pub(super) fn check(
    who: &Identity,
    space: &Space,
    command: &'static Command,
    args: Args<'_>,
) -> Result<(), String> {
    let Some(right) = needed(command, args) else { return Ok(()) };
    let name = command.name;
    if who.right < right {
        return Err(format!(
            "NOPERM this user has no permissions to run the '{name}' command: the {} lacks the right {right}",
            who.shown()
        ));
    }
    who.check_somewhere(right, &space.settings.name)
        .map_err(|failure| format!("NOPERM {}", failure.message))?;
    if who.prefixes.is_none() {
        return Ok(());
    }
    if may_touch(who, command, args) {
        return Ok(());
    }
    Err(format!(
        "NOPERM this user has no permissions to access one of the keys used as arguments of '{name}': the {} has rights only \
         on some beginnings of keys",
        who.shown()
    ))
}

/// Whether all that a request names begins with what somebody is limited to.
fn may_touch(who: &Identity, command: &Command, args: Args<'_>) -> bool {
    let rest = args.from(1);
    match command.verb {
        Verb::Info | Verb::Time | Verb::CommandTable | Verb::Config => true,
        Verb::Scan => {
            // In pairs, as `SCAN` reads them. Of several patterns the last counts there: none may reach further.
            let mut patterns = (2..args.len())
                .step_by(2)
                .filter(|at| args.at(*at).eq_ignore_ascii_case(b"match"))
                .map(|at| args.at(at + 1))
                .peekable();
            patterns.peek().is_some() && patterns.all(|pattern| who.may_touch(literal(pattern)))
        }
        Verb::Keys => who.may_touch(literal(args.at(1))),
        Verb::Publish => who.may_touch(args.at(1)),
        Verb::Subscribe => rest.iter().all(|channel| may_hear(who, channel, false)),
        Verb::PSubscribe => rest.iter().all(|pattern| may_hear(who, pattern, true)),
        Verb::Unsubscribe | Verb::PUnsubscribe => true,
        _ => command.keys.first > 0 && command.keys(args).all(|key| who.may_touch(key)),
    }
}

/// Whether somebody's limit to keys lets it listen to a channel, or to all that match a pattern.
fn may_hear(who: &Identity, name: &[u8], is_pattern: bool) -> bool {
    who.may_touch(about(if is_pattern { literal(name) } else { name }))
}

/// Whether somebody may go on to listen to these channels (or patterns) of a namespace, to which somebody else had begun to
/// listen on the same connection.
pub(super) fn may_go_on<'n>(
    who: &Identity,
    space: &Space,
    mut names: impl Iterator<Item = (&'n [u8], bool)>,
) -> bool {
    who.check_somewhere(Right::Read, &space.settings.name).is_ok()
        && names.all(|(name, is_pattern)| may_hear(who, name, is_pattern))
}

/// What all that matches a pattern begins with.
fn literal(pattern: &[u8]) -> &[u8] {
    let end = pattern.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(pattern.len());
    &pattern[..end]
}

/// What a channel is about: a key, or itself. All events of one kind are about no key in particular.
fn about(channel: &[u8]) -> &[u8] {
    channel.strip_prefix(KEYSPACE).unwrap_or(channel)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use larder_door::resp::request::Span;
    use larder_format::ids::TokenId;

    use super::*;
    use crate::identity::{Proof, Serial};

    fn limited(right: Right, prefix: Option<&str>) -> Identity {
        Identity {
            proof: Proof::Token(TokenId([1; 8])),
            name: "x".to_owned(),
            serial: Serial::of(&[1]),
            right,
            namespaces: None,
            prefixes: prefix.map(|prefix| vec![Bytes::copy_from_slice(prefix.as_bytes())]),
            not_before_ms: 0,
            not_after_ms: u64::MAX,
        }
    }

    fn may(who: &Identity, line: &str) -> bool {
        use larder_format::ids::NamespaceId;
        use larder_format::namespace::{Class, Namespace, Privacy, ScanOrder};
        let settings = Namespace::new("raw", Privacy::Raw, Class::Memory, ScanOrder::Hash);
        let space = Space { id: NamespaceId::of("raw"), settings: settings.into(), epoch: 0, refusal: None };
        let (mut words, mut spans): (Vec<u8>, Vec<Span>) = (Vec::new(), Vec::new());
        larder_door::resp::inline::split(line.as_bytes(), &mut words, &mut spans).unwrap();
        let args = Args::new(&words, &spans);
        let command = Verb::find(args.at(0)).unwrap().command();
        check(who, &space, command, args).is_ok()
    }

    #[test]
    fn each_right_lets_its_holder_do_what_it_says() {
        let (read, append, write) =
            (limited(Right::Read, None), limited(Right::AppendOnly, None), limited(Right::Write, None));
        for line in ["get a", "scan 0", "watch a", "ttl a", "info", "subscribe a", "ping", "multi"] {
            assert!(may(&read, line), "{line}");
        }
        for line in ["set a b", "del a", "publish a b", "expire a 1", "getdel a", "flushdb"] {
            assert!(!may(&read, line) && !may(&append, line) && may(&write, line), "{line}");
        }
        for line in ["setnx a b", "set a b ex 1 nx", "msetnx a b"] {
            assert!(!may(&read, line) && may(&append, line), "{line}");
        }
    }

    #[test]
    fn a_limit_to_keys_holds_for_whatever_names_or_lists_keys() {
        let who = limited(Right::Write, Some("app:"));
        for line in [
            "get app:1",
            "mset app:1 a app:2 b",
            "rename app:1 app:2",
            "scan 0 match app:* count 9",
            "scan 0 match app:* match app:x*",
            "watch app:1 app:2",
            "keys app:x*",
            "subscribe app:news __keyspace@0__:app:1",
            "psubscribe __keyspace@0__:app:*",
            "publish app:news x",
            "info",
            "ping",
        ] {
            assert!(may(&who, line), "{line}");
        }
        for line in [
            "get other",
            "mset app:1 a other b",
            "rename app:1 other",
            "scan 0",
            "scan 0 count 5 match *",
            "scan 0 match app:* match *",
            "scan 0 match * match app:*",
            "scan 0 type match match *",
            "scan 0 match",
            "watch app:1 other",
            "keys *",
            "keys ap*",
            "randomkey",
            "dbsize",
            "flushdb",
            "subscribe news",
            "subscribe __keyevent@0__:set",
            "psubscribe *",
            "psubscribe __keyspace@0__:*",
            "publish news x",
            "pubsub channels",
        ] {
            assert!(!may(&who, line), "{line}");
        }
    }
}
