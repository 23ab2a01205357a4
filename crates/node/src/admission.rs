//! Who is let in, and who has to go again. One for all doors of a node that ask for certificates.
//!
//! - It notices within [`LOOK_EVERY`] when the files of certificates, key or revocation list change, and takes them
//!   over as a whole; what does not fit together is not taken, and the last good state goes on. Open connections go on
//!   as well, except those of certificates that are revoked by now, have expired, or are of another authority.
//! - It counts the connections that are open. Beyond the cap a connection is still shaken hands with, to be told so; of
//!   those there is a small number, and beyond that connections are dropped.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder_format::clock::Clock;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use crate::credentials::{CertificateFiles, Credentials, TlsError};
use crate::identity::Identity;

/// How often files and open connections are looked at: a revocation takes effect well within a second.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Connections admitted at a time unless told otherwise: twice what is asked of one node. An idle one costs some tens
/// of kilobytes.
pub const CONNECTIONS_MAX_DEFAULT: usize = 2_000;

/// Connections beyond the cap that are told so at a time; those beyond are dropped without a word.
const TURNED_AWAY_MAX: usize = 64;

/// Connections that get room for bulk at a time: what each may have on its way to us is counted in mebibytes, so that a
/// fast network is kept busy. The others get enough to keep going, and the sum stays bounded however many there are.
const WIDE_MAX: usize = 16;

/// Enough of a file to see that it changed: when, how long, which.
type Seen = Option<(i64, i64, u64, u64)>;

/// The state of admission.
pub struct Admission {
    files: CertificateFiles,
    connections_max: usize,
    clock: Arc<dyn Clock>,
    now: RwLock<Arc<Credentials>>,
    /// Raised whenever the authority is another one.
    authority: AtomicU64,
    live: Mutex<Live>,
    /// What the files were when they were last looked at, and why they were not taken over, if so.
    last: Mutex<([Seen; 4], Option<TlsError>)>,
}

#[derive(Default)]
struct Live {
    next: u64,
    open: HashMap<u64, Open>,
    turned_away: usize,
    wide: usize,
    /// Those of raw doors, which have caps of their own.
    raw: usize,
}

impl Live {
    fn remove(&mut self, number: u64) -> Option<Open> {
        let open = self.open.remove(&number)?;
        self.turned_away -= usize::from(open.turned_away);
        self.wide -= usize::from(open.wide);
        self.raw -= usize::from(open.raw);
        Some(open)
    }
}

struct Open {
    identity: Arc<Identity>,
    turned_away: bool,
    wide: bool,
    raw: bool,
    end: oneshot::Sender<()>,
}

/// A place among the open connections, given back when it is dropped.
pub struct Seat {
    admission: Arc<Admission>,
    /// Which of the open connections it is.
    pub number: u64,
    /// There was no room: whatever is asked is answered with that.
    pub turned_away: bool,
    /// It gets room for bulk.
    pub wide: bool,
    /// Resolves when the connection has to end.
    pub ended: oneshot::Receiver<()>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.admission.live.lock().remove(self.number);
    }
}

/// What `status` says of admission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionNow {
    /// Connections that are open.
    pub connections: usize,
    /// Most of them.
    pub connections_max: usize,
    /// Certificates on the revocation list.
    pub revoked: usize,
    /// When the node's certificate ends, in milliseconds since 1970.
    pub not_after_ms: u64,
    /// Why changed files are not in force; empty if all is well.
    pub problem: String,
}

/// What somebody is told for whom there is no room.
#[must_use]
pub fn too_many(connections_max: usize) -> String {
    format!("the node has as many connections as it takes; try again later max={connections_max}")
}

impl Admission {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`]: without all of them in order nobody is let in, rather than somebody who is revoked.
    pub fn open(
        files: CertificateFiles,
        connections_max: usize,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, TlsError> {
        let seen = look(&files);
        let credentials = Arc::new(Credentials::load(&files)?);
        tracing::info!(revoked = credentials.revoked.len(), "certificates read");
        Ok(Arc::new(Self {
            files,
            connections_max,
            clock,
            now: RwLock::new(credentials),
            authority: AtomicU64::new(0),
            live: Mutex::default(),
            last: Mutex::new((seen, None)),
        }))
    }

    /// The server side of mutual TLS as it is now, for a door that speaks these protocols (ALPN).
    #[must_use]
    pub fn tls(&self, protocols: &[&[u8]]) -> Arc<rustls::ServerConfig> {
        let tls = self.now.read().tls.clone();
        speaking(tls, protocols)
    }

    /// As [`Admission::tls`], for a door where a token does instead of a certificate.
    #[must_use]
    pub fn tls_for_tokens(&self, protocols: &[&[u8]]) -> Arc<rustls::ServerConfig> {
        let tls = self.now.read().tls_for_tokens.clone();
        speaking(tls, protocols)
    }

    /// Most connections at a time.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// A number that changes with the authority: looked at before [`Admission::tls`], and shown after the handshake, so that
    /// nobody comes in by a certificate of the one before.
    #[must_use]
    pub fn authority(&self) -> u64 {
        self.authority.load(Ordering::Acquire)
    }

    /// Gives somebody a place whose handshake is over; `authority` is what it was before that. `None`: it has to go without
    /// a word, because it was revoked meanwhile or too many are there already.
    #[must_use]
    pub fn admit(self: &Arc<Self>, identity: &Arc<Identity>, peer: IpAddr, authority: u64) -> Option<Seat> {
        self.seat(identity, (peer, authority), false)
    }

    /// As [`Admission::admit`], of a raw door: that counts its connections itself, and takes nothing of gRPC's.
    #[must_use]
    pub(crate) fn admit_raw(
        self: &Arc<Self>,
        identity: &Arc<Identity>,
        peer: IpAddr,
        authority: u64,
    ) -> Option<Seat> {
        self.seat(identity, (peer, authority), true)
    }

    fn seat(
        self: &Arc<Self>,
        identity: &Arc<Identity>,
        (peer, authority): (IpAddr, u64),
        raw: bool,
    ) -> Option<Seat> {
        let mut live = self.live.lock();
        // Under the lock: whoever revokes it from now on finds it among the open ones. A handshake may also have gone
        // by a session that was begun before.
        let is_other = authority != self.authority();
        let why = if is_other { Some("is of another authority") } else { self.why_not(identity) };
        if let Some(why) = why {
            tracing::info!(%peer, name = ?identity.name, serial = %identity.serial, "connection refused: its certificate {why}");
            return None;
        }
        let turned_away = !raw && live.open.len() - live.turned_away - live.raw >= self.connections_max;
        if turned_away {
            if live.turned_away >= TURNED_AWAY_MAX {
                tracing::info!(%peer, "connection dropped: {}", too_many(self.connections_max));
                return None;
            }
            tracing::info!(%peer, name = ?identity.name, "connection refused: {}", too_many(self.connections_max));
            live.turned_away += 1;
        }
        let wide = !raw && !turned_away && live.wide < WIDE_MAX;
        live.wide += usize::from(wide);
        live.raw += usize::from(raw);
        let number = live.next;
        live.next += 1;
        let (end, ended) = oneshot::channel();
        live.open.insert(number, Open { identity: identity.clone(), turned_away, wide, raw, end });
        drop(live);
        Some(Seat { admission: self.clone(), number, turned_away, wide, ended })
    }

    /// Closes an open connection.
    pub(crate) fn hang_up(&self, number: u64) {
        if let Some(open) = self.live.lock().remove(number) {
            // It may be over already.
            let _ = open.end.send(());
        }
    }

    /// Why a certificate is not good now, in words that follow "its certificate".
    fn why_not(&self, identity: &Identity) -> Option<&'static str> {
        if self.now.read().revoked.contains(&identity.serial) {
            return Some("is revoked");
        }
        (identity.not_after_ms <= self.clock.wall_ms()).then_some("has expired")
    }

    /// Looks at files and open connections for ever.
    pub async fn watch(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let this = self.clone();
            // The disk may be slow. That a look failed to run is no reason to stop looking.
            let _ = tokio::task::spawn_blocking(move || this.look_again()).await;
        }
    }

    /// Takes over what has changed in the files, and ends the connections that have to end.
    pub fn look_again(&self) {
        let seen = look(&self.files);
        let mut last = self.last.lock();
        if last.0 != seen {
            let problem = self.take_over().err();
            match &problem {
                Some(problem) => tracing::error!("changed certificates are not in force: {problem}"),
                None => tracing::info!("certificates read anew"),
            }
            // Looked at before it was read: what changed meanwhile is read again.
            *last = (seen, problem);
        }
        drop(last);
        self.end_those_over();
    }

    fn take_over(&self) -> Result<(), TlsError> {
        let new = Credentials::load(&self.files)?;
        let old = self.now.read().clone();
        let same_authority = new.authority == old.authority;
        if same_authority && new.revoked.is_older_than(&old.revoked) {
            let reason = "it is older than the one in force".to_owned();
            return Err(TlsError::Revoked { path: self.files.revoked.clone(), reason });
        }
        *self.now.write() = Arc::new(new);
        if !same_authority {
            self.authority.fetch_add(1, Ordering::AcqRel);
            tracing::warn!("the authority is another one now: all connections are closed");
            self.end(|_| Some("is of another authority"));
        }
        Ok(())
    }

    fn end_those_over(&self) {
        self.end(|identity| self.why_not(identity));
    }

    fn end(&self, why: impl Fn(&Identity) -> Option<&'static str>) {
        let mut live = self.live.lock();
        let over: Vec<(u64, &'static str)> = live
            .open
            .iter()
            .filter_map(|(number, open)| why(&open.identity).map(|why| (*number, why)))
            .collect();
        for (number, why) in over {
            let Some(open) = live.remove(number) else { continue };
            let (name, serial) = (&open.identity.name, &open.identity.serial);
            tracing::info!(?name, %serial, "connection closed: its certificate {why}");
            // It may be over already.
            let _ = open.end.send(());
        }
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> AdmissionNow {
        let live = self.live.lock();
        let connections = live.open.len() - live.turned_away - live.raw;
        drop(live);
        let now = self.now.read().clone();
        let problem = self.last.lock().1.as_ref().map(ToString::to_string).unwrap_or_default();
        AdmissionNow {
            connections,
            connections_max: self.connections_max,
            revoked: now.revoked.len(),
            not_after_ms: now.not_after_ms,
            problem,
        }
    }
}

/// The same for these protocols.
fn speaking(tls: Arc<rustls::ServerConfig>, protocols: &[&[u8]]) -> Arc<rustls::ServerConfig> {
    if tls.alpn_protocols.iter().map(Vec::as_slice).eq(protocols.iter().copied()) {
        return tls;
    }
    let mut other = (*tls).clone();
    other.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(other)
}

fn look(files: &CertificateFiles) -> [Seen; 4] {
    files.all().map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.mtime(), metadata.mtime_nsec(), metadata.size(), metadata.ino()))
    })
}
