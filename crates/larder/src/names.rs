//! A command's side of the agent's index of names: pages of entries, as long as the index is sure of them.

use larder_client::files::Listed;
use larder_client::index::Filter;
use larder_client::path::VaultPath;

use crate::agent::client::Agent;
use crate::agent::names::{Answer, Ask, Page};
use crate::failure::Outcome;
use crate::folders::Folders;

/// How a walk over pages ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Walked {
    /// At the end; so many records below cannot be read.
    End { unreadable: u64 },
    /// At the most that was asked for, and there is more.
    More,
    /// The index does not know what comes next: ask the node, after this name or path.
    AskNode { after: Option<String> },
}

/// Where to begin and how much to show.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// After this name or path.
    pub after: Option<String>,
    /// At most so many.
    pub most: Option<u64>,
}

/// Shows the entries of a folder by name.
///
/// # Errors
/// What `each` fails with. Whatever is wrong with the agent is for whoever asks the node to find out.
pub fn list(
    folders: &Folders,
    folder: &VaultPath,
    range: Range,
    each: impl FnMut(&Listed, u64) -> Outcome,
) -> Outcome<Walked> {
    let ask = |after: Option<&str>, most| {
        Some(Ask::List { folder: folder.clone(), after: after.map(str::to_owned), most })
    };
    walk(folders, range, ask, each)
}

/// Shows what is below a folder by path, if it passes a filter.
///
/// # Errors
/// As [`list`].
pub fn find(
    folders: &Folders,
    folder: &VaultPath,
    filter: &Filter,
    range: Range,
    each: impl FnMut(&Listed, u64) -> Outcome,
) -> Outcome<Walked> {
    let ask = |after: Option<&str>, most| {
        let after = after.map(VaultPath::parse).transpose().ok()?;
        Some(Ask::Find { folder: folder.clone(), after, most, filter: Box::new(filter.clone()) })
    };
    walk(folders, range, ask, each)
}

fn walk(
    folders: &Folders,
    range: Range,
    ask: impl Fn(Option<&str>, u32) -> Option<Ask>,
    mut each: impl FnMut(&Listed, u64) -> Outcome,
) -> Outcome<Walked> {
    let Range { mut after, most } = range;
    let Ok(mut agent) = Agent::connect(folders) else { return Ok(Walked::AskNode { after }) };
    let mut left = most.unwrap_or(u64::MAX);
    loop {
        // One more than wanted tells whether there is more.
        let wanted = u32::try_from(left.saturating_add(1)).unwrap_or(u32::MAX);
        let asked = ask(after.as_deref(), wanted).and_then(|ask| agent.names(ask).ok());
        let Some(Answer::Page(Page { entries, next, unreadable, now_ms })) = asked else {
            return Ok(Walked::AskNode { after });
        };
        for listed in &entries {
            if left == 0 {
                return Ok(Walked::More);
            }
            each(listed, now_ms)?;
            left -= 1;
        }
        if next.is_none() {
            return Ok(Walked::End { unreadable });
        }
        after = next;
    }
}
