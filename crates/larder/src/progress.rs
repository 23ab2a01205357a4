//! Progress of long work, for a person at a terminal: a bar with rate and time left. Shown on stderr, only if that is a
//! terminal, only once there is more than a mebibyte to do; never with `--json`. It leaves no trace when it ends.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use larder_client::meter::Meter;

use crate::output::Output;

/// Less than this is done before anyone reads a bar, in bytes.
const WORTH_SHOWING_BYTES: u64 = 1 << 20;
/// How often the bar is drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// A bar, until dropped.
pub struct Progress {
    meter: Arc<Meter>,
    task: Option<tokio::task::JoinHandle<()>>,
    bar: ProgressBar,
}

impl Progress {
    /// Begins to show `what`. Needs a tokio runtime.
    pub fn begin(what: &'static str, output: Output) -> Self {
        Self::shown_if(!output.json() && io::stderr().is_terminal(), what)
    }

    /// The same while content goes to stdout: nothing is shown if that is a terminal too, where both would be in each
    /// other's way.
    pub fn beside_stdout(what: &'static str, output: Output) -> Self {
        Self::shown_if(!output.json() && io::stderr().is_terminal() && !io::stdout().is_terminal(), what)
    }

    fn shown_if(shown: bool, what: &'static str) -> Self {
        let meter = Arc::new(Meter::default());
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let task = shown.then(|| tokio::spawn(show(what, meter.clone(), bar.clone())));
        Self { meter, task, bar }
    }

    /// Where the work counts.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
            self.bar.finish_and_clear();
        }
    }
}

async fn show(what: &'static str, meter: Arc<Meter>, bar: ProgressBar) {
    let style = ProgressStyle::with_template(
        "{msg} {wide_bar:.cyan/dim} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}",
    );
    // The template is a constant; without it the default bar does.
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    loop {
        let now = meter.read();
        if now.bytes_total > WORTH_SHOWING_BYTES {
            bar.set_length(now.bytes_total);
            bar.set_position(now.bytes_done.min(now.bytes_total));
            if now.files_total > 1 {
                bar.set_message(format!("{what} {}/{} files", now.files_done, now.files_total));
            } else {
                bar.set_message(what);
            }
        }
        tokio::time::sleep(DRAW_EVERY).await;
    }
}
