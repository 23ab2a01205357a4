//! Load tests as people and programs run them: on our own doors, on a real Redis, and on what is neither.

#[path = "support/resp.rs"]
mod resp;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use resp::Redis;
use serde_json::Value;
use support::patience::until;
use support::{Home, Said};

/// The answer to an inline command, up to the end of its first line.
fn ask(redis: &Redis, command: &str) -> String {
    let mut socket = TcpStream::connect(&redis.address).unwrap();
    socket.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut answer = [0; 200];
    let len = socket.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..len]).lines().next().unwrap().to_owned()
}

fn url(redis: &Redis) -> String {
    format!("redis://{}", redis.address)
}

fn bench(home: &Home, url: &str, more: &[&str]) -> Said {
    let short = ["--duration", "700ms", "--warmup", "100ms", "--keys", "500"];
    let chosen: Vec<&str> = short
        .chunks(2)
        .filter(|pair| !(more.contains(&pair[0]) || pair[0] == "--duration" && more.contains(&"--requests")))
        .flatten()
        .copied()
        .collect();
    home.run(&[&["bench", url], &chosen[..], more].concat())
}

fn only_phase(said: &Said) -> Value {
    let report = said.json();
    assert_eq!(report["phases"].as_array().unwrap().len(), 1, "{report}");
    report["phases"][0].clone()
}

#[test]
fn a_real_redis_passes_in_every_profile_and_is_left_as_it_was() {
    let Some(redis) = Redis::start(&[]) else { return };
    let home = Home::new();
    ask(&redis, "SET other thing");
    let said = bench(&home, &url(&redis), &["--json", "--requests", "20000", "-P", "8"]).ends(0);
    let phase = only_phase(&said);
    assert_eq!((&phase["requests"], &phase["errors"]), (&20_000.into(), &0.into()), "{phase}");
    assert_eq!(phase["verified"], phase["reads"]["count"]);
    assert!(said.err.is_empty(), "with --json standard error is for errors: {}", said.err);

    let open = only_phase(&bench(&home, &url(&redis), &["--json", "--rate", "2k", "--skew", "1.1"]).ends(0));
    assert!((1_200..=1_600).contains(&open["requests"].as_u64().unwrap()), "{open}");
    let ttl = ["--json", "--ttl", "50ms", "--mix", "50:50", "--value", "16..1KiB", "--keys", "20000"];
    let ttl = [&ttl[..], &["--requests", "20000"]].concat();
    let expiring = only_phase(&bench(&home, &url(&redis), &ttl).ends(0));
    assert!(expiring["absent"].as_u64().unwrap() > 0 && expiring["errors"] == 0, "{expiring}");

    let svg = home.path("ramp.svg");
    let ramp = ["--profile", "ramp", "-c", "10", "--duration", "1s", "--svg", svg.to_str().unwrap()];
    let ramp = bench(&home, &url(&redis), &ramp).ends(0).out;
    assert!(ramp.contains("1 connection ") && ramp.contains("10 connections"), "{ramp}");
    let picture = std::fs::read_to_string(svg).unwrap();
    assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n") && !picture.contains("NaN"));
    let stress = ["--profile", "stress", "-c", "4", "--duration", "1s", "--json", "--keys", "20"];
    let stress = bench(&home, &url(&redis), &stress).ends(0).json();
    let names: Vec<_> = stress["phases"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
    assert_eq!((names.len(), &names[0], &names[8]), (9, &"1 KiB".into(), &"256 KiB".into()));
    assert!(stress["phases"].as_array().unwrap().iter().all(|p| p["errors"] == 0), "{stress}");
    assert_eq!(ask(&redis, "DBSIZE"), ":1", "only what was there before");
}

#[test]
fn a_redis_that_wants_a_password_gets_it_from_a_file_or_the_environment() {
    let Some(redis) = Redis::start(&["--requirepass", "hunter2"]) else { return };
    let home = Home::new();
    let refused = bench(&home, &url(&redis), &[]).ends(7).says("NOAUTH").says("--token-file");
    assert_eq!(refused.out, "");
    let (right, wrong) = (home.file("right", b"hunter2\n"), home.file("wrong", b"hunter3\n"));
    bench(&home, &url(&redis), &["--token-file", &wrong]).ends(7).says("WRONGPASS");
    bench(&home, &url(&redis), &["--token-file", &right]).ends(0);
    bench(&home, &url(&redis), &["--token-file", &right, "--user", "default"]).ends(0);
    bench(&home, &url(&redis), &["--user", "default"]).ends(2).says("LARDER_BENCH_TOKEN");
    let mut command = home.command(&["bench", &url(&redis), "--requests", "100", "--keys", "10", "--json"]);
    let said: Said = command.env("LARDER_BENCH_TOKEN", "hunter2").output().unwrap().into();
    assert!(!said.ends(0).out.contains("hunter2"));
    bench(&home, "redis://default:hunter2@127.0.0.1:1", &[]).ends(2).says("--token-file");
}

#[test]
fn a_full_redis_is_told_from_one_that_lies() {
    let Some(redis) = Redis::start(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]) else {
        return;
    };
    let home = Home::new();
    bench(&home, &url(&redis), &["--keys", "100000", "--value", "1KiB"]).ends(5).says("OOM");
    let Some(evicting) = Redis::start(&["--maxmemory", "3mb", "--maxmemory-policy", "allkeys-random"]) else {
        return;
    };
    let many = ["--keys", "20000", "--value", "1KiB", "--requests", "10000", "--json"];
    let lost = bench(&home, &url(&evicting), &many).ends(6);
    let phase = only_phase(&lost);
    assert!(phase["faults"]["missing"].as_u64().unwrap() > 100, "{phase}");
    assert_eq!((&phase["faults"]["missing"], &phase["false_answers"]), (&phase["errors"], &phase["errors"]));
    assert_eq!(lost.json_error()["kind"], "damaged");
}

#[test]
fn our_http_door_passes_with_and_without_lifetimes() {
    let home = Home::up();
    let url = format!("http://{}/v1/data/", support::http::address(&home));
    let plain = only_phase(&bench(&home, &url, &["--json", "-c", "10", "--requests", "2000"]).ends(0));
    assert!(plain["verified"].as_u64().unwrap() > 100 && plain["errors"] == 0, "{plain}");
    let ttl = ["--json", "-c", "5", "-P", "4", "--ttl", "50ms", "--mix", "30:70", "--keys", "3000"];
    let ttl = [&ttl[..], &["--requests", "4000"]].concat();
    let expiring = only_phase(&bench(&home, &url, &ttl).ends(0));
    assert!(expiring["absent"].as_u64().unwrap() > 0 && expiring["errors"] == 0, "{expiring}");
    let keys = support::http::get(&url[7..url.len() - 9], "/v1/keys").json();
    assert_eq!(keys["keys"], serde_json::json!([]), "nothing is left");

    // Beyond the namespace's longest lifetime: refused, with the door's status.
    bench(&home, &url, &["--ttl", "36500d"]).ends(2).says("400");
    let as_is = format!("{}health", &url[..url.len() - 8].trim_end_matches("v1/"));
    let read = only_phase(&bench(&home, &as_is, &["--as-is", "--requests", "2000", "--json"]).ends(0));
    assert!(read["requests"] == 2_000 && read["errors"] == 0, "{read}");
    bench(&home, &url, &["--as-is", "--json"]).ends(12);
}

#[test]
fn our_redis_door_passes_and_is_what_is_asked_without_an_address() {
    let home = Home::up();
    let run = |more: &[&str]| {
        let small = ["bench", "--json", "--requests", "5000", "--keys", "500"];
        only_phase(&home.run(&[&small[..], more].concat()).ends(0))
    };
    let plain = run(&["-c", "10"]);
    assert!(plain["verified"].as_u64().unwrap() > 100 && plain["errors"] == 0, "{plain}");
    let ttl = ["-P", "16", "--ttl", "50ms", "--mix", "40:60", "--skew", "0.9", "--value", "16..20KiB"];
    let expiring = run(&ttl);
    assert!(expiring["absent"].as_u64().unwrap() > 0 && expiring["errors"] == 0, "{expiring}");
    assert!(Home::new().run(&["bench"]).ends(9).err.contains("larder up"));
}

#[test]
fn https_uses_the_certificates_of_this_home() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let up = ["up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()];
    // A load tester soon meets what one identity may ask.
    let set = ["--set", "http_auth=certificate", "--set", "http_rate_identity=0/0"];
    home.run(&[&up[..], &set].concat()).ends(0);
    let url = format!("https://{}/v1/data/", support::http::address(&home));
    let lengths = ["--json", "-c", "4", "-P", "3", "--value", "1..40KiB"];
    let phase = only_phase(
        &bench(&home, &url, &[&lengths[..], &["--no-verify", "--requests", "500"]].concat()).ends(0),
    );
    assert!(phase["requests"] == 500 && phase["errors"] == 0, "{phase}");
    assert_eq!(bench(&home, &url, &["--json", "-c", "4"]).ends(0).json()["keys_left_behind"], false);
    let other = Home::new();
    bench(&other, &url, &[]).ends(3).says("--authority");
    let authority = home.home().join("config/certificates/authority.pem");
    bench(&other, &url, &["--authority", authority.to_str().unwrap(), "--timeout", "2s"]).ends(9);
}

#[test]
fn requirements_and_comparisons_become_exit_codes() {
    let home = Home::up();
    let url = format!("http://{}/v1/data/", support::http::address(&home));
    let met = bench(&home, &url, &["--json", "--require", "errors=0", "--require", "p99.9<60s"]).ends(0);
    let unmet = bench(&home, &url, &["--json", "--require", "p50<1ns"]).ends(12);
    assert_eq!(unmet.json_error()["kind"], "unmet");
    assert!(unmet.json()["phases"][0]["requests"].as_u64().unwrap() > 0, "the report is there all the same");
    bench(&home, &url, &["--require", "p98<1ms"]).ends(2).says("for instance p99<2ms");
    bench(&home, &url, &["--value", "15"]).ends(2).says("--no-verify");
    bench(&home, &url, &["--mix", "90:20"]).ends(2);

    let before = home.file("before.json", met.out.as_bytes());
    let mut slower = met.json();
    slower["phases"][0]["all"]["p99_us"] = 1e9.into();
    slower["settings"]["pipeline"] = 2.into();
    let after = home.file("after.json", slower.to_string().as_bytes());
    let same = home.run(&["bench", "compare", &before, &before, "--tolerance", "0"]).ends(0);
    assert!(same.out.contains("1.00"), "{}", same.out);
    home.run(&["bench", "compare", &before, &after])
        .ends(0)
        .says("not the same load: pipeline was 1 and is 2");
    let worse = home.run(&["bench", "compare", &before, &after, "--tolerance", "10%", "--json"]).ends(12);
    let differences = worse.json()["differences"].as_array().unwrap().clone();
    let names: Vec<_> =
        differences.iter().filter(|d| d["worse"] == true).map(|d| d["metric"].clone()).collect();
    assert_eq!(names, ["p99_us"]);
    let broken = home.file("broken.json", b"{\"format\":7}");
    home.run(&["bench", "compare", &before, &broken]).ends(2).says("format=7");
    home.run(&["bench", "compare", &before, "/nowhere.json"]).ends(3);
}

#[test]
fn what_is_no_server_of_that_protocol_is_named_and_ctrl_c_ends_it_with_what_there_is() {
    let home = Home::up();
    let door = support::http::address(&home);
    bench(&home, &format!("redis://{door}"), &["--timeout", "60s"])
        .ends(2)
        .says("does not speak this protocol");
    // A port that no system gives to whoever asks for any.
    bench(&home, "http://127.0.0.1:1/", &[]).ends(9).says("connection refused");
    bench(&home, "ftp://h/", &[]).ends(2).says("redis://");
    bench(&home, "http://no-such-host.invalid/", &[]).ends(3);

    let url = format!("http://{door}/v1/data/");
    let long = ["--duration", "600s", "--warmup", "0s", "--keys", "100", "--json"];
    let mut command = home.command(&[&["bench", &url][..], &long].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Its keys are written before anything is read: what has been read was measured.
    let read = || support::http::metric(&door, "larder_requests_total", "operation=\"get\",outcome=\"200\"");
    until("it reads", || read() > 500.0);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let said: Said = child.wait_with_output().unwrap().into();
    let said = said.ends(130);
    let report = said.json();
    assert_eq!((&report["interrupted"], &report["keys_left_behind"]), (&true.into(), &false.into()));
    assert!(report["phases"][0]["requests"].as_u64().unwrap() > 0, "{report}");
}
