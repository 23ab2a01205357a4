//! Step: how much the node may store. Asked for once, at a terminal, before there is a store; otherwise a flag. The node
//! keeps it with its own things, so that there is one place for it and it can be changed while the node runs.

use crate::cli::Context;
use crate::cli::quota::set::{Limit, parse_node, words};
use crate::failure::{Failure, Outcome};
use crate::folders::Folders;
use crate::settings::{Given, Resolved};
use crate::size;
use crate::terminal::Terminal;

/// What is proposed: this share of what is free, in percent. The rest is for everything else on the disk.
const PROPOSED_PERCENT: u64 = 80;

/// Longest answer, in bytes.
const ANSWER_LEN_MAX: usize = 64;

/// The limit that the command line names, else the one that is asked for at first. A home that uses another machine's node
/// has none to limit: that node's limit is no matter of the disk here, and whoever may set it there is asked for nothing.
///
/// # Errors
/// Invalid for a limit of another machine's node; what the settings say; interrupted.
pub fn wished(context: &Context, asked: Option<Limit>, flags: &[Given]) -> Outcome<Option<Limit>> {
    let connected = Resolved::load(&context.folders.settings_file(), flags)?.settings.connect.is_some();
    match (asked, connected) {
        (Some(_), true) => Err(Failure::invalid(
            "--quota is for a node of this home's own, and this one uses another machine's",
        )
        .hint("there: larder quota set SIZE")),
        (None, true) => Ok(None),
        (None, false) => ask_at_first(context),
        (asked, false) => Ok(asked),
    }
}

/// Asks for a limit if there is no store yet and somebody is there to ask.
fn ask_at_first(context: &Context) -> Outcome<Option<Limit>> {
    let folders = &context.folders;
    if context.output.json() || has_store(folders) {
        return Ok(None);
    }
    let (Some(mut terminal), Some(free)) = (Terminal::open(), free_bytes(folders)) else { return Ok(None) };
    let proposed = proposal(free);
    let about = match proposed {
        Limit(Some(bytes)) => format!("{}, {PROPOSED_PERCENT} % of what is free", size::show(bytes)),
        Limit(None) => "no limit".to_owned(),
    };
    let question = format!("How much may Larder store on this disk? [Enter: {about}; or a size; or none] ");
    loop {
        let answer = terminal.ask(&question, ANSWER_LEN_MAX)?;
        if answer.trim().is_empty() {
            return Ok(Some(proposed));
        }
        match parse_node(&answer) {
            Ok(limit) => {
                terminal.show(&format!("{}; `larder quota set` changes it later.\n", words(limit.0)))?;
                return Ok(Some(limit));
            }
            Err(why) => terminal.show(&format!("{why}\n"))?,
        }
    }
}

/// A share of what is free in whole units, or no limit where that would be too little.
fn proposal(free: u64) -> Limit {
    let share = free / 100 * PROPOSED_PERCENT;
    let unit = if share >= 10 << 30 { 1 << 30 } else { 1 << 20 };
    Limit(Some(share / unit * unit).filter(|bytes| *bytes >= larder_node::quota::NODE_QUOTA_MIN))
}

fn has_store(folders: &Folders) -> bool {
    std::fs::read_dir(folders.data()).is_ok_and(|mut entries| entries.next().is_some())
}

/// What the disk has left where the data folder is, or will be.
fn free_bytes(folders: &Folders) -> Option<u64> {
    let there = folders.data().ancestors().find(|folder| folder.is_dir())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Tells the running node.
///
/// # Errors
/// What the node says.
pub fn set(folders: &Folders, limit: Limit) -> Outcome {
    crate::session::with_node(folders, async |remote| {
        remote.set_quota(None, limit.0).await?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_share_of_what_is_free_is_proposed() {
        assert_eq!(proposal(1000 << 30), Limit(Some(800 << 30)));
        assert_eq!(proposal(1 << 30), Limit(Some(819 << 20)));
        assert_eq!(proposal(100 << 20), Limit(None));
    }
}
