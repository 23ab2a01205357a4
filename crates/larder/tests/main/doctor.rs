//! `larder doctor` on homes that are well and on homes that are not: what is wrong is named, with what to do, and what is
//! broken decides the exit code.

use std::os::unix::fs::PermissionsExt;

use crate::support::Home;
use serde_json::Value;

/// The findings about something.
fn about(report: &Value, what: &str) -> Vec<Value> {
    let all = report["findings"].as_array().unwrap();
    all.iter().filter(|finding| finding["about"] == what).cloned().collect()
}

/// The level of the first finding about something.
fn level(report: &Value, what: &str) -> String {
    about(report, what).first().unwrap_or_else(|| panic!("nothing about {what}: {report}"))["level"]
        .to_string()
}

#[test]
fn a_home_that_is_well_is_told_so_and_looked_at_without_a_change() {
    let home = Home::up();
    let report = home.run(&["doctor", "--json"]).ends(0).json();
    for what in ["folders", "settings", "certificates", "node", "damage", "clock", "vault", "agent"] {
        assert_eq!(level(&report, what), "\"good\"", "{report}");
    }
    let words = home.run(&["doctor", "-a"]).ends(0).out;
    assert!(words.contains("vault: its header is whole, and the node keeps a copy"), "{words}");
}

#[test]
fn what_is_unsafe_is_a_warning_with_a_remedy() {
    let home = Home::with_environment(&[("LARDER_LISTN", "x")]);
    home.bring_up().ends(0);
    let header = home.home().join("config/vault.header");
    std::fs::set_permissions(&header, std::fs::Permissions::from_mode(0o644)).unwrap();
    let report = home.run(&["doctor", "--json"]).ends(0).json();
    assert_eq!(report["worst"], "warning");
    let finding = &about(&report, "folders")[0];
    assert!(finding["remedy"].as_str().unwrap().starts_with("chmod go= "), "{finding}");
    assert!(about(&report, "settings")[0]["found"].as_str().unwrap().contains("LARDER_LISTN"), "{report}");
    // What was changed in the file and is not in force yet.
    let file = home.home().join("config/larder.toml");
    let text = std::fs::read_to_string(&file).unwrap() + "idle_lock = \"never\"\n";
    std::fs::File::create(&file)
        .and_then(|mut f| std::io::Write::write_all(&mut f, text.as_bytes()))
        .unwrap();
    let words = home.run(&["doctor"]).ends(0).out;
    assert!(words.contains("the running agent does not go by what is set now: idle_lock"), "{words}");
    assert!(words.contains("whoever gets hold of this session"), "{words}");
}

#[test]
fn what_is_broken_decides_the_exit_code() {
    let home = Home::up();
    home.kill("node");
    let report = home.run(&["doctor", "--json"]).ends(9).json();
    assert_eq!(level(&report, "node"), "\"bad\"");
    assert_eq!(level(&report, "agent"), "\"good\"");
    home.bring_up().ends(0);

    let header = home.home().join("config/vault.header");
    let whole = std::fs::read(&header).unwrap();
    let mut bent = whole.clone();
    bent[40] ^= 1;
    std::fs::File::create(&header).and_then(|mut f| std::io::Write::write_all(&mut f, &bent)).unwrap();
    home.run(&["doctor"]).ends(6).says("vault");
    std::fs::remove_file(&header).unwrap();
    home.run(&["doctor"]).ends(3).says("larder up takes it back");
    home.bring_up().ends(0);
    home.run(&["doctor"]).ends(0);

    let file = home.home().join("config/larder.toml");
    std::fs::File::create(&file)
        .and_then(|mut f| std::io::Write::write_all(&mut f, b"format = 1\nlissten = 1\n"))
        .unwrap();
    home.run(&["doctor"]).ends(2).says("lissten");
}
