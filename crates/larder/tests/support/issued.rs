//! Certificates as others hold them: issued by the real command, or signed by hand with a home's authority to be what
//! the command would never issue.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use std::path::{Path, PathBuf};

use larder_client::connection::ConnectOptions;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use time::{Duration, OffsetDateTime};

use super::support::Home;

/// Where the home's node listens.
pub fn address(home: &Home) -> String {
    let text = std::fs::read(home.home().join("state/node.pid")).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    value["address"].as_str().unwrap().to_owned()
}

/// Issues a certificate; answers the folder it is in.
pub fn issue(home: &Home, name: &str, more: &[&str]) -> PathBuf {
    let folder = home.path(&format!("issued-{name}"));
    let to = folder.to_str().unwrap().to_owned();
    home.run(&[&["ca", "issue", name, "--to", &to], more].concat()).ends(0);
    folder
}

/// What is needed to connect with the certificate in a folder.
pub fn options(home: &Home, folder: &Path) -> ConnectOptions {
    let file = |name: &str| std::fs::read(folder.join(name)).unwrap();
    ConnectOptions {
        address: address(home),
        authority_pem: file("authority.pem"),
        certificate_pem: file("client.pem"),
        key_pem: file("client.key"),
    }
}

/// A client certificate by hand.
pub struct ByHand {
    pub uris: Vec<&'static str>,
    pub from_days: i64,
    pub to_days: i64,
    pub usage: ExtendedKeyUsagePurpose,
}

impl Default for ByHand {
    fn default() -> Self {
        Self {
            uris: vec!["larder:rights/write"],
            from_days: -1,
            to_days: 1,
            usage: ExtendedKeyUsagePurpose::ClientAuth,
        }
    }
}

impl ByHand {
    /// Signs it with the home's authority, and puts it where the home's own commands take theirs from.
    pub fn put_in_place(&self, home: &Home) {
        let folder = home.home().join("config/certificates");
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let mut authority = CertificateParams::default();
        authority.distinguished_name = rcgen::DistinguishedName::new();
        authority.distinguished_name.push(DnType::CommonName, "larder authority");
        let issuer = Issuer::new(authority, KeyPair::from_pem(&text("authority.key")).unwrap());
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "by hand");
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names =
            self.uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.extended_key_usages = vec![self.usage.clone()];
        #[allow(clippy::disallowed_methods, reason = "a certificate for the clock that the program goes by")]
        let now = OffsetDateTime::from(std::time::SystemTime::now());
        params.not_before = now + Duration::days(self.from_days);
        params.not_after = now + Duration::days(self.to_days);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        put(&folder.join("client.pem"), certificate.pem().as_bytes());
        put(&folder.join("client.key"), key.serialize_pem().as_bytes());
    }
}

/// Replaces a file as a whole.
pub fn put(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    std::io::Write::write_all(&mut std::fs::File::create(&new).unwrap(), bytes).unwrap();
    std::fs::rename(new, path).unwrap();
}
