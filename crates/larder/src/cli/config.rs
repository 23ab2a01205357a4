//! `larder config`: which settings are in force, and where each comes from.

use serde_json::json;

use crate::cli::Context;
use crate::cli::setting_flags::SettingFlags;
use crate::failure::{Outcome, shown};
use crate::life::pid_file;
use crate::output::Tone;
use crate::settings::{Origin, Process, Resolved, table};
use crate::up::NODE;

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Every setting: its value, where that comes from, and what is allowed
    Show(ShowArgs),
    /// The settings file's place
    Path,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    flags: SettingFlags,
}

/// Shows settings.
///
/// # Errors
/// Invalid if a setting is not understood.
pub fn run(context: &Context, args: &Args) -> Outcome {
    match &args.verb {
        Verb::Show(show_args) => show(context, show_args),
        Verb::Path => {
            let path = context.folders.settings_file();
            if context.output.json() {
                return context.output.document(&json!({ "path": path, "exists": path.exists() }));
            }
            context.output.text(&format!("{}\n", shown(&path)))
        }
    }
}

fn show(context: &Context, args: &ShowArgs) -> Outcome {
    let path = context.folders.settings_file();
    let resolved = Resolved::load(&path, &args.flags.given())?;
    let running = pid_file::look(&context.folders.pid_file(NODE))?;
    let agent = pid_file::look(&context.folders.pid_file(crate::agent::client::NAME))?;
    // What a running process goes by where that is not what it would be started with now.
    let differs = |field: &table::Field| {
        let processes = match field.process {
            Process::Node => [&running, &None],
            Process::Agent => [&None, &agent],
            Process::Both => [&running, &agent],
            Process::Command => [&None, &None],
        };
        let mut values =
            processes.into_iter().flatten().filter_map(|process| process.settings.get(field.name));
        values.find(|value| **value != (field.show)(&resolved.settings)).cloned()
    };
    if context.output.json() {
        let settings = table::FIELDS.iter().zip(&resolved.origins).map(|(field, origin)| {
            json!({
                "name": field.name,
                "value": (field.show)(&resolved.settings),
                "origin": kind(origin),
                "from": origin.for_people(&path),
                "default": field.default_text(),
                "allowed": (field.allowed)(),
                "meaning": field.meaning,
                "process": field.process.name(),
                "variable": field.variable(),
                "running": differs(field),
            })
        });
        return context.output.document(&json!({
            "file": path,
            "file_exists": resolved.has_file,
            "settings": settings.collect::<Vec<_>>(),
            "unknown_variables": resolved.strange_variables,
        }));
    }
    let rows: Vec<[String; 2]> =
        table::FIELDS.iter().map(|f| [f.name.to_owned(), (f.show)(&resolved.settings)]).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (names, values) = (width(0), width(1));
    let mut text = String::new();
    for ((field, origin), [name, value]) in table::FIELDS.iter().zip(&resolved.origins).zip(&rows) {
        let from = context.output.paint(Tone::Faint, &origin.for_people(&path));
        text.push_str(&format!("{name:<names$}  {value:<values$}  {from}\n"));
        if let Some(value) = differs(field) {
            let words = format!("the running {} has {value} until it is started anew", field.process.name());
            text.push_str(&format!("{:<names$}  {}\n", "", context.output.paint(Tone::Strong, &words)));
        }
    }
    context.output.text(&text)?;
    for variable in &resolved.strange_variables {
        context.output.note(&format!("The environment has {variable}, which is no setting of Larder."));
    }
    if !resolved.has_file {
        context.output.note(&format!("There is no {} yet; `larder up` writes it.", shown(&path)));
    }
    Ok(())
}

/// The origin in one word.
fn kind(origin: &Origin) -> &'static str {
    match origin {
        Origin::BuiltIn => "built_in",
        Origin::File(_) => "file",
        Origin::Environment(_) => "environment",
        Origin::Flag => "flag",
    }
}
