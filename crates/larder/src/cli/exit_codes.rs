//! `larder help exit-codes` (or `larder exit-codes`): the table of exit codes.

use serde_json::json;

use crate::cli::Context;
use crate::exit;
use crate::failure::Outcome;

/// Help text of the verb: the table itself, so that `help exit-codes` shows it.
pub fn long_about() -> String {
    format!("What each exit code means; the kinds are those of \"error\" in JSON.\n\n{}", exit::table_text())
}

/// Shows the table.
///
/// # Errors
/// If stdout cannot be written.
pub fn run(context: &Context) -> Outcome {
    let rows: Vec<_> = exit::TABLE
        .iter()
        .map(|row| json!({ "exit_code": row.code, "kinds": row.names, "meaning": row.meaning }))
        .collect();
    context.output.document(&json!({ "exit_codes": rows }))?;
    context.output.text(&exit::table_text())
}
