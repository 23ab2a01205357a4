//! What the node's background work did and found, for `larder status`: one line, and a line for each damaged place with
//! the files it hits, as far as the vault is open and can tell.

use std::collections::HashMap;
use std::time::Duration;

use larder_client::vault::FILES;
use larder_format::ids::NamespaceId;
use larder_wire::v1::{DamagedItem, UpkeepPass, UpkeepResponse};
use serde_json::{Value, json};

use crate::bar::percent;
use crate::cli::Context;
use crate::cli::listing::hex;
use crate::failure::clean;
use crate::moment;
use crate::output::{Output, Tone};
use crate::{duration, size};

/// Damaged places shown one by one to people; JSON has them all.
const DAMAGED_SHOWN_MAX: usize = 10;

/// Length of a file's key, in bytes; those of its versions are longer.
const FILE_KEY_LEN: usize = 32;

/// Names of files by the keys of their records.
pub type Names = HashMap<Vec<u8>, String>;

/// Keys of the files that a damaged place belongs to.
fn file_keys(item: &DamagedItem) -> Vec<Vec<u8>> {
    if item.namespace != NamespaceId::of(FILES).0 {
        return Vec::new();
    }
    let keys = item.records.iter().chain(Some(&item.key).filter(|key| !key.is_empty()));
    keys.filter_map(|key| key.get(..FILE_KEY_LEN)).map(<[u8]>::to_vec).collect()
}

/// The names of the files that are hit, if there is damage and the vault is open.
pub fn names(context: &Context, upkeep: &UpkeepResponse, is_open: bool) -> Names {
    let keys: Vec<Vec<u8>> = upkeep.damaged.iter().flat_map(file_keys).collect();
    if keys.is_empty() || !is_open {
        return Names::new();
    }
    let found = crate::session::with_vault(context, async |vault| Ok(vault.paths_of(&keys).await?));
    // What cannot be told is left out: the damage itself is shown.
    found.unwrap_or_default()
}

fn files<'a>(item: &DamagedItem, names: &'a Names) -> Vec<&'a str> {
    let mut files: Vec<&str> =
        file_keys(item).iter().filter_map(|key| names.get(key)).map(String::as_str).collect();
    files.sort_unstable();
    files.dedup();
    files
}

/// For programs.
pub fn json(upkeep: &UpkeepResponse, names: &Names) -> Value {
    let item = |item: &DamagedItem| {
        let shown = |bytes: &[u8]| (!bytes.is_empty()).then(|| hex(bytes));
        json!({ "place": item.place, "blob": shown(&item.blob), "key": shown(&item.key), "files": files(item, names) })
    };
    let at = |ms: u64| (ms > 0).then_some(ms);
    json!({
        "scrub": {
            "every_ms": at(upkeep.scrub_every_ms),
            "next_ms": at(upkeep.scrub_next_ms),
            "now": upkeep.scrub_now.as_ref().map(pass_json),
            "last": upkeep.scrub_last.as_ref().map(pass_json),
        },
        "collection": {
            "every_ms": at(upkeep.collect_every_ms),
            "next_ms": at(upkeep.collect_next_ms),
            "last": upkeep.collect_last.as_ref().map(pass_json),
        },
        "damaged": upkeep.damaged.iter().map(item).collect::<Vec<_>>(),
        "repaired": upkeep.repaired,
    })
}

fn pass_json(pass: &UpkeepPass) -> Value {
    json!({
        "started_ms": pass.started_ms,
        "ended_ms": (pass.ended_ms > 0).then_some(pass.ended_ms),
        "took_ms": pass.took_ms,
        "checked_bytes": pass.checked_bytes,
        "checked": pass.checked_frames,
        "total_bytes": pass.total_bytes,
        "damaged": pass.damaged,
        "repaired": pass.repaired,
        "orphaned": pass.orphaned,
        "orphaned_bytes": pass.orphaned_bytes,
        "removed_bytes": pass.removed_bytes,
    })
}

/// For people.
pub fn text(upkeep: &UpkeepResponse, names: &Names, output: Output) -> String {
    let mut out = format!("upkeep   {}\n         {}\n", scrub_words(upkeep), collect_words(upkeep));
    if upkeep.repaired > 0 {
        out.push_str(&format!("         {} put right\n", size::count(upkeep.repaired, "single wrong byte")));
    }
    for item in upkeep.damaged.iter().take(DAMAGED_SHOWN_MAX) {
        let what = match (&item.blob[..], &item.key[..]) {
            ([], []) => "a frame of the log".to_owned(),
            ([], _) => "a record".to_owned(),
            (blob, _) => format!("chunk {}", &hex(blob)[..12]),
        };
        let hit = files(item, names);
        let whose = if hit.is_empty() { String::new() } else { format!(" of {}", clean(&hit.join(", "))) };
        let word = output.paint(Tone::Bad, "damage:");
        out.push_str(&format!("         {word} {what}{whose} ({})\n", clean(&item.place)));
    }
    if upkeep.damaged.len() > DAMAGED_SHOWN_MAX {
        out.push_str(&format!("         and {} more\n", upkeep.damaged.len() - DAMAGED_SHOWN_MAX));
    }
    if !upkeep.damaged.is_empty() {
        out.push_str("         larder verify names all files that are hit and what is whole\n");
    }
    out
}

fn took(pass: &UpkeepPass) -> String {
    duration::show(Duration::from_millis(pass.took_ms))
}

fn when(upkeep: &UpkeepResponse, next_ms: u64) -> String {
    match next_ms.checked_sub(upkeep.now_ms) {
        Some(ms) if next_ms > 0 && ms > 0 => format!("next in {}", moment::show_rounded(ms)),
        _ => "next soon".to_owned(),
    }
}

fn scrub_words(upkeep: &UpkeepResponse) -> String {
    if let Some(now) = &upkeep.scrub_now {
        let done = percent(now.checked_bytes, now.total_bytes).min(100);
        let total = size::show(now.total_bytes);
        return format!("scrub at {done} % of {total}, {} damaged", now.damaged);
    }
    let next = if upkeep.scrub_every_ms == 0 { "off".to_owned() } else { when(upkeep, upkeep.scrub_next_ms) };
    match &upkeep.scrub_last {
        None => format!("nothing checked yet, {next}"),
        Some(last) => format!(
            "checked {} {}, {} damaged, took {}, {next}",
            size::show(last.checked_bytes),
            moment::show_ms(last.ended_ms),
            last.damaged,
            took(last)
        ),
    }
}

fn collect_words(upkeep: &UpkeepResponse) -> String {
    let next =
        if upkeep.collect_every_ms == 0 { "off".to_owned() } else { when(upkeep, upkeep.collect_next_ms) };
    match &upkeep.collect_last {
        None => format!("nothing collected yet, {next}"),
        Some(last) => format!(
            "collected {}: {} orphaned, {} removed, took {}, {next}",
            moment::show_ms(last.ended_ms),
            last.orphaned,
            size::show(last.removed_bytes),
            took(last)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_done_and_what_is_next() {
        let last =
            UpkeepPass { ended_ms: 1000, took_ms: 1500, checked_bytes: 5 << 20, ..UpkeepPass::default() };
        let mut upkeep = UpkeepResponse {
            now_ms: 10_000,
            scrub_every_ms: 1,
            scrub_next_ms: 70_000,
            scrub_last: Some(last),
            ..UpkeepResponse::default()
        };
        let said = text(&upkeep, &Names::new(), Output::new(false));
        let expected = "upkeep   checked 5.00 MiB 1970-01-01 00:00Z, 0 damaged, took 1s 500ms, next in 1m
         nothing collected yet, off\n";
        assert_eq!(said, expected);
        upkeep.scrub_now = Some(UpkeepPass { checked_bytes: 1, total_bytes: 4, ..UpkeepPass::default() });
        assert!(text(&upkeep, &Names::new(), Output::new(false)).contains("scrub at 25 % of 4 B"));
    }
}
