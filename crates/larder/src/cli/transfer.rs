//! Flags that say how content travels, shared by the verbs that move it. What no flag says, the settings do.

use std::sync::Arc;
use std::time::Duration;

use larder_client::transfer::{RESUME_WITHIN_DEFAULT, RESUME_WITHIN_MIN, Throttle, Transfers};
use larder_format::clock::SystemClock;

use crate::cli::Context;
use crate::duration;
use crate::failure::{Outcome, clean};
use crate::settings::Resolved;
use crate::settings::rate::{Rate, jobs, rate};

/// How long a node that goes away in the middle is waited for unless said otherwise: longer than a restart takes.
const WAIT_DEFAULT: &str = "60s";
/// Longest it can be waited for.
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How much at once, how fast, how patiently.
#[derive(Debug, clap::Args)]
pub struct TransferArgs {
    /// Files that travel side by side [default: the setting transfer_jobs]
    #[arg(long, value_name = "N", value_parser = jobs)]
    jobs: Option<usize>,
    /// Bytes a second to the node, like 10M [default: the setting upload_rate]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    limit_up: Option<Rate>,
    /// Bytes a second from the node, like 10M [default: the setting download_rate]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    limit_down: Option<Rate>,
    /// How long to wait for a node that goes away in the middle before giving up; 0: not at all
    #[arg(long, value_name = "TIME", default_value = WAIT_DEFAULT, value_parser = wait)]
    wait: Duration,
}

fn wait(text: &str) -> Result<Duration, String> {
    duration::parse(text, Duration::ZERO, WAIT_MAX)
}

/// Reads how long what an interrupted upload has sent is kept.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn resume_within(text: &str) -> Result<Duration, String> {
    duration::parse(text, RESUME_WITHIN_MIN, RESUME_WITHIN_DEFAULT)
}

impl TransferArgs {
    /// With what the settings say where no flag does. `resume_within`: as `put` is told.
    ///
    /// # Errors
    /// Invalid settings.
    pub fn transfers(&self, context: &Context, resume_within: Option<Duration>) -> Outcome<Transfers> {
        let output = context.output;
        let settings = Resolved::load(&context.folders.settings_file(), &[])?.settings;
        let throttle =
            |rate: Rate| rate.0.map(|rate| Arc::new(Throttle::new(rate, Arc::new(SystemClock::new()))));
        Ok(Transfers {
            jobs: self.jobs.unwrap_or(settings.transfer_jobs),
            up: throttle(self.limit_up.unwrap_or(settings.upload_rate)),
            down: throttle(self.limit_down.unwrap_or(settings.download_rate)),
            wait: self.wait,
            resume_within: resume_within.unwrap_or(RESUME_WITHIN_DEFAULT),
            notice: Arc::new(move |words| output.note(&clean(words))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_upload_sent_is_kept_for_a_day_at_most() {
        assert!(resume_within("1s").is_err() && resume_within("25h").is_err());
        assert!(resume_within("24h").is_ok());
    }
}
