//! `CLIENT`: about this connection and the others.

use std::collections::HashSet;

use larder_door::resp::limits::CLIENT_NAME_BYTES_MAX;
use larder_door::resp::numbers;

use super::call::Call;
use super::clients::Client;
use super::kill;
use super::session::Replies;

/// `CLIENT`.
pub(super) fn client(call: &mut Call<'_>) {
    let Some(word) = call.word() else { return };
    match word {
        "id" => {
            let id = i64::try_from(call.session.client.id).unwrap_or(i64::MAX);
            call.out.integer(id);
        }
        "getname" => {
            let name = call.session.client.about().name;
            if name.is_empty() { call.out.null() } else { call.out.bulk(name.as_bytes()) }
        }
        "getredir" => call.out.integer(-1),
        "info" => {
            let line = call.session.client.line();
            call.out.verbatim("txt", &format!("{line}\n"));
        }
        "list" => list(call),
        "kill" => kill::kill(call),
        "no-evict" | "no-touch" => match on_or_off(call.arg(2)) {
            Some(_) => call.out.ok(),
            None => call.syntax_error(),
        },
        "reply" => reply(call),
        "setname" => {
            let name = call.arg(2);
            if set_name(call, name) {
                call.out.ok();
            }
        }
        _ => set_info(call),
    }
}

fn on_or_off(word: &[u8]) -> Option<bool> {
    match word.to_ascii_lowercase().as_slice() {
        b"on" => Some(true),
        b"off" => Some(false),
        _ => None,
    }
}

fn reply(call: &mut Call<'_>) {
    match call.arg(2).to_ascii_lowercase().as_slice() {
        b"on" => {
            call.session.replies = Replies::On;
            call.out.ok();
        }
        b"off" => call.session.replies = Replies::Off,
        b"skip" => {
            // Also where the answer to this one would not have been sent, as in Redis.
            if call.session.replies != Replies::Off {
                call.session.replies = Replies::SkipNext;
            }
        }
        _ => call.syntax_error(),
    }
}

/// Printable, without blanks, and short.
fn is_plain(text: &[u8]) -> bool {
    text.len() <= CLIENT_NAME_BYTES_MAX && text.iter().all(u8::is_ascii_graphic)
}

/// Gives the connection a name; answers only if that is not possible.
pub(super) fn set_name(call: &mut Call<'_>, name: &[u8]) -> bool {
    if !is_plain(name) {
        call.out.error("ERR Client names cannot contain spaces, newlines or special characters.");
        return false;
    }
    let name = String::from_utf8_lossy(name);
    call.session.client.set_about(|about| about.name = name.as_ref().into());
    true
}

fn set_info(call: &mut Call<'_>) {
    let (option, value) = (call.arg(2), call.arg(3));
    let is_name = option.eq_ignore_ascii_case(b"lib-name");
    if !is_name && !option.eq_ignore_ascii_case(b"lib-ver") {
        let option = String::from_utf8_lossy(option).into_owned();
        return call.out.error(format_args!("ERR Unrecognized option '{option}'"));
    }
    if !is_plain(value) {
        let option = if is_name { "lib-name" } else { "lib-ver" };
        return call
            .out
            .error(format_args!("ERR {option} cannot contain spaces, newlines or special characters."));
    }
    let value = String::from_utf8_lossy(value);
    call.session.client.set_about(|about| {
        *(if is_name { &mut about.library } else { &mut about.library_version }) = value.as_ref().into();
    });
    call.out.ok();
}

/// `CLIENT LIST [TYPE type] [ID id ...]`.
fn list(call: &mut Call<'_>) {
    let (option, rest) = (call.args.get(2), call.args.from(3));
    // Whoever is limited to a part of the values has no business with who else is there.
    let is_limited =
        call.session.identity.as_ref().is_some_and(|who| who.namespaces.is_some() || who.prefixes.is_some());
    let own = is_limited.then(|| call.session.client.about().user);
    let is_shown = |client: &Client| own.as_ref().is_none_or(|own| client.about().user == *own);
    let found = match option.map(<[u8]>::to_ascii_lowercase).as_deref() {
        None => call.shared.clients.list(is_shown),
        Some(b"type") if rest.len() == 1 => {
            let kind = rest.at(0);
            if call.session.client.is_of(kind).is_none() {
                let kind = String::from_utf8_lossy(kind).into_owned();
                return call.out.error(format_args!("ERR Unknown client type '{kind}'"));
            }
            call.shared.clients.list(|client: &Client| client.is_of(kind) == Some(true) && is_shown(client))
        }
        Some(b"id") if !rest.is_empty() => {
            // A set: others wait while all connections are looked at.
            let ids: Option<HashSet<u64>> =
                rest.iter().map(|id| numbers::within(id, 1, i64::MAX)?.try_into().ok()).collect();
            let Some(ids) = ids else { return call.out.error("ERR Invalid client ID") };
            call.shared.clients.list(|client| ids.contains(&client.id) && is_shown(client))
        }
        Some(_) => return call.syntax_error(),
    };
    let mut text = String::new();
    for client in found {
        text.push_str(&client.line());
        text.push('\n');
    }
    call.out.verbatim("txt", &text);
}
