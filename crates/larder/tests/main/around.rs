//! What comes with a command-line program: completions that know the vault, manual pages of every command.

use std::process::Command;

use crate::support::Home;

/// What the program suggests for the last of these words, as bash asks it.
fn suggested(home: &Home, words: &[&str]) -> Vec<String> {
    let mut command = Command::new(crate::support::binary());
    command.arg("--").arg("larder").args(words);
    command.env("LARDER_COMPLETE", "bash").env("LARDER_HOME", home.home());
    command.env("_CLAP_COMPLETE_INDEX", words.len().to_string()).env("_CLAP_IFS", "\n");
    command.env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "false");
    let output = command.output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn completions_know_commands_flags_and_paths_of_the_vault() {
    let home = Home::up();
    home.run_with(&["put", "-", "/photos/one.jpg"], b"x").ends(0);
    home.run_with(&["put", "-", "/plan.txt"], b"x").ends(0);
    assert_eq!(suggested(&home, &["und"]), ["undelete"]);
    assert_eq!(suggested(&home, &["ls", "--rec"]), ["--recursive"]);
    assert_eq!(suggested(&home, &["cat", "/p"]), ["/photos/", "/plan.txt"]);
    assert_eq!(suggested(&home, &["get", "/photos/o"]), ["/photos/one.jpg"]);
    assert_eq!(suggested(&home, &["rm", "-r", "pho"]), ["photos/"]);
    // Bash puts names on the command line as they come.
    home.run_with(&["put", "-", "/two words/$(reboot)"], b"x").ends(0);
    assert_eq!(suggested(&home, &["cat", "/two"]), ["/two\\ words/"]);
    assert_eq!(suggested(&home, &["cat", "/two\\ words/"]), ["/two\\ words/\\$\\(reboot\\)"]);
    // Locked or not there, nobody is asked for anything and nothing fails.
    home.run(&["lock"]).ends(0);
    assert!(suggested(&home, &["cat", "/p"]).is_empty());
    assert!(suggested(&Home::new(), &["cat", "/p"]).is_empty());
}

#[test]
fn every_shell_gets_its_script() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.run(&["completions", shell]).ends(0).out;
        assert!(script.contains("LARDER_COMPLETE") && script.contains("larder"), "{shell}: {script}");
    }
    home.run(&["completions", "tcsh"]).ends(2);
    assert!(!home.home().exists(), "nothing is made for it");
}

#[test]
fn every_command_has_a_manual_page() {
    let home = Home::new();
    let to = home.path("man/man1");
    home.run(&["man", "--to", to.to_str().unwrap()]).ends(0).says("manual pages");
    for page in ["larder.1", "larder-put.1", "larder-value-set.1", "larder-retention-apply.1"] {
        let text = std::fs::read_to_string(to.join(page)).unwrap();
        assert!(text.contains(".TH LARDER") && text.contains(".SH NAME"), "{page}");
    }
    assert!(home.run(&["man", "retention", "apply"]).ends(0).out.contains("larder\\-retention\\-apply"));
    assert!(home.run(&["man"]).ends(0).out.contains(".TH LARDER 1"));
    home.run(&["man", "nosuch"]).ends(3);
}
