//! Flags that say what of a folder is meant, and whether anything is done at all; shared by the verbs that move folders.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use larder_client::local::exclude::Exclude;
use larder_client::tree::{Planned, PlannedFile, Planner};
use larder_format::error::Kind;
use serde_json::json;

use crate::atomic_file;
use crate::cli::Context;
use crate::failure::{Failure, Outcome, clean, shown};
use crate::output::Output;
use crate::size;

/// Longest file of patterns, in bytes.
const PATTERNS_LEN_MAX: usize = 1 << 20;

/// What of a folder.
#[derive(Debug, clap::Args)]
pub struct ExcludeArgs {
    /// Leave out of folders what matches: a name anywhere (*.o), a path from the top (/build), folders only (tmp/), or
    /// taken back (!keep.o); may be repeated, the last that matches counts
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Leave out what matches a line of this file; before the patterns of --exclude
    #[arg(long, value_name = "FILE")]
    exclude_from: Vec<PathBuf>,
}

impl ExcludeArgs {
    /// The patterns.
    ///
    /// # Errors
    /// Invalid: a pattern that is none; what the file system says.
    pub fn patterns(&self) -> Outcome<Exclude> {
        let mut patterns = Exclude::default();
        for path in &self.exclude_from {
            let bytes = atomic_file::read(path, PATTERNS_LEN_MAX)?
                .ok_or_else(|| Failure::new(Kind::NotFound, format!("{} is not there", shown(path))))?;
            let text = String::from_utf8(bytes)
                .map_err(|_| Failure::invalid(format!("{} is not UTF-8", shown(path))))?;
            patterns.add_lines(&text).map_err(|e| Failure::invalid(format!("{}: {e}", shown(path))))?;
        }
        for pattern in &self.exclude {
            patterns.add(pattern).map_err(|e| Failure::invalid(format!("--exclude: {e}")))?;
        }
        Ok(patterns)
    }
}

/// Says of each file of a plan what would become of it. What standard output cannot take is remembered.
#[derive(Debug, Clone)]
pub struct Plan {
    output: Output,
    failed: Arc<Mutex<Option<Failure>>>,
}

impl Plan {
    /// To where the command's words go.
    pub fn new(context: &Context) -> Self {
        Self { output: context.output, failed: Arc::default() }
    }

    /// Says one.
    pub fn say(&self, file: &PlannedFile) {
        let what = match file.what {
            Planned::New => "new",
            Planned::Replace => "replace",
        };
        let path = clean(&file.path.to_string());
        let said = if self.output.json() {
            let local = file.local.to_string_lossy();
            self.output.document(&json!({
                "path": file.path.to_string(), "local": local, "would": what, "size": file.bytes,
            }))
        } else {
            self.output.text(&format!("{what:<8} {:>10}  {path}\n", size::show(file.bytes)))
        };
        if let Err(failure) = said {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        }
    }

    /// For a folder's walk.
    pub fn planner(&self) -> Planner {
        let plan = self.clone();
        Planner(Arc::new(move |file| plan.say(&file)))
    }

    /// Whether all could be said.
    ///
    /// # Errors
    /// What standard output said.
    pub fn end(&self) -> Outcome {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}
