//! When a command ends because there is no room: at a terminal, a list of what could be deleted, and the chance to
//! do it. Elsewhere only the failure's hint says what to do.

use crate::cli::Context;
use crate::cli::quota::suggest::{Choice, List, look};
use crate::failure::{Failure, Outcome};
use crate::size;
use crate::terminal::Terminal;

/// How many of each kind are offered: a list that fits a small terminal.
const OFFERED: usize = 5;

/// Longest answer, in bytes.
const ANSWER_LEN_MAX: usize = 1024;

/// Passes a verb's outcome on; offers what could be deleted if the node had no room for it.
///
/// # Errors
/// The outcome's own.
pub fn after(context: &Context, outcome: Outcome) -> Outcome {
    let Err(failure) = outcome else { return Ok(()) };
    if !failure.node_is_full() || context.output.json() {
        return Err(failure);
    }
    let Some(mut terminal) = Terminal::open() else { return Err(failure) };
    match offer(context, &mut terminal, &failure) {
        Ok(true) => Err(failure
            .hint("something was deleted: the room is there within a few seconds; run the command again")),
        Ok(false) => Err(failure),
        Err(other) if other.kind().is_none() => Err(other),
        // Why nothing could be offered matters less than why the command failed.
        Err(_) => Err(failure),
    }
}

/// Shows the list, asks, deletes. Answers whether anything was deleted.
fn offer(context: &Context, terminal: &mut Terminal, failure: &Failure) -> Outcome<bool> {
    let found = crate::session::with_vault(context, async |vault| look(context, vault, OFFERED).await)?;
    let list = List::of(&found);
    if list.choices.is_empty() {
        return Ok(false);
    }
    terminal.show(&format!("{}\n\nThis takes most room:\n{}", failure.message(), list.text))?;
    let chosen = loop {
        let question = "Delete which, for good? Numbers like 1,3,5; Enter deletes nothing: ";
        let answer = terminal.ask(question, ANSWER_LEN_MAX)?;
        match chosen(&answer, list.choices.len()) {
            Ok(chosen) => break chosen,
            Err(why) => terminal.show(&format!("{why}\n"))?,
        }
    };
    if chosen.is_empty() {
        terminal.show("Nothing was deleted.\n")?;
        return Ok(false);
    }
    let gone = crate::session::with_vault(context, async |vault| {
        let mut gone = 0;
        for number in &chosen {
            gone += match &list.choices[number - 1] {
                Choice::All(kind) => vault.delete_all(*kind, &found).await?,
                Choice::One(candidate) => vault.delete_candidate(candidate).await?,
            };
        }
        Ok(gone)
    })?;
    terminal.show(&format!("Deleted for good: {}.\n", size::count(gone, "version")))?;
    Ok(gone > 0)
}

/// The numbers in an answer, each once; none if it is empty or says no.
fn chosen(answer: &str, count: usize) -> Result<Vec<usize>, String> {
    let answer = answer.trim();
    if ["", "n", "no", "none", "cancel", "q"].contains(&answer.to_lowercase().as_str()) {
        return Ok(Vec::new());
    }
    let mut numbers = Vec::new();
    for part in answer.split([',', ' ']).filter(|part| !part.is_empty()) {
        match part.parse() {
            Ok(number) if (1..=count).contains(&number) => numbers.push(number),
            _ => return Err(format!("{part:?} is not one of the numbers 1 to {count}")),
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_and_everything_else_is_asked_again() {
        assert_eq!(chosen("1,3, 5", 5), Ok(vec![1, 3, 5]));
        assert_eq!(chosen(" 2 2 ", 5), Ok(vec![2]));
        for no in ["", "  ", "no", "Cancel"] {
            assert_eq!(chosen(no, 5), Ok(vec![]));
        }
        for bad in ["0", "6", "1-3", "yes", "1,x"] {
            assert!(chosen(bad, 5).is_err(), "{bad}");
        }
    }
}
