//! `larder token`: texts that open a node's raw doors as far as they say. One file per verb. A token is a secret: it comes
//! from standard input or a file and goes to standard output or a file, never through arguments or a log.

mod create;
mod list;
mod narrow;
mod revoke;
mod show;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use larder_client::local::io_words;
use larder_format::ids::TokenId;
use larder_format::limits::TOKEN_LEN_MAX;
use larder_format::right::Right;
use larder_format::token::caveat::RIGHT_MAX;
use larder_format::token::{Caveat, Grant, Token};
use larder_wire::token::TokenInfo;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::atomic_file::{self, Existing};
use crate::cli::Context;
use crate::duration;
use crate::failure::{Failure, Outcome, clean, shown};
use crate::moment;

/// Most bytes read where a token is expected: the longest text of one, and a line end.
const TEXT_LEN_MAX: u64 = (2 * TOKEN_LEN_MAX) as u64;

/// Flags of `token`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a token for a program
    ///
    /// The token goes to standard output, once: the node does not keep it. Over HTTP it is sent as Authorization: Bearer
    /// TOKEN, over the Redis protocol as the password, with the token's id as the user. The door must ask for it: settings
    /// http_auth and redis_auth.
    Create(create::Args),
    /// All tokens: what they grant, until when, and when each was last used
    List,
    /// What is known of a token, or what one says that is at hand
    Show(show::Args),
    /// Revoke tokens and all that were made of them; connections that use them end within a second
    Revoke(revoke::Args),
    /// Make a token of another one that may do less
    ///
    /// Needs no node, and no leave of anybody: whoever holds a token can hand on a weaker one. It reads the token from
    /// standard input and writes the new one to standard output. When the first is revoked, so is this.
    Narrow(narrow::Args),
}

/// Runs a verb.
///
/// # Errors
/// As the verb says.
pub fn run(context: &Context, args: &Args) -> Outcome {
    match &args.verb {
        Verb::Create(args) => create::run(context, args),
        Verb::List => list::run(context),
        Verb::Show(args) => show::run(context, args),
        Verb::Revoke(args) => revoke::run(context, args),
        Verb::Narrow(args) => narrow::run(context, args),
    }
}

/// Where a token is limited to.
#[derive(Debug, Clone, Default, clap::Args)]
struct Limits {
    /// Only in this namespace (may be given several times)
    #[arg(long, value_name = "NS")]
    namespace: Vec<String>,
    /// Only keys that begin with this (may be given several times)
    #[arg(long, value_name = "PREFIX")]
    prefix: Vec<String>,
    /// Good for this long
    #[arg(long, value_name = "TIME", value_parser = duration::lifetime)]
    expires: Option<Duration>,
}

impl Limits {
    /// As caveats of a token that is made now.
    ///
    /// # Errors
    /// Invalid, with what cannot be.
    fn caveats(&self, now_ms: u64) -> Outcome<Vec<Caveat>> {
        let invalid = |bad: larder_format::token::BadToken| Failure::invalid(bad.to_string());
        let mut caveats = Vec::new();
        if !self.namespace.is_empty() {
            caveats.push(Caveat::namespaces(self.namespace.iter().cloned()).map_err(invalid)?);
        }
        if !self.prefix.is_empty() {
            let prefixes = self.prefix.iter().map(|prefix| prefix.clone().into());
            caveats.push(Caveat::prefixes(prefixes).map_err(invalid)?);
        }
        if let Some(length) = self.expires {
            let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
            caveats.push(Caveat::Expires(now_ms.saturating_add(length_ms)));
        }
        Ok(caveats)
    }
}

fn parse_right(text: &str) -> Result<Right, String> {
    let right = Right::named(text).filter(|right| *right <= RIGHT_MAX);
    right.ok_or_else(|| {
        "one of read, append-only, write (admin is for certificates: larder ca issue)".to_owned()
    })
}

/// Reads a token from a file, or from standard input.
///
/// # Errors
/// If it cannot be read; invalid for what is none. The text itself is never in the words.
fn read(file: Option<&Path>) -> Outcome<Token> {
    let mut text = Zeroizing::new(String::new());
    let read = match file {
        Some(path) => {
            let file = File::open(path).map_err(|e| Failure::io("read the token file", path, &e))?;
            file.take(TEXT_LEN_MAX).read_to_string(&mut text)
        }
        None => io::stdin().lock().take(TEXT_LEN_MAX).read_to_string(&mut text),
    };
    let place = file.map_or_else(|| "standard input".to_owned(), shown);
    read.map_err(|e| Failure::io_text(format!("cannot read a token from {place}: {}", io_words(&e)), &e))?;
    Token::parse(text.trim())
        .map_err(|bad| Failure::invalid(format!("what was read from {place} cannot be used: {bad}")))
}

/// Hands a token over: to a new file that only this user reads, or to standard output.
///
/// # Errors
/// If it cannot be written; a conflict if the file is there.
fn hand_over(context: &Context, text: &Zeroizing<String>, to: Option<&PathBuf>) -> Outcome {
    let line = Zeroizing::new(format!("{}\n", text.as_str()));
    match to {
        Some(path) => atomic_file::write(path, line.as_bytes(), Existing::Keep),
        None => context.output.text(&line),
    }
}

/// A new file must not be there yet; looked at before a token is made for it.
fn must_be_free(to: Option<&PathBuf>) -> Outcome {
    match to.filter(|path| path.exists()) {
        Some(path) => Err(Failure::new(
            larder_format::error::Kind::Conflict,
            format!("{} is there already", shown(path)),
        )
        .hint("name another file with --to")),
        None => Ok(()),
    }
}

fn grant_json(id: TokenId, grant: &Grant) -> Value {
    let prefixes = grant.prefixes.as_ref().map(|all| all.iter().map(|p| shown_prefix(p)).collect::<Vec<_>>());
    json!({
        "id": id.to_string(),
        "right": grant.right.name(),
        "namespaces": grant.namespaces,
        "prefixes": prefixes,
        "expires_ms": grant.expires_ms,
    })
}

fn info_json(info: &TokenInfo, now_ms: u64) -> Value {
    let mut document = grant_json(info.id, &info.grant);
    if let Some(fields) = document.as_object_mut() {
        fields.insert("name".to_owned(), info.name.clone().into());
        fields.insert("created_ms".to_owned(), info.created_ms.into());
        fields.insert("used_ms".to_owned(), info.used_ms.into());
        fields.insert("state".to_owned(), if info.grant.is_over(now_ms) { "expired" } else { "good" }.into());
    }
    document
}

/// A prefix of keys as text: bytes that are no text escaped as in `\xff`.
fn shown_prefix(prefix: &[u8]) -> String {
    match std::str::from_utf8(prefix) {
        Ok(text) => text.to_owned(),
        Err(_) => prefix.escape_ascii().to_string(),
    }
}

/// What a token grants, in words: `write in raw, keys that begin with app:, until 2026-11-21 09:17Z`.
fn words(grant: &Grant) -> String {
    let mut words = grant.right.name().to_owned();
    match &grant.namespaces {
        Some(namespaces) => words.push_str(&format!(" in {}", namespaces.join(", "))),
        None => words.push_str(" in all raw namespaces"),
    }
    if let Some(prefixes) = &grant.prefixes {
        let all: Vec<String> = prefixes.iter().map(|prefix| clean(&shown_prefix(prefix))).collect();
        words.push_str(&format!(", keys that begin with {}", all.join(" or ")));
    }
    match grant.expires_ms {
        Some(ms) => words.push_str(&format!(", until {}", moment::show_ms(ms))),
        None => words.push_str(", without end"),
    }
    words
}

/// The token of this id or name.
///
/// # Errors
/// Not found; a conflict if several have the name.
fn find<'a>(all: &'a [TokenInfo], wanted: &str) -> Outcome<&'a TokenInfo> {
    use larder_format::error::Kind;
    if let Some(found) = all.iter().find(|info| info.id.to_string() == wanted) {
        return Ok(found);
    }
    let named: Vec<&TokenInfo> =
        all.iter().filter(|info| !info.name.is_empty() && info.name == wanted).collect();
    match named[..] {
        [one] => Ok(one),
        [] => Err(Failure::new(Kind::NotFound, format!("there is no token {}", clean(wanted)))
            .hint("larder token list")),
        _ => {
            let ids: Vec<String> = named.iter().map(|info| info.id.to_string()).collect();
            let message = format!("{} tokens are called {}: {}", ids.len(), clean(wanted), ids.join(", "));
            Err(Failure::new(Kind::Conflict, message).hint("name one by its id"))
        }
    }
}
