//! `larder vault slots`: what opens the vault; adding and removing ways in.

use std::path::{Path, PathBuf};

use larder_format::error::Kind;
use larder_seal::fingerprint::Fingerprint;
use larder_seal::header::VaultHeader;
use larder_seal::header::notes::{LABEL_LEN_MAX, Notes};
use larder_seal::recipient::Recipient;
use larder_seal::slots::{Slot, SlotId, SlotKind};
use serde_json::{Value, json};

use crate::agent::change::What;
use crate::agent::client::Agent;
use crate::cli::Context;
use crate::cli::vault::{done, hand_over, key_file, need_open};
use crate::failure::{Failure, Outcome, clean};
use crate::moment;
use crate::output::Tone;
use crate::passphrase::PassphraseArgs;
use crate::terminal::Terminal;
use crate::vault_header::{change, file, pin};

/// How a recipient's text begins: anything else names a file.
const RECIPIENT_PREFIX: &str = "larder-recipient-";
/// Symbols of a slot's id that are shown: enough to tell 16 apart.
const SHOWN_ID_LEN: usize = 8;
/// What removing a slot does not do.
const WARNING: &str = "Whoever opened the vault with it may have kept a copy of the vault's key, and can read whatever \
                       sealed data they get hold of, also what is stored later: removing a slot closes this way in, it \
                       does not change the key.";

/// Flags of `vault slots`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List them (what `larder vault slots` alone does)
    List,
    /// Add a way in: for a recipient, or one more passphrase
    Add(AddArgs),
    /// Close a way in
    Remove(RemoveArgs),
}

#[derive(Debug, clap::Args)]
struct AddArgs {
    /// For this recipient: its text, or a file with it (without: one more passphrase)
    #[arg(long, value_name = "TEXT|FILE", conflicts_with_all = ["passphrase_file", "passphrase_fd"])]
    recipient: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Whose it is; sealed, so that the node does not learn it
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    label: String,
}

#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// Which: an id of `larder vault slots`, or its beginning
    id: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Runs the verb.
///
/// # Errors
/// Locked; not found; a conflict if another device was quicker; as [`change::run`].
pub fn run(context: &Context, args: Args) -> Outcome {
    match args.verb {
        None | Some(Verb::List) => list(context),
        Some(Verb::Add(args)) => add(context, &args),
        Some(Verb::Remove(args)) => remove(context, &args),
    }
}

fn list(context: &Context) -> Outcome {
    let header = file::read_existing(&context.folders)?;
    // Labels are sealed; without the key there is still a list. Nobody is asked for a passphrase to see it.
    let root = Agent::connect(&context.folders).and_then(|mut agent| agent.root()).ok();
    let root = root.filter(|root| root.id() == header.vault());
    let trust = pin::trust(pin::load(&context.folders)?.as_ref(), root.as_ref(), &header);
    if let pin::Trust::Stranger(error) = trust {
        return Err(Failure::new(
            Kind::Damaged,
            format!("vault.header is not as its owner wrote it: {error}"),
        )
        .hint("move it away, and `larder up` takes the node's copy; or put it back from a backup"));
    }
    let verified = matches!(trust, pin::Trust::Owner);
    let failed = |e: larder_seal::SealError| Failure::new(e.kind(), e.to_string());
    let notes = root.as_ref().map(|root| header.notes(root).map_err(failed)).transpose()?;
    let fingerprint = match (&root, header.fingerprint()) {
        // A header of format 1 does not say it; the root does.
        (Some(root), None) => Some(root.fingerprint().map_err(failed)?),
        (_, fingerprint) => fingerprint,
    };
    context.output.document(&json!({
        "vault": {
            "id": header.vault().to_string(),
            "fingerprint": fingerprint.map(|f| f.to_string()),
            "revision": header.revision(),
            "generation": header.generation(),
            "verified": verified,
        },
        "slots": header.slots().iter().map(|slot| slot_json(slot, notes.as_ref())).collect::<Vec<_>>(),
    }))?;
    if context.output.json() {
        return Ok(());
    }
    context.output.text(&text(context, &header, fingerprint, notes.as_ref()))
}

fn kind_name(slot: &Slot) -> &'static str {
    SlotKind::from_byte(slot.kind).map_or("of a newer larder", SlotKind::name)
}

fn slot_json(slot: &Slot, notes: Option<&Notes>) -> Value {
    let note = notes.and_then(|notes| notes.get(&slot.id()));
    json!({
        "id": slot.id().to_string(),
        "kind": kind_name(slot),
        "label": note.map(|note| &note.label),
        "created_ms": note.map(|note| note.created_ms),
        "recipient": note.and_then(|note| note.recipient).map(|f| f.to_string()),
    })
}

fn text(
    context: &Context,
    header: &VaultHeader,
    fingerprint: Option<Fingerprint>,
    notes: Option<&Notes>,
) -> String {
    let output = context.output;
    let mut out = format!("vault        {}\n", header.vault());
    let fingerprint =
        fingerprint.map_or_else(|| "known when the vault is open".to_owned(), |f| f.to_string());
    out.push_str(&format!("fingerprint  {}\n\n", output.paint(Tone::Strong, &fingerprint)));
    for slot in header.slots() {
        let id = slot.id().to_string();
        let note = notes.and_then(|notes| notes.get(&slot.id()));
        let when = note.map_or_else(|| "-".to_owned(), |note| moment::show_ms(note.created_ms));
        let label = note.map_or_else(String::new, |note| clean(&note.label));
        let line = format!("{}  {:<14} {when:<18} {label}", &id[..SHOWN_ID_LEN], kind_name(slot));
        out.push_str(&format!("{}\n", line.trim_end()));
    }
    if notes.is_none() {
        out.push_str("\nLabels and times are sealed: larder unlock shows them.\n");
    }
    out
}

/// The slot with this id, or whose id begins so.
///
/// # Errors
/// Not found; invalid if several begin so.
pub fn find(header: &VaultHeader, wanted: &str) -> Outcome<SlotId> {
    let wanted = wanted.to_lowercase();
    let mut all = header.slots().iter().map(Slot::id);
    let mut fitting = all.by_ref().filter(|id| !wanted.is_empty() && id.to_string().starts_with(&wanted));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(Failure::invalid(format!("several slots begin with {}", clean(&wanted)))
            .hint("larder vault slots")),
        (None, _) => Err(Failure::new(Kind::NotFound, format!("there is no slot {}", clean(&wanted)))
            .hint("larder vault slots lists them")),
    }
}

fn add(context: &Context, args: &AddArgs) -> Outcome {
    let label = args.label.clone();
    if label.len() > LABEL_LEN_MAX {
        return Err(Failure::invalid(format!(
            "the label is too long len={} max={LABEL_LEN_MAX}",
            label.len()
        )));
    }
    let recipient = args.recipient.as_deref().map(recipient_text).transpose()?;
    // First, before anything else in this process opens a file: an inherited descriptor is taken over here.
    let passphrase = args.passphrase.resolve()?;
    file::read_existing(&context.folders)?;
    let what = match &recipient {
        Some((text, _)) => {
            need_open(context)?;
            What::AddRecipient { recipient: text.clone(), label }
        }
        None => {
            need_open(context)?;
            What::AddPassphrase { new: passphrase.one_more()?, label }
        }
    };
    let made = change::run(context, None, what, |_| Ok(()))?;
    hand_over(context, &made)?;
    done(
        context,
        &match recipient {
            Some((_, fingerprint)) => format!(
                "The recipient with the fingerprint {fingerprint} can open the vault now, with\n  \
                 larder unlock --identity FILE --fingerprint {}",
                made.header.fingerprint().map(|f| f.to_string()).unwrap_or_default()
            ),
            None => "The vault opens with this passphrase, too.".to_owned(),
        },
    );
    Ok(())
}

/// A recipient given as itself or as a file, checked.
fn recipient_text(given: &Path) -> Outcome<(String, Fingerprint)> {
    let text = match given.to_str() {
        Some(text) if text.trim().to_lowercase().starts_with(RECIPIENT_PREFIX) => text.to_owned(),
        _ => key_file::read_text(given)?.to_string(),
    };
    let recipient = Recipient::parse(&text).map_err(|bad| Failure::new(bad.kind(), bad.to_string()))?;
    Ok((recipient.to_text(), recipient.fingerprint()))
}

fn remove(context: &Context, args: &RemoveArgs) -> Outcome {
    let header = file::read_existing(&context.folders)?;
    let slot = find(&header, &args.id)?;
    need_open(context)?;
    let kind = header.slots().iter().find(|s| s.id() == slot).map_or("", kind_name);
    if !args.yes {
        let mut terminal = Terminal::open().ok_or_else(|| {
            Failure::invalid("removing a slot needs a yes, and there is no terminal to ask on").hint("--yes")
        })?;
        let question = format!("{WARNING}\nRemove the slot {} ({kind})?", args.id);
        if !terminal.ask_yes(&question)? {
            return Err(Failure::invalid("nothing was removed"));
        }
    }
    let made = change::run(context, None, What::Remove { slot }, |_| Ok(()))?;
    hand_over(context, &made)?;
    done(context, "It opens nothing any more.");
    if args.yes {
        done(context, WARNING);
    }
    Ok(())
}
