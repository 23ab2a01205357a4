//! `larder namespace list`: all namespaces, what they are and how much is in them.

use super::{class, known, privacy};
use crate::cli::Context;
use crate::failure::{Outcome, clean};
use crate::output::Tone;

/// Lists them by name.
///
/// # Errors
/// What the node says.
pub fn run(context: &Context) -> Outcome {
    let all = crate::session::with_node(&context.folders, async |remote| known(remote).await)?;
    let output = context.output;
    output.document(&serde_json::json!({
        "namespaces": all.iter().map(super::Known::json).collect::<Vec<_>>(),
    }))?;
    let width = all.iter().map(|known| known.settings.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for known in &all {
        let privacy = privacy(&known.settings);
        let tone = if privacy == "raw" { Tone::Warn } else { Tone::Good };
        text.push_str(&format!(
            "{:<width$}  {}  {:<6}  {}\n",
            clean(&known.settings.name),
            output.paint(tone, &format!("{privacy:<6}")),
            class(&known.settings),
            known.held()
        ));
    }
    output.text(&text)
}
