//! Clients that take more than their share, against the real node: others are served all the same, and memory is bounded.
#![allow(clippy::disallowed_methods, reason = "real sockets and processes")]

#[path = "support/python.rs"]
mod python;
mod support;

use std::net::TcpStream;

use larder_format::namespace::{Class, Namespace, Privacy, ScanOrder};
use serde_json::Value;
use support::{Home, Said};

const MIB: u64 = 1 << 20;

fn address(home: &Home) -> String {
    let text = std::fs::read_to_string(home.home().join("state/node.pid")).unwrap();
    let running: Value = serde_json::from_str(&text).unwrap();
    running["address"].as_str().unwrap().to_owned()
}

#[test]
fn clients_that_connect_and_say_nothing_hold_up_nobody() {
    let home = Home::up();
    let address = address(&home);
    // More than the node takes for unfinished handshakes at a time, and more than that again waiting behind them.
    let silent: Vec<TcpStream> = (0..700).map(|_| TcpStream::connect(&address).unwrap()).collect();
    home.run(&["value", "set", "k", "v"]).ends(0);
    assert_eq!(home.run(&["value", "get", "k"]).ends(0).out.trim(), "v");
    assert_eq!(silent.len(), 700, "they are there until now");
}

#[test]
fn a_client_that_asks_for_much_and_reads_nothing_fills_no_memory() {
    let home = Home::up();
    // On disk: each answer is read anew and is a copy of its own.
    let namespace = Namespace::new("greedy", Privacy::Raw, Class::Disk, ScanOrder::Key);
    let settings: String = namespace.encode().iter().map(|byte| format!("{byte:02x}")).collect();
    let Some(mut program) = python::program("slow_reader.py") else { return };
    program
        .arg(address(&home))
        .arg(home.home().join("config/certificates"))
        .arg(home.pid("node").to_string())
        .arg(namespace.id().0.to_string())
        .arg(settings);
    let said = Said::from(program.output().unwrap()).ends(0).json();
    let number = |name: &str| said[name].as_u64().unwrap();
    assert_eq!(number("read"), number("asked"), "{said}");
    let grown = number("highest").saturating_sub(number("before"));
    assert!(number("answer") >= 3 * MIB, "{said}");
    assert!(grown < 128 * MIB, "a thousand answers of three MiB wait somewhere else: {said}");
}
