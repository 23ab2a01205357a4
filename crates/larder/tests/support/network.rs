//! A network of this machine and others that are not loopback: a namespace with addresses of its own.
#![allow(dead_code, unreachable_pub, clippy::print_stderr, reason = "every test file uses a part of it")]

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Addresses that the other side has: their last numbers.
const OTHERS: [u8; 4] = [2, 3, 4, 5];

static NEXT: AtomicU32 = AtomicU32::new(0);

/// This machine at one end, others at the other.
pub struct Network {
    namespace: String,
    number: u32,
    /// This machine's own address.
    pub address: String,
}

impl Network {
    /// `None`, with a word about it, where the system does not allow one to be made.
    pub fn new() -> Option<Self> {
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // Tests run beside each other: in one process, and in several.
        let number = (process * 7 + next) % 230 + 20;
        let namespace = format!("larder-test-{process}-{next}");
        let (here, there) = (format!("lt{number}a"), format!("lt{number}b"));
        let network = Self { namespace: namespace.clone(), number, address: format!("10.213.{number}.1") };
        let mut steps = vec![
            format!("netns add {namespace}"),
            format!("link add {here} type veth peer name {there}"),
            format!("link set {there} netns {namespace}"),
            format!("addr add {}/24 dev {here}", network.address),
            format!("link set {here} up"),
        ];
        steps.extend(
            OTHERS.map(|last| format!("-n {namespace} addr add {}/24 dev {there}", network.other(last))),
        );
        steps.push(format!("-n {namespace} link set {there} up"));
        for step in steps {
            let made = Command::new("ip").args(step.split(' ')).output();
            if !made.as_ref().is_ok_and(|output| output.status.success()) {
                eprintln!("NOT RUN: a network namespace cannot be made here (ip {step}): {made:?}");
                return None;
            }
        }
        Some(network)
    }

    /// One of the others' addresses.
    pub fn other(&self, last: u8) -> String {
        assert!(OTHERS.contains(&last));
        format!("10.213.{}.{last}", self.number)
    }

    /// A command that runs where the others are.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]);
        command
    }

    /// Statuses of this many requests by one of the others, over HTTPS on one connection.
    pub fn curl_many(&self, last: u8, door: &str, count: usize, headers: &[&str]) -> Vec<String> {
        let mut command = self.command("curl");
        command.args(["-sSk", "-o", "/dev/null", "-w", "%{http_code}\n", "--interface", &self.other(last)]);
        for header in headers {
            command.args(["-H", header]);
        }
        // What follows a # is not sent: the same request again and again.
        let output = command.arg(format!("https://{door}/health#[1-{count}]")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The pair of interfaces goes with it.
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).output();
    }
}
