//! Redis clients that nobody changed for us, against the real binary: redis-py, ioredis, node-redis, and redis-benchmark.
#![allow(clippy::print_stderr, reason = "says what is not run")]

#[path = "support/resp.rs"]
mod resp;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use resp::address;
use support::Home;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Says that something is not run, unless under `CI=true`: there nothing may be left out.
fn is_missing(path: &Path, advice: &str) -> bool {
    if path.exists() {
        return false;
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{advice}");
    eprintln!("NOT RUN: {advice}");
    true
}

#[track_caller]
fn says_ok(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.ends_with("ok\n"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A node, where its door is, and a token that may write.
fn node(auth: &str) -> (Home, String, String, Vec<String>) {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let auth = format!("redis_auth={auth}");
    home.run(&[
        "up",
        "--listen",
        "127.0.0.1:0",
        "--set",
        &auth,
        "--passphrase-file",
        passphrase.to_str().unwrap(),
    ])
    .ends(0);
    let door = address(&home);
    let (host, port) = door.rsplit_once(':').unwrap();
    let (host, port) = (host.to_owned(), port.to_owned());
    let made = home.run(&["token", "create", "--right", "write", "--json"]).ends(0).json();
    let token = ["id", "token"].map(|name| made[name].as_str().unwrap().to_owned()).to_vec();
    (home, host, port, token)
}

#[test]
fn redis_py_works_with_and_without_a_token() {
    let python = project().join(".venv/bin/python");
    let has_client =
        |python: &Path| Command::new(python).args(["-c", "import redis"]).status().is_ok_and(|s| s.success());
    if is_missing(&python, "tools/reader/setup.sh makes the Python environment that this needs") {
        return;
    }
    assert!(has_client(&python), "tools/reader/setup.sh installs the client for Python");
    for auth in ["none", "token"] {
        let (_home, host, port, token) = node(auth);
        let mut command = Command::new(&python);
        command.arg(project().join("tools/redis/drive.py")).args([&host, &port]);
        if auth == "token" {
            command.args(&token);
        }
        says_ok(&mut command);
    }
}

#[test]
fn clients_for_node_js_work_with_and_without_a_token() {
    let clients = project().join("target/redis-clients");
    let made = clients.join("made-from");
    if is_missing(&made, "tools/redis/setup.sh installs the clients for Node.js that this needs") {
        return;
    }
    for auth in ["none", "token"] {
        let (_home, host, port, token) = node(auth);
        let mut command = Command::new("node");
        command.arg(project().join("tools/redis/drive.mjs")).arg(&clients).args([&host, &port]);
        if auth == "token" {
            command.args(&token);
        }
        says_ok(&mut command);
    }
}

#[test]
fn redis_benchmark_finds_nothing_wrong() {
    let (_home, host, port, _) = node("none");
    for pipeline in ["1", "16"] {
        let run = Command::new("redis-benchmark")
            .args([
                "-h", &host, "-p", &port, "-n", "5000", "-c", "20", "-P", pipeline, "-d", "256", "-r", "1000",
            ])
            .args(["-t", "ping,set,get,incr,mset", "--csv"])
            .output();
        let output = match run {
            Ok(output) => output,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "redis-benchmark: {error}");
                eprintln!("NOT RUN: redis-benchmark is not installed (Debian package redis-tools)");
                return;
            }
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        for test in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"] {
            let line = said.lines().find(|line| line.starts_with(&format!("\"{test}\"")));
            assert!(line.is_some_and(|line| !line.contains("\"0.00\"")), "{test} in {said}");
        }
        assert!(!said.contains("ERR"), "{said}");
    }
}
