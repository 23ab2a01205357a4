//! What the system shows of a running process: arguments, environment, and all of its memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// Bits of a page's entry in `pagemap`: in memory, or in swap.
const PAGE_THERE: u64 = 3 << 62;
/// Most memory read at a time, in bytes.
const READ_LEN_MAX: usize = 16 << 20;
/// What is read twice where two reads meet, so that nothing is cut in two, in bytes.
const OVERLAP: u64 = 4096;

/// A running process.
pub(crate) struct Process {
    pid: i32,
}

impl Process {
    /// By its id.
    pub(crate) fn new(pid: i32) -> Self {
        Self { pid }
    }

    fn file(&self, name: &str) -> std::io::Result<File> {
        File::open(format!("/proc/{}/{name}", self.pid))
    }

    /// Its arguments and environment, as it was started.
    pub(crate) fn arguments_and_environment(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for name in ["cmdline", "environ"] {
            self.file(name).unwrap().read_to_end(&mut bytes).unwrap();
        }
        bytes
    }

    /// Shows all of its memory, piece by piece; answers how many bytes, or that the system does not permit it.
    pub(crate) fn memory(&self, mut each: impl FnMut(&[u8])) -> std::io::Result<u64> {
        let memory = self.file("mem")?;
        let mut pages = self.file("pagemap")?;
        let page_len = page_len();
        let mut seen = 0;
        for (start, end) in self.regions()? {
            for (run_start, run_end) in runs(&mut pages, start, end, page_len)? {
                let mut at = run_start;
                while at < run_end {
                    let from = at.saturating_sub(OVERLAP).max(run_start);
                    let until = run_end.min(at + READ_LEN_MAX as u64);
                    let mut bytes = vec![0; (until - from) as usize];
                    // What is unmapped meanwhile cannot be read and is not there to be found.
                    if memory.read_exact_at(&mut bytes, from).is_ok() {
                        seen += until - at;
                        each(&bytes);
                    }
                    at = until;
                }
            }
        }
        Ok(seen)
    }

    /// Where it has readable memory.
    fn regions(&self) -> std::io::Result<Vec<(u64, u64)>> {
        let mut maps = String::new();
        self.file("maps")?.read_to_string(&mut maps)?;
        let region = |line: &str| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            // The kernel's own pages, the same in every process.
            let ours = !rest.ends_with("[vvar]") && !rest.ends_with("[vsyscall]") && !rest.contains("[vvar_");
            let number = |text: &str| u64::from_str_radix(text, 16).ok();
            (rest.starts_with('r') && ours).then_some((number(start)?, number(end)?))
        };
        Ok(maps.lines().filter_map(region).collect())
    }
}

/// The parts of a region that are in memory or in swap: the rest was never touched.
fn runs(pages: &mut File, start: u64, end: u64, page_len: u64) -> std::io::Result<Vec<(u64, u64)>> {
    let mut entries = vec![0; ((end - start) / page_len * 8) as usize];
    pages.seek(SeekFrom::Start(start / page_len * 8))?;
    pages.read_exact(&mut entries)?;
    let mut found: Vec<(u64, u64)> = Vec::new();
    for (index, entry) in entries.chunks_exact(8).enumerate() {
        if u64::from_le_bytes(entry.try_into().unwrap()) & PAGE_THERE == 0 {
            continue;
        }
        let at = start + index as u64 * page_len;
        match found.last_mut() {
            Some((_, run_end)) if *run_end == at => *run_end += page_len,
            _ => found.push((at, at + page_len)),
        }
    }
    Ok(found)
}

fn page_len() -> u64 {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let kib = smaps.lines().find_map(|line| line.strip_prefix("KernelPageSize:")).unwrap();
    kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
