//! What the daemons log: as text or JSON, as much as is asked for, and never more than the disk should hold.

use crate::support::Home;

fn log(home: &Home, name: &str) -> String {
    std::fs::read_to_string(home.home().join("state/logs").join(name)).unwrap()
}

#[test]
fn lines_are_json_where_that_is_asked_for() {
    let home = Home::with_environment(&[("LARDER_LOG_FORMAT", "json")]);
    home.bring_up().ends(0);
    home.run(&["down"]).ends(0);
    for name in ["node.log", "agent.log"] {
        let text = log(&home, name);
        assert!(text.lines().count() >= 2, "{text}");
        for line in text.lines() {
            let event: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            assert!(event["timestamp"].is_string() && event["level"].is_string(), "{line}");
        }
    }
    home.run(&["up", "--set", "log=loud=1=2"]).ends(2).says("error parsing level filter");
}

#[test]
fn a_log_that_is_full_is_set_aside_while_the_node_runs() {
    let home = Home::up();
    home.run(&["down"]).ends(0);
    let path = home.home().join("state/logs/node.log");
    // Nearly full: what the next start says crosses the limit.
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len((8 << 20) - 20).unwrap();
    home.bring_up().ends(0);
    home.run(&["down"]).ends(0);
    let old = std::fs::metadata(home.home().join("state/logs/node.log.old")).unwrap().len();
    assert!(old > 8 << 20, "the line that crossed the limit is whole: {old}");
    let new = log(&home, "node.log");
    assert!(new.len() < 4096 && new.contains("stopped"), "{new}");
}
