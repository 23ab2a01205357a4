//! The settings of the Redis door: `redis_listen`, `redis_auth`, `redis_namespace`, `redis_connections_max`,
//! `redis_rate`, `redis_rate_for`.

use std::net::SocketAddr;

use larder_door::bucket::Rate;
use larder_door::resp::limits::CONNECTIONS_MAX;
use larder_format::limits::{NAMESPACE_NAME_LEN_MAX, VALUE_LEN_DEFAULT_MAX};
use larder_format::namespace::{Class, Namespace, Privacy, ScanOrder};
use larder_node::config::{RAW_NAMESPACE, REDIS_PORT_DEFAULT, REDIS_RATE_DEFAULT};
use larder_node::{HttpAuth, RedisConfig};

use crate::settings::http::{HttpAuthSetting, HttpListen, check_guarded};

/// Ports from that of the node to that of this door; the HTTP door has the one between.
const PORTS_ON: u16 = 2;

/// Fewest connections that the door may be limited to.
pub const CONNECTIONS_MIN: usize = 16;

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Where it listens.
    pub listen: HttpListen,
    /// Whom it lets in.
    pub auth: HttpAuthSetting,
    /// The namespace that is its database 0.
    pub namespace: String,
    /// Most connections at a time.
    pub connections_max: usize,
    /// What one address may ask.
    pub rate: Rate,
    /// Also of this machine's programs and those that have said who they are.
    pub rate_for_all: bool,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            listen: HttpListen::Auto,
            auth: HttpAuthSetting::Auto,
            namespace: RAW_NAMESPACE.to_owned(),
            connections_max: CONNECTIONS_MAX,
            rate: REDIS_RATE_DEFAULT,
            rate_for_all: false,
        }
    }
}

impl RedisSettings {
    /// Whether the door, as it is set, lets in nobody from elsewhere whom it does not know.
    ///
    /// # Errors
    /// As [`check_guarded`].
    pub fn check(&self, listen: SocketAddr) -> Result<(), String> {
        match self.config(listen) {
            Some(redis) => check_guarded("redis", redis.listen, redis.auth != HttpAuth::None),
            None => Ok(()),
        }
    }

    /// As the node is told them; `None`: no door.
    pub fn config(&self, listen: SocketAddr) -> Option<RedisConfig> {
        let address = self.listen.beside(listen, PORTS_ON, REDIS_PORT_DEFAULT)?;
        Some(RedisConfig {
            listen: address,
            auth: self.auth.at(address),
            rate: self.rate,
            rate_for_all: self.rate_for_all,
            namespace: self.namespace.clone(),
            connections_max: self.connections_max,
            value_len_max: VALUE_LEN_DEFAULT_MAX,
        })
    }
}

/// Parses the name of a namespace.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_namespace(text: &str) -> Result<String, String> {
    let namespace = Namespace::new(text, Privacy::Raw, Class::Memory, ScanOrder::Hash);
    match namespace.check() {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What is allowed as a namespace's name.
pub fn allowed_namespace() -> String {
    format!("the name of a raw namespace in memory, at most {NAMESPACE_NAME_LEN_MAX} bytes")
}

/// Parses a number of connections.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ CONNECTIONS_MIN..=CONNECTIONS_MAX) => Ok(count),
        _ => Err(allowed_connections()),
    }
}

/// What is allowed as a number of connections.
pub fn allowed_connections() -> String {
    format!("{CONNECTIONS_MIN} to {CONNECTIONS_MAX}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_follows_that_of_the_node() {
        let at = |listen: &str| {
            let config = RedisSettings::default().config(listen.parse().unwrap()).unwrap();
            config.listen.to_string()
        };
        assert_eq!(at("127.0.0.1:7447"), "127.0.0.1:7449");
        assert_eq!(at("0.0.0.0:9000"), "127.0.0.1:9002");
        assert_eq!(at("127.0.0.1:0"), "127.0.0.1:0");
        assert_eq!(at("127.0.0.1:65534"), "127.0.0.1:7449");
        let off = RedisSettings { listen: HttpListen::Off, ..RedisSettings::default() };
        assert!(off.config("127.0.0.1:1".parse().unwrap()).is_none());
    }

    #[test]
    fn elsewhere_than_on_loopback_whoever_comes_must_be_known() {
        let auth = |listen: &str, auth: &str| {
            let settings = RedisSettings {
                listen: HttpListen::parse(listen).unwrap(),
                auth: HttpAuthSetting::parse(auth).unwrap(),
                ..RedisSettings::default()
            };
            settings.config("127.0.0.1:7447".parse().unwrap()).unwrap().auth
        };
        assert_eq!(auth("auto", "auto"), HttpAuth::None);
        assert_eq!(auth("0.0.0.0:6379", "auto"), HttpAuth::Certificate);
        assert_eq!(auth("127.0.0.1:6379", "certificate"), HttpAuth::Certificate);
        assert_eq!(auth("0.0.0.0:6379", "token"), HttpAuth::Token);
        let open = RedisSettings {
            listen: HttpListen::parse("0.0.0.0:6379").unwrap(),
            auth: HttpAuthSetting::parse("none").unwrap(),
            ..RedisSettings::default()
        };
        assert!(open.check("127.0.0.1:7447".parse().unwrap()).unwrap_err().contains("redis_auth to token"));
    }

    #[test]
    fn slips_are_refused() {
        assert!(parse_namespace("Raw").is_err() && parse_namespace("").is_err());
        assert_eq!(parse_namespace("cache").as_deref(), Ok("cache"));
        assert!(parse_connections("1").is_err() && parse_connections("x").is_err());
    }
}
