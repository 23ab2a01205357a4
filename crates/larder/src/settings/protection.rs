//! The settings about who may ask how much, and for whom proxies call: `http_rate` and its kin, `grpc_rate` and its kin,
//! `trusted_proxies`, `proxy_header`, `proxy_protocol`. [What they are for](../../../../docs/operate/protection.md).

use std::net::Ipv4Addr;

use larder_door::Rates;
use larder_door::bucket::{BURST_MAX, RATE_MAX, Rate};
use larder_door::proxies::{NETWORKS_MAX, Proxies, Range, Told};
use larder_node::config::{GRPC_RATES_DEFAULT, GrpcConfig};

use super::Settings;
use super::http::one_of;
use super::table::{Field, Process};

/// A door, as `proxy_protocol` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The HTTP door.
    Http,
    /// The Redis door.
    Redis,
    /// The gRPC door.
    Grpc,
}

/// Doors by the name they have in `proxy_protocol`.
const DOORS: [(&str, Door); 3] = [("http", Door::Http), ("redis", Door::Redis), ("grpc", Door::Grpc)];

/// All of them that are no door's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// What may be asked over gRPC.
    pub grpc: Rates,
    /// Who is believed to call for others.
    pub proxies: Proxies,
    /// Where trusted proxies begin connections with a PROXY protocol header.
    pub proxy_protocol: Vec<Door>,
}

impl Default for Protection {
    fn default() -> Self {
        Self { grpc: GRPC_RATES_DEFAULT, proxies: Proxies::default(), proxy_protocol: Vec::new() }
    }
}

impl Protection {
    /// Whether trusted proxies speak the PROXY protocol to this door.
    pub fn speaks(&self, door: Door) -> bool {
        self.proxy_protocol.contains(&door)
    }

    /// What the node is told of its gRPC door.
    pub fn grpc_config(&self) -> GrpcConfig {
        GrpcConfig { rates: self.grpc, proxy_protocol: self.speaks(Door::Grpc) }
    }
}

/// Parses `100/200`.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    let number = |text: &str, max: u32| text.parse::<u32>().ok().filter(|number| *number <= max);
    let parsed = text.split_once('/').and_then(|(rate, burst)| {
        Some(Rate { per_second: number(rate, RATE_MAX)?, burst: number(burst, BURST_MAX)? })
    });
    match parsed {
        Some(Rate { per_second, burst: 0 }) if per_second > 0 => {
            Err("a burst of 0 would let nobody in: expected RATE/BURST, like 100/200".to_owned())
        }
        Some(rate) => Ok(rate),
        None => Err("expected RATE/BURST, like 100/200".to_owned()),
    }
}

/// A rate as [`parse_rate`] reads it.
pub fn rate_text(rate: Rate) -> String {
    format!("{}/{}", rate.per_second, rate.burst)
}

/// What is allowed for a rate.
pub fn rate_allowed() -> String {
    format!("RATE/BURST, each at most {RATE_MAX} and {BURST_MAX}")
}

/// Parses `off`, `all`, or doors with commas between them.
fn parse_doors(text: &str) -> Result<Vec<Door>, String> {
    let all = DOORS.map(|(_, door)| door).to_vec();
    match text {
        "off" => Ok(Vec::new()),
        "all" => Ok(all),
        text => {
            let named = |name: &str| DOORS.iter().find(|(own, _)| *own == name.trim()).map(|(_, door)| *door);
            let doors: Option<Vec<Door>> = text.split(',').map(named).collect();
            let doors =
                doors.ok_or("expected off, all, or doors with commas between them, like http,redis")?;
            // In the order of the table, each once.
            Ok(all.into_iter().filter(|door| doors.contains(door)).collect())
        }
    }
}

fn doors_text(doors: &[Door]) -> String {
    match doors.len() {
        0 => "off".to_owned(),
        len if len == DOORS.len() => "all".to_owned(),
        _ => {
            let named = DOORS.iter().filter(|(_, door)| doors.contains(door));
            named.map(|(name, _)| *name).collect::<Vec<_>>().join(",")
        }
    }
}

/// Parses addresses and networks with commas between them.
fn parse_proxies(text: &str) -> Result<Vec<Range>, String> {
    let texts: Vec<&str> = text.split(',').map(str::trim).filter(|text| !text.is_empty()).collect();
    if texts.len() > NETWORKS_MAX {
        return Err(format!("expected at most {NETWORKS_MAX} addresses and networks"));
    }
    texts.iter().map(|text| text.parse().map_err(|e| format!("{text}: {e}"))).collect()
}

fn proxies_text(ranges: &[Range]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// What all addresses together may ask, beside what one may.
pub const TOTAL_MEANING: &str =
    "The same for all addresses together: what very many of them may ask without leaving nothing for others.";

/// What one identity may ask.
pub const IDENTITY_MEANING: &str =
    "The same for each certificate (by name) and token (by id), wherever it is used from.";

/// The entry of a rate in the table of all settings: its name, where it is in the settings, what it means.
macro_rules! rate_field {
    ($name:literal, $($place:ident).+, $meaning:expr) => {
        Field {
            name: $name,
            meaning: $meaning,
            process: Process::Node,
            allowed: $crate::settings::protection::rate_allowed,
            set: |settings, text| {
                $crate::settings::protection::parse_rate(text).map(|rate| settings.$($place).+ = rate)
            },
            show: |settings| $crate::settings::protection::rate_text(settings.$($place).+),
        }
    };
}

/// The same of for whom a door's rates hold.
macro_rules! rate_for_field {
    ($name:literal, $($place:ident).+, $meaning:expr) => {
        Field {
            name: $name,
            meaning: $meaning,
            process: Process::Node,
            allowed: || "strangers or all".to_owned(),
            set: |settings, text| {
                settings.$($place).+ = $crate::settings::http::one_of(text, ["strangers", "all"])? == 1;
                Ok(())
            },
            show: |settings| if settings.$($place).+ { "all" } else { "strangers" }.to_owned(),
        }
    };
}

pub(super) use {rate_field, rate_for_field};

/// Their entries in the table of all settings.
pub const FIELDS: &[Field] = &[
    rate_field!(
        "http_rate",
        http.rates.address,
        "Requests a second that one address (IPv6: one /64) may make over HTTP, and how many at once after a pause; \
                  0/0 is no limit. Programs of this machine have no limit and those with a certificate or token that of \
                  http_rate_identity, unless http_rate_for says otherwise."
    ),
    rate_field!("http_rate_total", http.rates.total, TOTAL_MEANING),
    rate_field!("http_rate_identity", http.rates.identity, IDENTITY_MEANING),
    rate_for_field!(
        "http_rate_for",
        http.rates.for_all,
        "For whom http_rate and http_rate_total hold: strangers, or all (also this machine's programs, certificates and \
                  tokens)."
    ),
    rate_field!(
        "grpc_rate",
        protection.grpc.address,
        "Connections a second that one address of another machine may begin at listen, and how many at once after a \
                  pause; 0/0 is no limit. They are counted before the handshake."
    ),
    rate_field!("grpc_rate_total", protection.grpc.total, "The same for all addresses together."),
    rate_field!(
        "grpc_rate_identity",
        protection.grpc.identity,
        "Calls a second, and operations in streams, of one certificate over gRPC, and how many at once after a pause. \
                  Calls beyond it are refused, operations in streams are taken more slowly."
    ),
    Field {
        name: "trusted_proxies",
        meaning: "Addresses and networks of proxies that are believed when they say for whom they call. Whoever calls by one of \
                  them is never taken for a program of this machine.",
        process: Process::Node,
        allowed: || {
            format!("addresses and networks with commas between them, at most {NETWORKS_MAX}; or nothing")
        },
        set: |settings, text| parse_proxies(text).map(|ranges| settings.protection.proxies.trusted = ranges),
        show: |settings| proxies_text(&settings.protection.proxies.trusted),
    },
    Field {
        name: "proxy_header",
        meaning: "In which header of HTTP requests trusted proxies say it. The other one is not looked at.",
        process: Process::Node,
        allowed: || "x-forwarded-for or forwarded".to_owned(),
        set: |settings, text| {
            let told = [Told::XForwardedFor, Told::Forwarded];
            settings.protection.proxies.told = told[one_of(text, ["x-forwarded-for", "forwarded"])?];
            Ok(())
        },
        show: |settings| match settings.protection.proxies.told {
            Told::XForwardedFor => "x-forwarded-for".to_owned(),
            Told::Forwarded => "forwarded".to_owned(),
        },
    },
    Field {
        name: "proxy_protocol",
        meaning: "Doors to which trusted proxies speak the PROXY protocol (version 1 or 2): each of their connections must begin \
                  with its header then.",
        process: Process::Node,
        allowed: || "off, all, or doors with commas between them: http, redis, grpc".to_owned(),
        set: |settings, text| parse_doors(text).map(|doors| settings.protection.proxy_protocol = doors),
        show: |settings| doors_text(&settings.protection.proxy_protocol),
    },
];

/// Whether what is set together makes sense.
///
/// # Errors
/// A sentence that says what is missing.
pub fn check(settings: &Settings) -> Result<(), String> {
    let protection = &settings.protection;
    if !protection.proxy_protocol.is_empty() && protection.proxies.trusted.is_empty() {
        return Err(
            "proxy_protocol is for trusted proxies, and there are none: set trusted_proxies".to_owned()
        );
    }
    if protection.speaks(Door::Grpc) && protection.proxies.is_trusted(Ipv4Addr::LOCALHOST.into()) {
        return Err("with proxy_protocol at the gRPC door, trusted_proxies must not have 127.0.0.1: this machine's own \
                    commands, which call from there, would be refused"
            .to_owned());
    }
    settings.http.check(settings.listen)?;
    settings.redis.check(settings.listen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_refused() {
        for rate in ["100", "a/b", "100/0", "-1/2", "2000000/1", "1/2/3"] {
            assert!(parse_rate(rate).is_err(), "{rate}");
        }
        assert_eq!(parse_rate("0/0"), Ok(Rate::NONE));
        for doors in ["", "http,", "true", "https", "off,http"] {
            assert!(parse_doors(doors).is_err(), "{doors}");
        }
        assert!(parse_proxies("10.0.0.1/8").unwrap_err().contains("write 10.0.0.0/8"));
        assert!(
            parse_proxies("proxy.example").unwrap_err().starts_with("proxy.example: expected an address")
        );
        assert!(parse_proxies(&vec!["::1"; NETWORKS_MAX + 1].join(",")).is_err());
    }

    #[test]
    fn what_is_read_is_shown() {
        for text in ["off", "all", "http", "http,grpc"] {
            assert_eq!(doors_text(&parse_doors(text).unwrap()), text);
        }
        assert_eq!(doors_text(&parse_doors("grpc, http,grpc").unwrap()), "http,grpc");
        assert_eq!(
            proxies_text(&parse_proxies(" 10.0.0.0/8,::1 ,192.0.2.7/32").unwrap()),
            "10.0.0.0/8,::1,192.0.2.7"
        );
    }
}
