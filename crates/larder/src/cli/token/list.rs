//! `larder token list`: which tokens there are, what each grants, and when it was last used.

use larder_format::clock::Hlc;
use serde_json::json;

use super::{info_json, words};
use crate::cli::Context;
use crate::failure::{Outcome, clean};
use crate::moment;
use crate::output::Tone;

/// Lists them, oldest first.
///
/// # Errors
/// Denied without the right admin; what the node says.
pub fn run(context: &Context) -> Outcome {
    let (all, now_ms) = crate::session::with_node(&context.folders, async |remote| {
        Ok((remote.list_tokens().await?, Hlc::from_u64(remote.status().await?.time).ms()))
    })?;
    let output = context.output;
    output
        .document(&json!({ "tokens": all.iter().map(|info| info_json(info, now_ms)).collect::<Vec<_>>() }))?;
    if all.is_empty() {
        output.note("there are no tokens; larder token create makes one");
    }
    let width = all.iter().map(|info| info.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for info in &all {
        let used = match info.used_ms {
            Some(ms) => format!("last used {}", moment::show_ms(ms)),
            None => "never used".to_owned(),
        };
        let state =
            if info.grant.is_over(now_ms) { output.paint(Tone::Bad, "expired: ") } else { String::new() };
        text.push_str(&format!(
            "{}  {:<width$}  {state}{}; {used}\n",
            info.id,
            clean(&info.name),
            words(&info.grant)
        ));
    }
    output.text(&text)
}
