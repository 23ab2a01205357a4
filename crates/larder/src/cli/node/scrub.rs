//! `larder node scrub`: the node reads everything it holds and verifies it.

use larder_format::error::Kind;
use larder_wire::v1::DamagedItem;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::cli::listing::hex;
use crate::failure::{Failure, Outcome};
use crate::progress::Progress;
use crate::size;

/// Scrubs, lists what is damaged, and fails if anything is.
///
/// # Errors
/// Damaged if anything is; closed if the node does not run; conflict if a scrub is under way.
pub fn run(context: &Context) -> Outcome {
    let (bytes, frames, damaged, lost) = crate::session::with_node(&context.folders, async |remote| {
        let progress = Progress::begin("verifying", context.output);
        let mut steps = remote.scrub().await?;
        let (mut bytes, mut frames, mut expected) = (0, 0, 0);
        let (mut damaged, mut lost, mut finished) = (Vec::new(), Vec::new(), false);
        while let Some(step) = steps.next().await? {
            progress.meter().expect(0, step.total_bytes.saturating_sub(expected));
            progress.meter().advance(step.read_bytes.saturating_sub(bytes));
            expected = step.total_bytes.max(expected);
            (bytes, frames, finished) = (step.read_bytes, step.frames, step.finished);
            damaged.extend(step.damaged);
            lost.extend(step.lost);
        }
        if !finished {
            return Err(Failure::new(Kind::Closed, "the node ended the scrub early; try again"));
        }
        Ok((bytes, frames, damaged, lost))
    })?;
    context.output.document(&json!({
        "bytes": bytes,
        "frames": frames,
        "damaged": damaged.iter().map(item_json).collect::<Vec<_>>(),
        "lost": lost,
    }))?;
    let read = format!("read {} in {}", size::show(bytes), size::count(frames, "frame"));
    if damaged.is_empty() && lost.is_empty() {
        return context.output.text(&format!("{read}: all as written\n"));
    }
    let lines: Vec<String> = damaged.iter().map(|item| format!("damaged  {}\n", item_text(item))).collect();
    context.output.text(&lines.concat())?;
    for words in &lost {
        context.output.text(&format!("lost     {words}\n"))?;
    }
    context.output.text(&format!("{read}: {}\n", size::count(damaged.len() as u64, "damaged place")))?;
    if !lost.is_empty() {
        let failure = Failure::new(Kind::Damaged, "a part of the log is lost, and with it nobody knows what");
        return Err(failure.hint("larder node accept-damage --help says what can be done"));
    }
    Err(Failure::new(Kind::Damaged, format!("stored bytes are not what was written count={}", damaged.len()))
        .hint("putting the same file again stores damaged chunks anew; reading tells which files are hit"))
}

fn item_json(item: &DamagedItem) -> Value {
    let shown = |bytes: &[u8]| (!bytes.is_empty()).then(|| hex(bytes));
    json!({ "place": item.place, "blob": shown(&item.blob), "key": shown(&item.key) })
}

fn item_text(item: &DamagedItem) -> String {
    match (&item.blob[..], &item.key[..]) {
        ([], []) => format!("{}: a frame that cannot be read", item.place),
        ([], key) => format!("{}: record {}", item.place, hex(key)),
        (blob, _) => format!("{}: chunk {}", item.place, hex(blob)),
    }
}
