//! `HELLO` and `AUTH`: which protocol, and who it is.

use larder_door::resp::limits::AUTH_FAILURES_MAX;
use larder_door::resp::{Protocol, numbers};

use super::call::Call;
use super::client;

/// The version of Redis whose commands and answers this door has.
pub(super) const REDIS_VERSION: &str = "7.0.15";

/// `AUTH [user] password`: a token's id, and the token.
pub(super) fn auth(call: &mut Call<'_>) {
    if call.len() > 3 {
        call.syntax_error();
        return;
    }
    let user = (call.len() == 3).then(|| call.arg(1));
    let secret = call.arg(call.len() - 1);
    match authenticate(call, user, secret) {
        Ok(()) => call.out.ok(),
        Err(why) => call.out.error(why),
    }
}

fn authenticate(call: &mut Call<'_>, user: Option<&[u8]>, secret: &[u8]) -> Result<(), String> {
    let user = user.map_or(Ok(""), std::str::from_utf8).unwrap_or("?");
    // Before the token is looked up: one that is revoked meanwhile is looked up again.
    let epoch = call.shared.tokens.epoch();
    match call.shared.tokens.check_as(user, secret, call.now) {
        Ok(identity) => {
            if call.session.known_by_token(call.shared, identity, epoch) {
                return Ok(());
            }
            Err("NOPERM this connection listens to channels that this token does not reach: UNSUBSCRIBE first".to_owned())
        }
        Err(failure) => {
            let wait = call.shared.tokens.failed(&call.session.caller).err();
            call.session.auth_failures += 1;
            call.session.closing |= wait.is_some() || call.session.auth_failures >= AUTH_FAILURES_MAX;
            let wait = wait.map(|wait| format!("; too many of these: wait {} s", wait.as_secs() + 1));
            Err(format!("WRONGPASS {}{}", failure.message, wait.unwrap_or_default()))
        }
    }
}

/// `HELLO [protover [AUTH user password] [SETNAME name]]`.
pub(super) fn hello(call: &mut Call<'_>) {
    let mut protocol = call.out.protocol();
    if let Some(version) = call.args.get(1) {
        protocol = match numbers::integer(version) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return call.out.error("NOPROTO unsupported protocol version"),
            None => return call.out.error("ERR Protocol version is not an integer or out of range"),
        };
    }
    let (mut user, mut name) = (None, None);
    let mut at = 2;
    while let Some(option) = call.args.get(at) {
        let left = call.len() - at - 1;
        if option.eq_ignore_ascii_case(b"auth") && left >= 2 {
            user = Some((call.arg(at + 1), call.arg(at + 2)));
            at += 3;
        } else if option.eq_ignore_ascii_case(b"setname") && left >= 1 {
            name = Some(call.arg(at + 1));
            at += 2;
        } else {
            let option = String::from_utf8_lossy(option).into_owned();
            return call.out.error(format_args!("ERR Syntax error in HELLO option '{option}'"));
        }
    }
    if let Some((user, secret)) = user
        && let Err(why) = authenticate(call, Some(user), secret)
    {
        return call.out.error(why);
    }
    if call.session.is_unknown {
        return call.out.error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> \
             option can be used to authenticate the client and select the RESP protocol version at the same time",
        );
    }
    if let Some(name) = name
        && !client::set_name(call, name)
    {
        return;
    }
    call.out.set_protocol(protocol);
    call.session.client.set_protocol(protocol);
    greet(call, protocol);
}

fn greet(call: &mut Call<'_>, protocol: Protocol) {
    let id = i64::try_from(call.session.client.id).unwrap_or(i64::MAX);
    call.out.map(7);
    for (name, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        call.out.bulk(name.as_bytes());
        call.out.bulk(value.as_bytes());
    }
    call.out.bulk(b"proto");
    call.out.integer(protocol.number());
    call.out.bulk(b"id");
    call.out.integer(id);
    for (name, value) in [("mode", "standalone"), ("role", "master")] {
        call.out.bulk(name.as_bytes());
        call.out.bulk(value.as_bytes());
    }
    call.out.bulk(b"modules");
    call.out.array(0);
}
