//! `larder up`: make what is missing and start everything. The steps are in [`crate::up`].

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;

use crate::cli::Context;
use crate::cli::quota::set;
use crate::cli::setting_flags::SettingFlags;
use crate::failure::{Outcome, shown};
use crate::folders;
use crate::output::Tone;
use crate::passphrase::PassphraseArgs;
use crate::settings::Given;
use crate::settings::table::address;
use crate::up::{self, Report, Wishes};

/// Flags of `up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Take the passphrase from this file; make a random one in it if it is not there
    #[arg(long, value_name = "FILE", conflicts_with_all = ["passphrase_file", "passphrase_fd"])]
    generate_passphrase_file: Option<PathBuf>,
    /// Also write the new vault's recovery code to this file (which must not exist)
    #[arg(long, value_name = "FILE")]
    recovery_code_file: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingFlags,
    /// Most disk that the node may take, or none; the node keeps it (`larder quota set` changes it later)
    #[arg(long, value_name = "SIZE|none", value_parser = set::parse_node)]
    quota: Option<set::Limit>,
    /// Which vault to take back, if the header file is lost and the node keeps the headers of several; also accepts the
    /// header of another vault than the one this machine knows
    #[arg(long, value_name = "ID")]
    vault: Option<String>,
    /// Use the node of another machine instead of one here (kept in the settings on first use)
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    connect: Option<SocketAddr>,
    /// Folder that `larder ca issue` wrote for this device; what it holds is copied
    #[arg(long, value_name = "FOLDER")]
    certificates: Option<PathBuf>,
    /// Stay, and stop everything on ctrl-C
    #[arg(long)]
    foreground: bool,
}

/// Brings everything up.
///
/// # Errors
/// What the first step that failed says; what was made stays and the next `up` goes on from there.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let mut passphrase_args = args.passphrase.clone();
    if let Some(path) = &args.generate_passphrase_file {
        crate::passphrase::generate_file(path)?;
        passphrase_args.passphrase_file = Some(path.clone());
    }
    // First, before anything else in this process opens a file: an inherited descriptor is taken over here.
    let passphrase = passphrase_args.resolve()?;
    let mut settings = args.settings.given();
    settings.extend(args.connect.map(|address| Given::by_flag("connect", address.to_string())));
    let wishes = Wishes {
        settings,
        recovery_code_file: args.recovery_code_file.clone(),
        vault: args.vault.clone(),
        quota: None,
        certificates: args.certificates.clone(),
    };
    // Before the settings are looked for: what is wrong with the folders is said as such.
    context.folders.create()?;
    let quota = up::quota::wished(context, args.quota, &wishes.settings)?;
    let wishes = Wishes { quota, ..wishes };
    let report = up::run(context, &wishes, passphrase, |report| hand_over(context, &wishes, report))?;
    say(context, &report, args.foreground)?;
    if args.foreground { up::foreground::stay(context) } else { Ok(()) }
}

/// What has to arrive before a new vault becomes real: the recovery code, in the answer or before a person's eyes.
fn hand_over(context: &Context, wishes: &Wishes, report: &Report) -> Outcome {
    if let Some(code) = &report.recovery_code {
        up::vault::show(context.output, wishes, code)?;
    }
    context.output.document(&json!({
        "node": { "address": report.node.address, "http": report.node.http, "redis": report.node.redis, "started": report.node.started },
        "agent": { "started": report.agent.started },
        "vault": { "id": report.vault.to_string(), "created": report.recovery_code.is_some(), "restored": report.restored, "locked": report.locked },
        "recovery_code": report.recovery_code.as_ref().map(|code| code.as_str()),
        "namespaces_created": report.namespaces_created,
    }))
}

fn say(context: &Context, report: &Report, foreground: bool) -> Outcome {
    let output = context.output;
    if output.json() {
        return Ok(());
    }
    let strong = |text: &str| output.paint(Tone::Strong, text);
    let done =
        if report.node.started || report.agent.started { "Larder is up" } else { "Larder is up already" };
    let vault = if report.locked { "locked" } else { "open" };
    let http = report.node.http.as_ref().map(|http| format!(", HTTP on {http}")).unwrap_or_default();
    let redis = report.node.redis.as_ref().map(|redis| format!(", Redis on {redis}")).unwrap_or_default();
    let mut text =
        format!("{}: node on {}{http}{redis}, vault {vault}.\n", strong(done), report.node.address);
    if report.locked {
        text.push_str(&format!("\nOpen the vault:\n  {}\n", command(context, "unlock")));
    }
    text.push_str("\nTry:\n");
    let mut tips = vec![
        (command(context, "put FILE"), "seal and store a file or folder"),
        (command(context, "ls -l"), "what is stored"),
        (command(context, "value set greeting hello --ttl 15m"), "a value that expires"),
        (command(context, "status"), "how it is doing"),
    ];
    if !foreground {
        tips.push((command(context, "down"), "stop; what is stored stays"));
    }
    let width = tips.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
    for (command, what) in tips {
        text.push_str(&format!("  {command:<width$}  {}\n", output.paint(Tone::Faint, what)));
    }
    if foreground {
        text.push_str("\nctrl-C stops everything; what is stored stays.\n");
    }
    output.text(&text)
}

/// A command to type, with the folder it belongs to if that is not the usual one.
fn command(context: &Context, verb: &str) -> String {
    let usual = folders::home(None, &|name| std::env::var_os(name));
    let usual = usual.and_then(|home| std::path::absolute(home).ok());
    let flag = context.folders.home().filter(|home| usual.as_deref() != Some(*home));
    let flag = flag.map(|home| format!(" --home {}", shown(home)));
    format!("larder{} {verb}", flag.unwrap_or_default())
}
