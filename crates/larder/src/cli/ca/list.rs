//! `larder ca list`: every certificate that the authority has issued, and how it stands.

use larder_format::clock::{Clock, SystemClock};
use serde_json::json;

use super::issue::in_namespaces;
use super::state;
use crate::cli::Context;
use crate::failure::{Outcome, clean};
use crate::moment;
use crate::output::Tone;

/// Lists them.
///
/// # Errors
/// Not found if there is no authority here.
pub fn run(context: &Context) -> Outcome {
    let certificates = super::certificates(context);
    let authority_ends_ms = certificates.authority_ends_ms()?;
    let register = certificates.register()?;
    let now_ms = SystemClock::new().wall_ms();
    context.output.document(&json!({
        "authority": { "not_after_ms": authority_ends_ms },
        "certificates":
            register.certificates.iter().map(|entry| super::entry_json(entry, now_ms)).collect::<Vec<_>>(),
    }))?;
    let mut text = format!("authority good until {}\n", moment::show_ms(authority_ends_ms));
    let width = register.certificates.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    for entry in &register.certificates {
        let state = state(entry, now_ms);
        let tone = match state {
            "good" => Tone::Good,
            "replaced" => Tone::Faint,
            "expires_soon" | "not_yet_valid" => Tone::Warn,
            _ => Tone::Bad,
        };
        let rights = match &entry.rights {
            Some(rights) => format!("{rights}{}", in_namespaces(&entry.namespaces)),
            None => "node".to_owned(),
        };
        let advice = match state {
            "expires_soon" => format!("  larder ca renew {}", entry.name),
            _ => String::new(),
        };
        text.push_str(&format!(
            "{:<width$}  {}  until {}  {:<14}  {rights}{advice}\n",
            clean(&entry.name),
            entry.serial,
            moment::show_ms(entry.not_after_ms),
            context.output.paint(tone, &state.replace('_', " ")),
        ));
    }
    context.output.text(&text)
}
