//! What is written about the HTTP door is so: the examples of its page, the metrics that the dashboard and the alert
//! rules name.

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::Home;
use crate::support::http::{address, get, put};

fn project(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Whether a text is the expected one, where `…` stands for anything.
fn fits(expected: &str, text: &str) -> bool {
    let mut parts = expected.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut last = first;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = part;
    }
    rest.is_empty() || (last.is_empty() && expected.ends_with('…'))
}

#[test]
fn the_examples_of_the_page_do_what_it_says() {
    let home = Home::up();
    let door = address(&home);
    let page = project("docs/doors/http.md");
    let block = page.split("```console\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let mut ran = 0;
    for example in block.split("$ ").filter(|example| !example.is_empty()) {
        let (command, expected) = example.split_once('\n').unwrap();
        let command = command.replace("127.0.0.1:7448", &door);
        let output = Command::new("sh").args(["-c", &format!("{command} -sS")]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(fits(expected.trim_end(), said.trim_end()), "{command}\nsaid {said}\nand not {expected}");
        ran += 1;
    }
    assert!(ran >= 12, "{ran}");
}

/// Names that begin with `larder_` in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c)).filter(|word| word.starts_with("larder_")).map(str::to_owned).collect()
}

#[test]
fn every_metric_that_dashboard_rules_and_pages_name_is_there() {
    let home = Home::up();
    let door = address(&home);
    put(&door, "/v1/data/x", b"v");
    get(&door, "/v1/data/x");
    let text = String::from_utf8(get(&door, "/metrics").body).unwrap();
    let series: BTreeSet<String> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap().to_owned())
        .collect();
    let (dashboard, rules) =
        (project("deploy/grafana/larder.json"), project("deploy/prometheus/larder-alerts.yml"));
    serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
    let mut used = 0;
    for (file, text) in
        [("dashboard", &dashboard), ("rules", &rules), ("page", &project("docs/doors/http.md"))]
    {
        // `larder_node` and the like are crates, not metrics; pages name metrics in backticks only.
        for name in names(text).iter().filter(|name| *name != "larder_") {
            assert!(series.contains(name), "{file} names {name}, which is no metric: {series:?}");
            used += 1;
        }
    }
    assert!(used > 30, "{used}");
    for rule in ["> 0.8", "> 0.9", "for: 5m", "larder_peers_expected > 0 and larder_peers == 0", "for: 2m"] {
        assert!(rules.contains(rule), "{rule}");
    }
}
