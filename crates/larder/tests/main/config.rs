//! Settings of the real program: file, environment and flags, and where `larder config show` says they come from.

use crate::support::Home;
use serde_json::Value;

fn setting(shown: &Value, name: &str) -> Value {
    let all = shown["settings"].as_array().unwrap();
    all.iter()
        .find(|setting| setting["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {shown}"))
        .clone()
}

#[test]
fn every_value_names_its_origin_and_a_running_process_says_if_it_goes_by_another() {
    let home = Home::with_environment(&[("LARDER_MEMORY_CAP", "77MiB"), ("LARDER_NODE_PORT", "1")]);
    home.run(&["config", "show"]).ends(0).says("LARDER_NODE_PORT").says("`larder up` writes it");
    home.bring_up().ends(0);
    let shown = home.run(&["config", "show", "--json"]).ends(0).json();
    let cap = setting(&shown, "memory_cap");
    assert_eq!((cap["value"].as_str(), cap["origin"].as_str()), (Some("77MiB"), Some("environment")));
    assert_eq!(cap["running"], Value::Null);
    // What `up` was asked for first is in the file.
    let listen = setting(&shown, "listen");
    assert_eq!((listen["value"].as_str(), listen["origin"].as_str()), (Some("127.0.0.1:0"), Some("file")));
    let idle = setting(&shown, "idle_lock");
    assert_eq!((idle["value"].as_str(), idle["origin"].as_str()), (Some("15m"), Some("built_in")));
    assert_eq!(shown["unknown_variables"][0], "LARDER_NODE_PORT");
    let status = home.run(&["status", "--json"]).ends(0).json();
    assert_eq!(status["node"]["memory"]["cap_bytes"].as_u64(), Some(77 << 20), "{status}");

    let other = home.run(&["config", "show", "--json", "--set", "memory_cap=64MiB"]).ends(0).json();
    let cap = setting(&other, "memory_cap");
    assert_eq!((cap["origin"].as_str(), cap["running"].as_str()), (Some("flag"), Some("77MiB")));
    // A running node cannot take over what a flag says, and the same flag again is fine.
    home.run(&["up", "--memory-cap", "64MiB"])
        .ends(4)
        .says("memory_cap 77MiB and not 64MiB")
        .says("larder down");
    home.run(&["up", "--set", "memory_cap=77MiB"]).ends(0);
}

#[test]
fn slips_in_the_file_are_named_with_their_line_before_anything_starts() {
    let home = Home::up();
    home.run(&["down"]).ends(0);
    let file = home.run(&["config", "path"]).ends(0).out.trim().to_owned();
    let text = std::fs::read_to_string(&file).unwrap();
    let lines = text.lines().count();
    for (line, why) in [("memory_kap = \"1GiB\"", "memory_kap"), ("idle_lock = \"1ns\"", "idle_lock")] {
        std::fs::File::create(&file)
            .and_then(|mut f| std::io::Write::write_all(&mut f, format!("{text}{line}\n").as_bytes()))
            .unwrap();
        for verb in [&["config", "show"][..], &["up"], &["node", "run"]] {
            let said = home.run(verb).ends(2).says(why);
            assert!(said.err.contains(&format!("{}", lines + 1)), "no line: {}", said.err);
        }
    }
    home.run(&["up", "--set", "memory_kap=1"]).ends(2).says("there are listen");
}
