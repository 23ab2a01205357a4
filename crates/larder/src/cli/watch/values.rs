//! `larder watch --values`: values as they are set, deleted and expire.
//!
//! The node's feed names records by keyed hashes. Names come from the values themselves, read when they change and, of
//! those that were there before, at the beginning; of a value that may only be taken the name is not shown.

use std::collections::HashMap;

use larder_client::feed::{FeedPage, KeyChange};
use larder_client::values_watch::NamedValue;
use serde_json::json;

use super::Teller;
use crate::cli::Context;
use crate::failure::{Outcome, clean};
use crate::session;

/// Most names remembered, so that a deletion can say what it deleted. Beyond it, some say no name.
const NAMES_MAX: usize = 1_000_000;

/// A value that this watch knows of.
#[derive(Debug, Clone)]
struct Known {
    name: Option<String>,
    /// Whether it was there before whatever is told next.
    surely_before: bool,
}

/// Watches until it is interrupted.
///
/// # Errors
/// As `larder watch`.
pub(super) fn watch(context: &Context, teller: &Teller) -> Outcome {
    session::with_vault(context, async |vault| {
        let mut pages = vault.watch_values(teller.cursor()).await?;
        let mut names = HashMap::new();
        let fresh = teller.cursor().is_none();
        vault
            .each_value(|value| {
                if names.len() < NAMES_MAX {
                    names.insert(value.key, Known { name: value.name, surely_before: fresh });
                }
            })
            .await?;
        let mut first = fresh;
        loop {
            let page = pages.next().await?;
            if page.reset {
                let line = "reset     changes before this are not known: look at everything anew";
                if teller.tell(&json!({ "event": "reset" }), line, page.position)? {
                    return Ok(());
                }
            }
            let read = vault.values_now(&page).await?;
            if tell_page(teller, &page, &read, &mut names)? {
                return Ok(());
            }
            teller.move_to(page.position);
            if std::mem::take(&mut first) {
                let cursor = super::cursor_text(page.position);
                context.output.note(&format!("Watching values from {cursor}; ctrl-C ends"));
            }
        }
    })
}

fn tell_page(
    teller: &Teller,
    page: &FeedPage,
    read: &HashMap<bytes::Bytes, NamedValue>,
    names: &mut HashMap<bytes::Bytes, Known>,
) -> Outcome<bool> {
    for event in &page.events {
        let key = event.key.to_bytes();
        let at = larder_client::feed::FeedPosition { sequence: event.sequence, ..page.position };
        let (word, name, expires_ms) = match event.change {
            KeyChange::Changed => {
                // Gone again: another event says so.
                let Some(now) = read.get(&key) else { continue };
                let known = Known { name: now.name.clone(), surely_before: true };
                let before =
                    if names.len() < NAMES_MAX { names.insert(key, known) } else { names.get(&key).cloned() };
                let word = match before {
                    None => "created",
                    Some(before) if before.surely_before => "updated",
                    // Found when this watch began, which may have been after this: one or the other.
                    Some(_) => "set",
                };
                (word, now.name.clone(), now.state.expiry.ms())
            }
            KeyChange::Deleted => ("deleted", names.remove(&key).and_then(|known| known.name), None),
            KeyChange::Expired => ("expired", names.remove(&key).and_then(|known| known.name), None),
        };
        teller.move_to(at);
        let document = json!({
            "event": word,
            "name": name,
            "version": event.version.to_string(),
            "expires_ms": expires_ms,
        });
        let shown = name.as_deref().map_or_else(|| "(name not known)".to_owned(), clean);
        if teller.tell(&document, &format!("{word:<8}  {shown}"), at)? {
            return Ok(true);
        }
    }
    Ok(false)
}
