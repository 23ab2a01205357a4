//! `CLIENT KILL`: ends connections of whoever asks, by what is known of them. Those of somebody else are as if they were not
//! there: with a token one's own connections can be tidied up, and nobody's work be disturbed.

use std::net::SocketAddr;
use std::sync::Arc;

use larder_door::resp::numbers;

use super::call::Call;
use super::clients::Client;

/// Which connections are meant: those of which all of this holds.
struct Meant<'a> {
    id: Option<u64>,
    peer: Option<Place>,
    local: Option<Place>,
    kind: Option<&'a [u8]>,
    user: Option<&'a [u8]>,
    /// Not the one that asks.
    skip_me: bool,
}

/// An address as it was given; `None`: it is none, and nobody is there.
type Place = Option<SocketAddr>;

fn place(text: &[u8]) -> Place {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `CLIENT KILL address`, `CLIENT KILL [ID id] [ADDR address] [LADDR address] [TYPE type] [USER name] [SKIPME yes|no]`
pub(super) fn kill(call: &mut Call<'_>) {
    let mut meant = Meant { id: None, peer: None, local: None, kind: None, user: None, skip_me: true };
    if call.len() == 3 {
        (meant.peer, meant.skip_me) = (Some(place(call.arg(2))), false);
        return match end(call, &meant) {
            0 => call.out.error("ERR No such client"),
            _ => call.out.ok(),
        };
    }
    if call.len().is_multiple_of(2) {
        for at in (2..call.len()).step_by(2) {
            if let Err(words) = read(call, &mut meant, at) {
                return call.out.error(words);
            }
        }
        let ended = end(call, &meant);
        return call.out.count(ended);
    }
    call.syntax_error();
}

fn read<'a>(call: &Call<'a>, meant: &mut Meant<'a>, at: usize) -> Result<(), String> {
    let value = call.arg(at + 1);
    match call.arg(at).to_ascii_lowercase().as_slice() {
        b"id" => {
            let id = numbers::within(value, 1, i64::MAX).and_then(|id| u64::try_from(id).ok());
            meant.id = Some(id.ok_or("ERR client-id should be greater than 0")?);
        }
        b"addr" => meant.peer = Some(place(value)),
        b"laddr" => meant.local = Some(place(value)),
        b"user" => meant.user = Some(value),
        b"type" if call.session.client.is_of(value).is_some() => meant.kind = Some(value),
        b"type" => {
            let kind: String = String::from_utf8_lossy(value).chars().take(64).collect();
            return Err(format!("ERR Unknown client type '{kind}'"));
        }
        b"skipme" if value.eq_ignore_ascii_case(b"yes") => meant.skip_me = true,
        b"skipme" if value.eq_ignore_ascii_case(b"no") => meant.skip_me = false,
        _ => return Err("ERR syntax error".to_owned()),
    }
    Ok(())
}

/// Ends those that are meant and belong to whoever asks; answers how many.
fn end(call: &mut Call<'_>, meant: &Meant<'_>) -> usize {
    let own = &call.session.client;
    let whose = own.about().user;
    let is_meant = |client: &Client| {
        meant.id.is_none_or(|id| client.id == id)
            && meant.peer.is_none_or(|place| place == Some(client.peer))
            && meant.local.is_none_or(|place| place == Some(client.local))
            && meant.kind.is_none_or(|kind| client.is_of(kind) == Some(true))
            && !(meant.skip_me && client.id == own.id)
            && client.about().user == whose
    };
    let name = whose.as_deref().unwrap_or("default");
    if meant.user.is_some_and(|user| user != name.as_bytes()) {
        return 0;
    }
    let found: Vec<Arc<Client>> = call.shared.clients.list(is_meant);
    for client in &found {
        if client.id == call.session.client.id {
            // Not before it is answered.
            call.session.closing = true;
        } else {
            client.cut();
        }
    }
    found.len()
}
