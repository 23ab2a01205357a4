//! What `larder ca` asks of the authority: certificates for others, renewals, revocations. Whatever changes is in the
//! register before anybody holds it: a certificate that was handed out can always be revoked.

use larder_format::clock::Clock;
use larder_format::error::Kind;
use larder_node::identity::Right;

use super::authority::{Signed, Wanted};
use super::register::{Entry, Reason, Register, Revocation};
use super::{AUTHORITY_LIFE_MS, BACKDATE_MS, CLIENT_NAME, Certificates, ISSUED_FORMAT, Issued, NODE_NAME};
use crate::failure::{Failure, Outcome};

/// Longest name of an identity, in bytes: what a common name may have.
pub const NAME_LEN_MAX: usize = 64;

/// What was renewed.
#[derive(Debug)]
pub enum Renewed {
    /// Node and client of this machine, in their places.
    Own,
    /// Somebody else's, to be handed over.
    Other(Signed),
}

/// Parses the name of an identity.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if text.len() > NAME_LEN_MAX || !starts || !text.chars().all(allowed) {
        return Err(format!(
            "a name has 1 to {NAME_LEN_MAX} of a-z A-Z 0-9 . _ - @ and starts with a letter or digit"
        ));
    }
    if [NODE_NAME, CLIENT_NAME].contains(&text) {
        return Err(format!("{text} is the name of this machine's own certificate; choose another"));
    }
    Ok(text.to_owned())
}

impl Certificates {
    /// When the authority ends, in milliseconds since 1970.
    ///
    /// # Errors
    /// Not found, if there is no authority here.
    pub fn authority_ends_ms(&self) -> Outcome<u64> {
        Ok(self.known()?.authority_not_after_ms)
    }

    /// What `issued.json` says; an authority that others rely on is not made anew by the way.
    fn known(&self) -> Outcome<Issued> {
        let known = self.issued()?.filter(|_| self.authority_key_file().exists());
        known.ok_or_else(|| {
            Failure::new(Kind::NotFound, "there is no authority here").hint(
                "larder up (or larder ca create) makes one; others' certificates are managed where it is",
            )
        })
    }

    /// Issues a certificate to somebody.
    ///
    /// # Errors
    /// A conflict if one of that name is good; invalid if it would outlive the authority.
    pub fn issue(&self, wanted: &Wanted, clock: &dyn Clock) -> Outcome<Signed> {
        let now_ms = clock.wall_ms();
        let known = self.known()?;
        let register = self.register()?;
        let Wanted::Client { name, life_ms, .. } = wanted else {
            return Err(Failure::new(Kind::Bug, "this machine's own certificates are not issued"));
        };
        if let Some(there) = register.good(name, now_ms) {
            let message = format!("{name} has a certificate already serial={}", there.serial);
            return Err(Failure::new(Kind::Conflict, message)
                .hint(format!("larder ca renew {name}, or larder ca revoke {name} first")));
        }
        check_life(&known, *life_ms, now_ms)?;
        self.sign_and_note(register, wanted, now_ms)
    }

    fn sign_and_note(&self, mut register: Register, wanted: &Wanted, now_ms: u64) -> Outcome<Signed> {
        let signed = self.load_authority()?.sign(wanted, now_ms)?;
        register.add(signed.entry.clone(), now_ms)?;
        self.write_register(&register)?;
        Ok(signed)
    }

    /// Renews what a name stands for: a new key and certificate with the rights there were, for as long as before. The
    /// one before stays good until its own end, so that nothing is interrupted.
    ///
    /// # Errors
    /// Not found; a conflict if the newest one is revoked.
    pub fn renew(&self, name: &str, node_hosts: &[String], clock: &dyn Clock) -> Outcome<Renewed> {
        let now_ms = clock.wall_ms();
        let known = self.known()?;
        let mut register = self.register()?;
        if [NODE_NAME, CLIENT_NAME].contains(&name) {
            for host in node_hosts {
                if !register.node_hosts.contains(host) {
                    register.node_hosts.push(host.clone());
                }
            }
            self.make_own(&self.load_authority()?, register, known, now_ms)?;
            return Ok(Renewed::Own);
        }
        let Some(old) = register.newest(name) else { return Err(nobody(name)) };
        if old.revoked.is_some() {
            return Err(Failure::new(Kind::Conflict, format!("the certificate of {name} is revoked"))
                .hint(format!("larder ca issue {name} makes a new one, with the rights you name")));
        }
        let Some(right) = old.right() else {
            return Err(Failure::new(Kind::Damaged, format!("the register has no right for {name}")));
        };
        let life_ms = old.not_after_ms.saturating_sub(old.not_before_ms).saturating_sub(BACKDATE_MS);
        check_life(&known, life_ms, now_ms)?;
        let wanted =
            Wanted::Client { name: name.to_owned(), right, namespaces: old.namespaces.clone(), life_ms };
        self.sign_and_note(register, &wanted, now_ms).map(Renewed::Other)
    }

    /// Revokes all certificates of a name that are still good, or the one with this serial number. Answers those that
    /// are revoked by it.
    ///
    /// # Errors
    /// Not found; a conflict for what this machine itself uses.
    pub fn revoke(&self, name_or_serial: &str, reason: Reason, clock: &dyn Clock) -> Outcome<Vec<Entry>> {
        let now_ms = clock.wall_ms();
        self.known()?;
        let mut register = self.register()?;
        let serial = name_or_serial.to_ascii_lowercase();
        let meant = |entry: &Entry| entry.name == name_or_serial || entry.serial == serial;
        if !register.certificates.iter().any(meant) {
            return Err(nobody(name_or_serial));
        }
        if let Some(own) = register.certificates.iter().find(|entry| meant(entry) && is_own(entry)) {
            let message = format!("{} is this machine's own certificate, and in use", own.name);
            return Err(Failure::new(Kind::Conflict, message).hint(format!(
                "larder ca renew {}; then the one before can be revoked by its serial number",
                own.name
            )));
        }
        let mut revoked = Vec::new();
        for entry in register.certificates.iter_mut().filter(|entry| meant(entry) && entry.revoked.is_none())
        {
            entry.revoked = Some(Revocation { at_ms: now_ms, reason });
            revoked.push(entry.clone());
        }
        // Also if all were revoked before: the list may not say so yet.
        self.write_list(&self.load_authority()?, register, now_ms)?;
        Ok(revoked)
    }

    /// Makes a new authority, and node and client under it. Whatever the one before issued opens nothing any more.
    ///
    /// # Errors
    /// A conflict if there is one, unless it is to be replaced.
    pub fn create(&self, address: std::net::IpAddr, replace: bool, clock: &dyn Clock) -> Outcome {
        let now_ms = clock.wall_ms();
        if self.authority_key_file().exists() && !replace {
            return Err(Failure::new(Kind::Conflict, "there is an authority here already").hint(
                "larder ca create --replace makes a new one; every certificate that was issued is void then",
            ));
        }
        // One that cannot be read does not stand in the way of a new beginning.
        let hosts = self.register().map(|register| register.node_hosts).unwrap_or_default();
        let (authority, register) = self.make_authority(&hosts, now_ms)?;
        let issued = Issued {
            format: ISSUED_FORMAT,
            authority_not_before_ms: Some(now_ms.saturating_sub(BACKDATE_MS)),
            authority_not_after_ms: now_ms + AUTHORITY_LIFE_MS,
            leaves_not_before_ms: None,
            leaves_not_after_ms: 0,
            node_address: address,
        };
        self.make_own(&authority, register, issued, now_ms)
    }

    /// Where the node's certificate says that it listens, if there is one.
    ///
    /// # Errors
    /// What the file system says.
    pub fn node_address(&self) -> Outcome<Option<std::net::IpAddr>> {
        Ok(self.issued()?.map(|issued| issued.node_address))
    }
}

/// What this machine's node and commands use now.
fn is_own(entry: &Entry) -> bool {
    [NODE_NAME, CLIENT_NAME].contains(&entry.name.as_str()) && !entry.replaced
}

fn nobody(name: &str) -> Failure {
    Failure::new(Kind::NotFound, format!("no certificate was issued to {}", crate::failure::clean(name)))
        .hint("larder ca list")
}

fn check_life(known: &Issued, life_ms: u64, now_ms: u64) -> Outcome {
    if now_ms.saturating_add(life_ms) > known.authority_not_after_ms {
        let left = known.authority_not_after_ms.saturating_sub(now_ms) / super::DAY_MS;
        return Err(Failure::invalid(format!("the authority itself ends before that days_left={left}")));
    }
    Ok(())
}

/// The least right that a name of rights stands for.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_right(text: &str) -> Result<Right, String> {
    Right::named(text).ok_or_else(|| format!("one of {}", Right::ALL.map(Right::name).join(", ")))
}
