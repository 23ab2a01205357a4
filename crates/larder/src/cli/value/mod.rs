//! `larder value`: small sealed values that live in the node's memory until their time is up. One verb, one file.

mod del;
mod get;
mod ls;
mod set;
mod take;
mod touch;
mod ttl;

use larder_client::values::Value;
use serde_json::{Value as Json, json};

use crate::cli::Context;
use crate::cli::listing::hex;
use crate::failure::Outcome;

/// Flags of `value`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write a value
    Set(set::Args),
    /// Read a value
    Get(get::Args),
    /// Delete a value
    Del(del::Args),
    /// How long a value still lives
    Ttl(ttl::Args),
    /// Change how long a value lives
    Touch(touch::Args),
    /// Read a value that allows a limited number of reads, using one up
    Take(take::Args),
    /// Which values there are
    Ls,
}

/// Runs the verb.
///
/// # Errors
/// As the verb says.
pub fn run(context: &Context, args: Args) -> Outcome {
    match args.verb {
        Verb::Set(args) => set::run(context, args),
        Verb::Get(args) => get::run(context, &args),
        Verb::Del(args) => del::run(context, &args),
        Verb::Ttl(args) => ttl::run(context, &args),
        Verb::Touch(args) => touch::run(context, &args),
        Verb::Take(args) => take::run(context, &args),
        Verb::Ls => ls::run(context),
    }
}

/// Shows a value that was read: its bytes as they are; with `--json` as text, or in hexadecimal if it is not text.
fn show(context: &Context, name: &str, value: &Value) -> Outcome {
    let mut object = json!({
        "name": name,
        "version": value.version.to_string(),
        "expires_ms": value.expiry.ms(),
        "takes_left": value.takes_left,
    });
    if let Some(fields) = object.as_object_mut() {
        let (field, text) = match std::str::from_utf8(&value.data) {
            Ok(text) => ("value", text.to_owned()),
            Err(_) => ("value_hex", hex(&value.data)),
        };
        fields.insert(field.to_owned(), Json::String(text));
    }
    context.output.document(&object)?;
    if context.output.json() {
        return Ok(());
    }
    context.output.bytes(&value.data)?;
    // For a person's eyes only: a program gets exactly the bytes.
    let for_a_person = std::io::IsTerminal::is_terminal(&std::io::stdout());
    if for_a_person && !value.data.ends_with(b"\n") { context.output.text("\n") } else { Ok(()) }
}
