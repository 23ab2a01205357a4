//! `larder value ls`: which values there are and how long they live. Values that can only be taken show no name.

use serde_json::json;

use crate::cli::{Context, report};
use crate::failure::{Outcome, clean};
use crate::moment;

/// Lists them, sorted by name; with `--json` one object a line.
///
/// # Errors
/// What the node says; damaged if something there cannot be read (the rest is listed).
pub fn run(context: &Context) -> Outcome {
    crate::session::with_vault(context, async |vault| {
        let mut values = Vec::new();
        let damaged = vault
            .list_values(|name, state| {
                values.push((name, state));
                Ok(())
            })
            .await?;
        values.sort_by(|a, b| a.0.cmp(&b.0));
        let now_ms = vault.now_ms();
        for (name, state) in values {
            context.output.document(&json!({
                "name": name,
                "version": state.version.to_string(),
                "expires_ms": state.expiry.ms(),
                "ttl_ms": moment::left_ms(state.expiry, now_ms),
                "takes_left": state.takes_left,
            }))?;
            let shown = name.as_deref().map_or_else(|| "(can only be taken)".to_owned(), clean);
            context
                .output
                .text(&format!("{shown:<40}  ends {}\n", moment::show_left(state.expiry, now_ms)))?;
        }
        report::unreadable(damaged, "values")
    })
}
