//! The settings of the Redis door: `redis_listen`, `redis_auth`, `redis_namespace`, `redis_connections_max`,
//! and what may be asked: `redis_rate`, `redis_rate_total`, `redis_rate_identity`, `redis_rate_for`.

use std::net::SocketAddr;

use larder_door::Rates;
use larder_door::resp::limits::CONNECTIONS_MAX;
use larder_format::limits::{NAMESPACE_NAME_LEN_MAX, VALUE_LEN_DEFAULT_MAX};
use larder_format::namespace::{Class, Namespace, Privacy, ScanOrder};
use larder_node::config::{RAW_NAMESPACE, REDIS_PORT_DEFAULT, REDIS_RATES_DEFAULT};
use larder_node::{RawAuth, RedisConfig};

use super::http::{HttpListen, RawAuthSetting, check_guarded};
use super::protection::{Door, IDENTITY_MEANING, Protection, TOTAL_MEANING, rate_field, rate_for_field};
use super::table::{Field, Process};

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
    pub auth: RawAuthSetting,
    /// The namespace that is its database 0.
    pub namespace: String,
    /// Most connections at a time.
    pub connections_max: usize,
    /// What may be asked.
    pub rates: Rates,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            listen: HttpListen::Auto,
            auth: RawAuthSetting::Auto,
            namespace: RAW_NAMESPACE.to_owned(),
            connections_max: CONNECTIONS_MAX,
            rates: REDIS_RATES_DEFAULT,
        }
    }
}

impl RedisSettings {
    /// Whether the door, as it is set, lets in nobody from elsewhere whom it does not know.
    ///
    /// # Errors
    /// As [`check_guarded`].
    pub fn check(&self, listen: SocketAddr) -> Result<(), String> {
        match self.config(listen, &Protection::default()) {
            Some(redis) => check_guarded("redis", redis.listen, redis.auth != RawAuth::None),
            None => Ok(()),
        }
    }

    /// As the node is told them; `None`: no door.
    pub fn config(&self, listen: SocketAddr, protection: &Protection) -> Option<RedisConfig> {
        let address = self.listen.beside(listen, PORTS_ON, REDIS_PORT_DEFAULT)?;
        Some(RedisConfig {
            listen: address,
            auth: self.auth.at(address),
            rates: self.rates,
            proxy_protocol: protection.speaks(Door::Redis),
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

/// Their entries in the table of all settings.
pub const FIELDS: &[Field] = &[
    Field {
        name: "redis_listen",
        meaning: "Address and port of the Redis door, which serves values in memory in the clear to any Redis client; auto is \
                  127.0.0.1 and the second port after that of listen (7449), or any free one; off closes it.",
        process: Process::Node,
        allowed: || "auto, off, or ADDRESS:PORT of this machine".to_owned(),
        set: |settings, text| {
            settings.redis.listen = HttpListen::parse(text)?;
            Ok(())
        },
        show: |settings| settings.redis.listen.text(),
    },
    Field {
        name: "redis_auth",
        meaning: "Whom the Redis door lets in: token (those that AUTH with a token, or come with a certificate; TLS but on \
                  loopback), certificate (TLS, programs with a certificate of this authority) or none (plain, whoever reaches \
                  it: loopback only); auto is none on loopback and certificate elsewhere.",
        process: Process::Node,
        allowed: || "auto, certificate, token or none".to_owned(),
        set: |settings, text| {
            settings.redis.auth = RawAuthSetting::parse(text)?;
            Ok(())
        },
        show: |settings| settings.redis.auth.text().to_owned(),
    },
    Field {
        name: "redis_namespace",
        meaning: "The raw namespace in memory that Redis clients find as database 0. Where somebody has rights in one other \
                  namespace only, that one is theirs.",
        process: Process::Node,
        allowed: allowed_namespace,
        set: |settings, text| {
            settings.redis.namespace = parse_namespace(text)?;
            Ok(())
        },
        show: |settings| settings.redis.namespace.clone(),
    },
    Field {
        name: "redis_connections_max",
        meaning: "Most connections of Redis clients at a time; who comes beyond is told so and let go.",
        process: Process::Node,
        allowed: allowed_connections,
        set: |settings, text| {
            settings.redis.connections_max = parse_connections(text)?;
            Ok(())
        },
        show: |settings| settings.redis.connections_max.to_string(),
    },
    rate_field!(
        "redis_rate",
        redis.rates.address,
        "Commands a second that one address (IPv6: one /64) may send to the Redis door, and how many at once after a \
                  pause; 0/0 is no limit. Programs of this machine have no limit and those with a certificate or token that of \
                  redis_rate_identity, unless redis_rate_for says otherwise."
    ),
    rate_field!("redis_rate_total", redis.rates.total, TOTAL_MEANING),
    rate_field!("redis_rate_identity", redis.rates.identity, IDENTITY_MEANING),
    rate_for_field!(
        "redis_rate_for",
        redis.rates.for_all,
        "For whom redis_rate and redis_rate_total hold: strangers, or all (also this machine's programs, certificates \
                  and tokens)."
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_follows_that_of_the_node() {
        let at = |listen: &str| {
            let config =
                RedisSettings::default().config(listen.parse().unwrap(), &Protection::default()).unwrap();
            config.listen.to_string()
        };
        assert_eq!(at("127.0.0.1:7447"), "127.0.0.1:7449");
        assert_eq!(at("0.0.0.0:9000"), "127.0.0.1:9002");
        assert_eq!(at("127.0.0.1:0"), "127.0.0.1:0");
        assert_eq!(at("127.0.0.1:65534"), "127.0.0.1:7449");
        let off = RedisSettings { listen: HttpListen::Off, ..RedisSettings::default() };
        assert!(off.config("127.0.0.1:1".parse().unwrap(), &Protection::default()).is_none());
    }

    #[test]
    fn elsewhere_than_on_loopback_whoever_comes_must_be_known() {
        let auth = |listen: &str, auth: &str| {
            let settings = RedisSettings {
                listen: HttpListen::parse(listen).unwrap(),
                auth: RawAuthSetting::parse(auth).unwrap(),
                ..RedisSettings::default()
            };
            settings.config("127.0.0.1:7447".parse().unwrap(), &Protection::default()).unwrap().auth
        };
        assert_eq!(auth("auto", "auto"), RawAuth::None);
        assert_eq!(auth("0.0.0.0:6379", "auto"), RawAuth::Certificate);
        assert_eq!(auth("127.0.0.1:6379", "certificate"), RawAuth::Certificate);
        assert_eq!(auth("0.0.0.0:6379", "token"), RawAuth::Token);
        let open = RedisSettings {
            listen: HttpListen::parse("0.0.0.0:6379").unwrap(),
            auth: RawAuthSetting::parse("none").unwrap(),
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
