//! Commands that only the shell has: moving about, tables, and the words that others know these things by.

use std::sync::Arc;

use larder_client::files::{Listed, ListedKind};
use larder_client::path::VaultPath;
use larder_client::vault::Vault;
use larder_format::error::Kind;
use serde_json::json;

use super::table::{Column, render};
use super::{Next, Shell};
use crate::cli::{Cli, listing};
use crate::failure::{Failure, Outcome, clean, shown};
use crate::moment;
use crate::size;

/// Most files of a table whose hash is looked up: each is one question to the node.
const HASHES_MAX: usize = 1000;

/// Digits of a short hash: enough to tell files apart at a glance.
const HASH_DIGITS: usize = 10;

/// Commands of the shell's own, with what they do.
pub const OWN: &[(&str, &str)] = &[
    ("cd [PATH]", "go to a folder of the vault; alone: to its root"),
    ("pwd", "where in the vault, and where on this machine"),
    ("lcd [DIR]", "go to a folder of this machine; alone: home"),
    ("list [PATH]", "a table of a folder: size, short hash, time, lifetime (ls: names)"),
    ("store FILE... [TO]", "put"),
    ("delete PATH...", "rm"),
    ("clean", "have the node give back all space that nothing needs"),
    ("metrics", "what the node holds (as status)"),
    ("peers, discover", "the nodes there are"),
    ("send, fetch", "to and from a chosen peer: there is none with one node"),
    ("help [COMMAND]", "this, or all about one command"),
    ("quit, exit", "end (also ctrl-D)"),
];

/// A command with the names others know put into ours.
pub fn spelled_out(words: &[String]) -> Vec<String> {
    let (first, rest) = words.split_first().map_or(("", words), |(first, rest)| (first.as_str(), rest));
    let ours: &[&str] = match first {
        "store" => &["put"],
        "delete" => &["rm"],
        "clean" => &["node", "collect"],
        // Where there is no command of that name the state of the node says it.
        "metrics" | "quota" if !is_verb(first) => &["status"],
        "exit" => &["quit"],
        "?" => &["help"],
        other => &[other],
    };
    ours.iter().map(|word| (*word).to_owned()).chain(rest.iter().cloned()).collect()
}

fn is_verb(name: &str) -> bool {
    use clap::CommandFactory;
    Cli::command().find_subcommand(name).is_some()
}

fn takes_descriptor(word: &str) -> bool {
    let flag = word.split('=').next().unwrap_or_default();
    ["--passphrase-fd", "--new-passphrase-fd"].contains(&flag)
}

/// Why a command of the program makes no sense in a shell; `None`: it does.
pub fn refused(words: &[String]) -> Option<Failure> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let what = match words.as_slice() {
        ["shell", ..] => "this is a shell already",
        ["agent", ..] | ["node", "run", ..] => "it runs on its own, not in a shell",
        ["up", flags @ ..] if flags.contains(&"--foreground") => {
            "it would never come back; up without --foreground"
        }
        // A descriptor is taken over whole, and in a shell it may be one of the shell's own.
        words if words.iter().any(|word| takes_descriptor(word)) => {
            return Some(
                Failure::invalid("descriptors are handed over on the command line, not in a shell")
                    .hint("--passphrase-file FILE, or no flag: then it asks"),
            );
        }
        _ => return None,
    };
    Some(Failure::invalid(format!("{}: {what}", words[0])))
}

/// Runs a command of the shell's own; `None` if it is not one.
pub fn run(shell: &mut Shell, words: &[String]) -> Option<Outcome<Next>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["quit"] => return Some(Ok(Next::Quit)),
        ["cd"] => cd(shell, "/"),
        ["cd", path] => cd(shell, path),
        ["pwd"] => pwd(shell),
        ["lcd"] => lcd(std::env::var("HOME").as_deref().unwrap_or("/")),
        ["lcd", folder] => lcd(folder),
        ["list"] => list(shell, "."),
        ["list", path] => list(shell, path),
        ["peers"] => peers(shell),
        ["help"] => help(shell),
        ["discover", ..] => Err(alone("there are no others to discover")),
        ["send", ..] => Err(alone("there is no peer to send to")),
        ["fetch", ..] => Err(alone("there is no peer to fetch from")),
        [verb @ ("quit" | "cd" | "pwd" | "lcd" | "list" | "peers"), ..] => {
            Err(Failure::invalid(format!("{verb}: too many words")).hint("help"))
        }
        _ => return None,
    };
    Some(done.map(|()| Next::Go))
}

fn alone(what: &str) -> Failure {
    Failure::new(Kind::Closed, format!("one node: {what}")).hint("peers")
}

fn cd(shell: &mut Shell, typed: &str) -> Outcome {
    let path = shell.context.path(typed)?;
    if !path.is_root() {
        crate::session::with_vault(&shell.context, async |vault| {
            Ok(vault.folder(&path).await.map(|_| ())?)
        })?;
    }
    shell.context.working_folder = Some(path);
    Ok(())
}

fn pwd(shell: &Shell) -> Outcome {
    let here =
        std::env::current_dir().map_or_else(|_| "?".to_owned(), |dir| dir.to_string_lossy().into_owned());
    shell.output().document(&json!({ "vault": shell.at(), "local": here }))?;
    shell.output().text(&format!("vault  {}\nlocal  {}\n", clean(&shell.at()), clean(&here)))
}

fn lcd(folder: &str) -> Outcome {
    let folder = std::path::Path::new(folder);
    std::env::set_current_dir(folder).map_err(|e| Failure::io("go to", folder, &e))?;
    if let Ok(here) = std::env::current_dir() {
        crate::output::Output::new(false).note(&shown(&here));
    }
    Ok(())
}

fn list(shell: &Shell, typed: &str) -> Outcome {
    let path = shell.context.path(typed)?;
    let output = shell.output();
    crate::session::with_vault(&shell.context, async |vault| {
        let mut all = Vec::new();
        let total = vault
            .list(&path, false, |listed| {
                all.push(listed);
                Ok(())
            })
            .await?;
        let mut rows = Vec::new();
        for (i, listed) in all.iter().enumerate() {
            let hash = if i < HASHES_MAX { hash(vault, listed).await } else { None };
            if output.json() {
                let mut object = listing::object(listed);
                object["blake3"] = json!(hash);
                output.document(&object)?;
            } else {
                rows.push(row(listed, hash, vault.now_ms()));
            }
        }
        let columns = [
            Column("NAME", false),
            Column("SIZE", true),
            Column("HASH", false),
            Column("MODIFIED", false),
            Column("ENDS", false),
        ];
        output.text(&render(&columns, &rows))?;
        output.note(&format!(
            "{}, {}, {}",
            size::count(total.files, "file"),
            size::count(total.folders, "folder"),
            size::show(total.bytes)
        ));
        crate::cli::report::unreadable(total.damaged, &format!("things in {}", clean(&path.to_string())))
    })
}

/// The hash of a file's content; `None` for other things, and for what cannot be read, which the listing says.
async fn hash(vault: &Arc<Vault>, listed: &Listed) -> Option<String> {
    let ListedKind::File { .. } = listed.kind else { return None };
    let file = vault.file(&listed.path, None).await.ok()?;
    Some(listing::hex(&file.manifest.content_hash))
}

fn row(listed: &Listed, hash: Option<String>, now_ms: u64) -> Vec<String> {
    let name = clean(listed.path.names().last().map_or("/", String::as_str));
    let (name, bytes) = match listed.kind {
        ListedKind::File { size, .. } => (name, size::show(size)),
        ListedKind::Symlink { .. } => (format!("{name}@"), "-".to_owned()),
        ListedKind::Folder { .. } => (format!("{name}/"), "-".to_owned()),
    };
    let hash = hash.map_or_else(|| "-".to_owned(), |hash| hash.chars().take(HASH_DIGITS).collect());
    let ends = moment::show_left(listed.expiry, now_ms);
    vec![name, bytes, hash, moment::show_ns(listed.attributes.mtime_ns), ends]
}

fn peers(shell: &Shell) -> Outcome {
    let folders = &shell.context.folders;
    let address = crate::session::node_address(folders)?;
    let status = crate::session::with_node(folders, async |remote| Ok(remote.status().await?))?;
    let id = listing::hex(&status.node_id);
    let health =
        if status.closed_reason.is_empty() { "serving".to_owned() } else { clean(&status.closed_reason) };
    shell.output().document(&json!({
        "node": id,
        "address": address.to_string(),
        "this_node": true,
        "health": health,
        "version": status.version,
        "uptime_ms": status.uptime_ms,
        "last_seen_ms": 0,
    }))?;
    let columns = [
        Column("NODE", false),
        Column("ADDRESS", false),
        Column("HEALTH", false),
        Column("LAST SEEN", false),
        Column("UP", true),
        Column("VERSION", false),
    ];
    let short = id.chars().take(HASH_DIGITS).collect();
    let up = moment::show_rounded(status.uptime_ms);
    let row =
        vec![short, address.to_string(), health, "now (this one)".to_owned(), up, clean(&status.version)];
    shell.output().text(&render(&columns, &[row]))?;
    shell.output().note("one node: it has no peers");
    Ok(())
}

fn help(shell: &Shell) -> Outcome {
    use clap::CommandFactory;
    let mut text = String::from("In the shell:\n");
    for (command, what) in OWN {
        text.push_str(&format!("  {command:<20} {what}\n"));
    }
    text.push_str("\nAs on the command line (help COMMAND says more):\n");
    for verb in Cli::command().get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("  {:<20} {about}\n", verb.get_name()));
    }
    text.push_str("\nPaths in the vault begin at the working folder, or at / if they begin with it. Quote or escape blanks.\n");
    shell.output().bytes(text.as_bytes())
}

/// Whether the argument at this place (from 1) names something on this machine; otherwise it is in the vault.
pub fn is_local(words: &[String], place: usize) -> bool {
    let verb = words.first().map_or("", String::as_str);
    match verb {
        "lcd" | "check" | "export" | "put" | "store" => true,
        "get" => place > 1,
        _ => false,
    }
}

/// Whether an argument may as well be in the vault.
pub fn is_either(words: &[String], place: usize) -> bool {
    matches!(words.first().map(String::as_str), Some("put" | "store" | "get")) && place > 1
}

/// A path for people, as the prompt shows it.
pub fn prompt_path(at: Option<&VaultPath>) -> String {
    at.map_or_else(|| "/".to_owned(), |path| clean(&path.to_string()))
}
