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

/// Watches until it is interrupted.
///
/// # Errors
/// As `larder watch`.
pub(super) fn watch(context: &Context, teller: &Teller) -> Outcome {
    session::with_vault(context, async |vault| {
        let mut pages = vault.watch_values(teller.cursor()).await?;
        let mut names = HashMap::new();
        vault
            .each_value(|value| {
                if names.len() < NAMES_MAX {
                    names.insert(value.key, value.name);
                }
            })
            .await?;
        let mut first = teller.cursor().is_none();
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
    names: &mut HashMap<bytes::Bytes, Option<String>>,
) -> Outcome<bool> {
    for event in &page.events {
        let key = event.key.to_bytes();
        let at = larder_client::feed::FeedPosition { sequence: event.sequence, ..page.position };
        let (word, name, expires_ms) = match event.change {
            KeyChange::Changed => {
                // Gone again: another event says so.
                let Some(now) = read.get(&key) else { continue };
                let known = names.contains_key(&key);
                if names.len() < NAMES_MAX {
                    names.insert(key, now.name.clone());
                }
                (if known { "updated" } else { "created" }, now.name.clone(), now.state.expiry.ms())
            }
            KeyChange::Deleted => ("deleted", names.remove(&key).flatten(), None),
            KeyChange::Expired => ("expired", names.remove(&key).flatten(), None),
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
