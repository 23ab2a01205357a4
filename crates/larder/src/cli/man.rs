//! `larder man`: manual pages, made from what the program says of itself.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use clap_mangen::Man;
use larder_format::error::Kind;
use serde_json::json;

use crate::cli::Context;
use crate::failure::{Failure, Outcome, shown};

/// Flags of `man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of which command; without, of larder itself
    #[arg(value_name = "COMMAND")]
    words: Vec<String>,
    /// Write the pages of all commands into this folder (which is made) instead
    #[arg(long, value_name = "DIR", conflicts_with = "words")]
    to: Option<PathBuf>,
}

/// Prints one page, or writes all of them.
///
/// # Errors
/// Not found for a command there is not; what writing says.
pub fn run(context: &Context, args: &Args, mut command: clap::Command) -> Outcome {
    command.build();
    let Some(folder) = &args.to else {
        let mut name = "larder".to_owned();
        for word in &args.words {
            name = format!("{name} {word}");
            command = match command.find_subcommand(word) {
                Some(found) => found.clone(),
                None => return Err(Failure::new(Kind::NotFound, format!("no such command: {name}"))),
            };
        }
        return context.output.bytes(&page(command, &name)?);
    };
    fs::create_dir_all(folder).map_err(|e| Failure::io("make", folder, &e))?;
    let mut pages = Vec::new();
    all(command, "larder", &mut pages)?;
    for (name, page) in &pages {
        let file = folder.join(format!("{}.1", name.replace(' ', "-")));
        let mut out = File::create(&file).map_err(|e| Failure::io("write", &file, &e))?;
        out.write_all(page).map_err(|e| Failure::io("write", &file, &e))?;
    }
    context.output.document(&json!({ "pages": pages.len(), "folder": folder.to_string_lossy() }))?;
    context.output.note(&format!("{}: {} manual pages", shown(folder), pages.len()));
    Ok(())
}

fn all(command: clap::Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Outcome {
    for verb in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        all(verb.clone(), &format!("{name} {}", verb.get_name()), pages)?;
    }
    pages.push((name.to_owned(), page(command, name)?));
    Ok(())
}

fn page(command: clap::Command, name: &str) -> Outcome<Vec<u8>> {
    let command =
        command.disable_help_subcommand(true).bin_name(name.to_owned()).display_name(name.replace(' ', "-"));
    let mut page = Vec::new();
    Man::new(command)
        .title(name.replace(' ', "-").to_uppercase())
        .source(format!("larder {}", env!("CARGO_PKG_VERSION")))
        .render(&mut page)
        .map_err(|e| Failure::new(Kind::Bug, format!("cannot write the page: {e}")))?;
    Ok(page)
}
