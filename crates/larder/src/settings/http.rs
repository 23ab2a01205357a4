//! The settings of the HTTP door: `http_listen`, `http_auth`, `http_ttl`, `http_hosts`, and with [`super::protection`] what
//! may be asked of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use larder_door::Rates;
use larder_format::limits::VALUE_LEN_DEFAULT_MAX;
use larder_node::config::{HTTP_PORT_DEFAULT, HTTP_RATES_DEFAULT, RAW_NAMESPACE};
use larder_node::{HttpConfig, RawAuth};

use super::protection::{Door, Protection};

/// Most names of `http_hosts`: each is compared with every request's.
pub const HOSTS_MAX: usize = 16;
/// Longest name, in bytes, as in the domain name system.
const HOST_LEN_MAX: usize = 253;

/// Where a door beside the node's own listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpListen {
    /// On loopback, beside the node's own port.
    Auto,
    /// Nowhere.
    Off,
    /// Here.
    At(SocketAddr),
}

impl HttpListen {
    /// Parses `auto`, `off` or an address.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            text => text.parse().map(Self::At).map_err(|_| "expected ADDRESS:PORT, auto or off".to_owned()),
        }
    }

    /// As [`HttpListen::parse`] reads it.
    pub fn text(self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::Off => "off".to_owned(),
            Self::At(address) => address.to_string(),
        }
    }

    /// The address, for a node that listens at `listen` for gRPC.
    pub fn address(self, listen: SocketAddr) -> Option<SocketAddr> {
        self.beside(listen, 1, HTTP_PORT_DEFAULT)
    }

    /// The address of a door so many ports on from that of a node that listens at `listen` for gRPC. Two nodes of one
    /// machine with ports apart so have the ports of their doors apart, and one on any free port has its doors on any
    /// free port.
    pub fn beside(self, listen: SocketAddr, on: u16, default: u16) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
            Self::Auto => {
                let port = match listen.port() {
                    0 => 0,
                    port => port.checked_add(on).unwrap_or(default),
                };
                Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
            }
        }
    }
}

/// Whom a raw door lets in, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawAuthSetting {
    /// By the address.
    Auto,
    /// As said.
    Always(RawAuth),
}

impl RawAuthSetting {
    /// Parses `auto`, `certificate`, `token` or `none`.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(match one_of(text, ["auto", "certificate", "token", "none"])? {
            0 => Self::Auto,
            1 => Self::Always(RawAuth::Certificate),
            2 => Self::Always(RawAuth::Token),
            _ => Self::Always(RawAuth::None),
        })
    }

    /// As [`RawAuthSetting::parse`] reads it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always(RawAuth::Certificate) => "certificate",
            Self::Always(RawAuth::Token) => "token",
            Self::Always(RawAuth::None) => "none",
        }
    }

    /// What that is for a door at this address.
    pub fn at(self, address: SocketAddr) -> RawAuth {
        match self {
            Self::Always(auth) => auth,
            Self::Auto if address.ip().is_loopback() => RawAuth::None,
            Self::Auto => RawAuth::Certificate,
        }
    }
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Where it listens.
    pub listen: HttpListen,
    /// Whom it lets in.
    pub auth: RawAuthSetting,
    /// What may be asked.
    pub rates: Rates,
    /// Lifetimes out of range are clamped.
    pub clamp_ttl: bool,
    /// Further host names.
    pub hosts: Vec<String>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listen: HttpListen::Auto,
            auth: RawAuthSetting::Auto,
            rates: HTTP_RATES_DEFAULT,
            clamp_ttl: false,
            hosts: Vec::new(),
        }
    }
}

impl HttpSettings {
    /// Whether the door, as it is set, lets in nobody from elsewhere whom it does not know.
    ///
    /// # Errors
    /// As [`check_guarded`].
    pub fn check(&self, listen: SocketAddr) -> Result<(), String> {
        match self.config(listen, &Protection::default()) {
            Some(http) => check_guarded("http", http.listen, http.auth != RawAuth::None),
            None => Ok(()),
        }
    }

    /// As the node is told them; `None`: no door.
    pub fn config(&self, listen: SocketAddr, protection: &Protection) -> Option<HttpConfig> {
        let address = self.listen.address(listen)?;
        Some(HttpConfig {
            listen: address,
            auth: self.auth.at(address),
            rates: self.rates,
            proxy_protocol: protection.speaks(Door::Http),
            clamp_ttl: self.clamp_ttl,
            hosts: self.hosts.clone(),
            namespace: RAW_NAMESPACE.to_owned(),
            value_len_max: VALUE_LEN_DEFAULT_MAX,
        })
    }
}

/// Refuses a raw door that would let in whoever reaches it from another machine.
///
/// # Errors
/// A sentence that says what to set instead.
pub fn check_guarded(door: &str, address: SocketAddr, asks_who: bool) -> Result<(), String> {
    if asks_who || address.ip().is_loopback() {
        return Ok(());
    }
    Err(format!(
        "{door}_listen is {address}, which other machines reach, and {door}_auth is none: whoever reaches it would read and \
         write its values. Set {door}_auth to token or certificate, or {door}_listen to a loopback address (auto)"
    ))
}

/// Which of these words it is.
///
/// # Errors
/// A sentence that lists them.
pub fn one_of<const N: usize>(text: &str, words: [&str; N]) -> Result<usize, String> {
    words.iter().position(|word| *word == text).ok_or_else(|| format!("expected {}", words.join(" or ")))
}

/// Parses names with commas between them.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_hosts(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> =
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    let good = |name: &String| name.len() <= HOST_LEN_MAX && name.bytes().all(allowed);
    if names.len() > HOSTS_MAX || !names.iter().all(good) {
        return Err(format!(
            "expected at most {HOSTS_MAX} host names, without ports, with commas between them"
        ));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(listen: &str) -> String {
        let address = HttpListen::Auto.address(listen.parse().unwrap()).unwrap();
        address.to_string()
    }

    #[test]
    fn the_port_follows_that_of_the_node_and_the_address_does_not() {
        assert_eq!(at("127.0.0.1:7447"), "127.0.0.1:7448");
        assert_eq!(at("0.0.0.0:9000"), "127.0.0.1:9001");
        assert_eq!(at("127.0.0.1:0"), "127.0.0.1:0");
        assert_eq!(at("127.0.0.1:65535"), "127.0.0.1:7448");
        assert_eq!(HttpListen::Off.address("127.0.0.1:1".parse().unwrap()), None);
    }

    #[test]
    fn elsewhere_than_on_loopback_a_certificate_is_needed_unless_said_otherwise() {
        let auth = |listen: &str, auth: &str| {
            let settings = HttpSettings {
                listen: HttpListen::parse(listen).unwrap(),
                auth: RawAuthSetting::parse(auth).unwrap(),
                ..HttpSettings::default()
            };
            settings.config("127.0.0.1:7447".parse().unwrap(), &Protection::default()).unwrap().auth
        };
        assert_eq!(auth("auto", "auto"), RawAuth::None);
        assert_eq!(auth("[::1]:80", "auto"), RawAuth::None);
        assert_eq!(auth("0.0.0.0:80", "auto"), RawAuth::Certificate);
        assert_eq!(auth("0.0.0.0:80", "token"), RawAuth::Token);
        assert_eq!(auth("127.0.0.1:80", "certificate"), RawAuth::Certificate);
    }

    #[test]
    fn a_door_that_others_reach_and_that_asks_nobody_is_refused() {
        let check = |listen: &str, auth: &str| {
            let settings = HttpSettings {
                listen: HttpListen::parse(listen).unwrap(),
                auth: RawAuthSetting::parse(auth).unwrap(),
                ..HttpSettings::default()
            };
            settings.check("0.0.0.0:7447".parse().unwrap())
        };
        assert!(check("0.0.0.0:80", "none").unwrap_err().contains("http_auth to token"));
        assert!(check("[::]:80", "none").is_err());
        for (listen, auth) in
            [("0.0.0.0:80", "token"), ("0.0.0.0:80", "auto"), ("auto", "none"), ("off", "none")]
        {
            assert_eq!(check(listen, auth), Ok(()));
        }
    }

    #[test]
    fn slips_are_refused() {
        assert!(HttpListen::parse("7448").is_err());
        assert!(parse_hosts("a:1").is_err() && parse_hosts("a b").is_err());
        assert_eq!(parse_hosts(" larder.home.arpa, nas ").unwrap(), ["larder.home.arpa", "nas"]);
        assert!(parse_hosts("").unwrap().is_empty());
    }
}
