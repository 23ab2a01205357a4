//! `larder.toml`: written on first use with every setting and its meaning, all but those asked for commented out, so that
//! what is built in stays what is built in. Never rewritten afterwards, so that comments stay. Unknown fields are
//! refused, because a misspelt limit that is silently ignored is worse than an error.

use std::fmt::Write as _;
use std::path::Path;

use larder_format::error::Kind;
use serde::Deserialize;

use crate::atomic_file::{self, Existing};
use crate::failure::{Failure, Outcome, shown};
use crate::settings::{Given, Origin, table};

/// Largest settings file read, in bytes.
const FILE_LEN_MAX: usize = 64 * 1024;
/// Version of the settings that this program understands.
const FORMAT: i64 = 1;
/// The field that carries it.
const FORMAT_FIELD: &str = "format";

/// What a field may hold: a quoted text, or a bare number or truth value where that reads better.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Number(i64),
    Truth(bool),
    Other(toml::Value),
}

/// Reads the file; `None` if there is none.
///
/// # Errors
/// Invalid, with the line, if it is not understood; too new if a newer program wrote it.
pub fn load(path: &Path) -> Outcome<Option<Vec<Given>>> {
    let Some(bytes) = atomic_file::read(path, FILE_LEN_MAX)? else { return Ok(None) };
    let text =
        String::from_utf8(bytes).map_err(|_| Failure::invalid(format!("{} is not text", shown(path))))?;
    parse(&text).map(Some).map_err(|failure| failure.context(&shown(path)))
}

/// Reads the file's text.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str) -> Outcome<Vec<Given>> {
    let fields: std::collections::BTreeMap<toml::Spanned<String>, toml::Spanned<Value>> =
        toml::from_str(text).map_err(|e| Failure::invalid(e.to_string().trim_end().to_owned()))?;
    check_format(
        fields.iter().find(|(name, _)| name.get_ref() == FORMAT_FIELD).map(|(_, value)| value.get_ref()),
    )?;
    let mut given = Vec::new();
    for (name, value) in fields {
        let line =
            text[..name.span().start].lines().count() + usize::from(!starts_in_line(text, name.span().start));
        let name = name.into_inner();
        if name == FORMAT_FIELD {
            continue;
        }
        let at_line = |why: String| Failure::invalid(format!("line {line}: {why}"));
        if table::find(&name).is_none_or(|field| field.name != name) {
            return Err(at_line(table::unknown(&name)));
        }
        let value = match value.into_inner() {
            Value::Text(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Truth(truth) => truth.to_string(),
            Value::Other(other) => {
                return Err(at_line(format!("{name}: expected a text in quotes, not {}", other.type_str())));
            }
        };
        given.push(Given { name, value, origin: Origin::File(line) });
    }
    Ok(given)
}

/// Whether something of its line stands before this place.
fn starts_in_line(text: &str, at: usize) -> bool {
    text[..at].chars().next_back().is_some_and(|c| c != '\n')
}

fn check_format(found: Option<&Value>) -> Outcome {
    match found {
        Some(Value::Number(FORMAT)) => Ok(()),
        Some(Value::Number(newer)) if *newer > FORMAT => {
            let message = format!("settings of a newer version format={newer} supported={FORMAT}");
            Err(Failure::new(Kind::TooNew, message).hint("upgrade larder"))
        }
        _ => Err(Failure::invalid(format!("the first line must be: {FORMAT_FIELD} = {FORMAT}"))),
    }
}

/// Writes the file for the first time, with `chosen` in force and the rest commented out.
///
/// # Errors
/// A conflict if it is there already; what the file system says.
pub fn create(path: &Path, chosen: &[Given]) -> Outcome {
    atomic_file::write(path, text_with(chosen).as_bytes(), Existing::Keep)
}

pub(super) fn text_with(chosen: &[Given]) -> String {
    let mut out = format!(
        "# Settings of Larder on this machine. `larder down` and `larder up` apply changes; `larder config show` says\n\
         # what is in force and why. Lines that begin with # say what is built in: remove the # to change one.\n\n\
         # Version of this file's layout.\n{FORMAT_FIELD} = {FORMAT}\n"
    );
    for field in table::FIELDS {
        let chosen = chosen.iter().rev().find(|given| given.name == field.name);
        let (mark, value) = match chosen {
            Some(given) => ("", given.value.clone()),
            None => ("# ", field.default_text()),
        };
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "\n# {}\n# Allowed: {}.\n{mark}{} = {}\n",
            field.meaning,
            (field.allowed)(),
            field.name,
            // A JSON string is a TOML one, too.
            serde_json::Value::String(value),
        );
    }
    out
}
