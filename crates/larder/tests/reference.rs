//! The page of commands is what the program says of itself, so that it cannot say something else.
//! `UPDATE_DOCS=1 cargo test -p larder --test reference` writes it anew.

use std::path::Path;
use std::process::Command;

/// Help of a verb (or of the program, without words), wrapped as for a terminal of 100 columns.
fn help(words: &[String]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(words).arg("-h").env_remove("LARDER_HOME").env("COLUMNS", "100").env("NO_COLOR", "1");
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("help is text")
}

/// The verbs that a help text lists.
fn verbs(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .map(str::to_owned)
        .collect()
}

/// Help without what every verb takes, which is said once, on top.
fn without_global_flags(help: &str) -> Vec<&str> {
    let mut kept = Vec::new();
    let mut skipping = false;
    for line in help.lines() {
        let continues = line.starts_with("          ") && !line.trim_start().starts_with('-');
        if !continues {
            skipping = ["--home <DIR>", "--json", "-h, --help", "-V, --version"]
                .iter()
                .any(|f| line.trim_start().starts_with(f));
        }
        if !skipping {
            kept.push(line);
        }
    }
    if kept.last() == Some(&"Options:") {
        kept.pop();
    }
    while kept.last().is_some_and(|line| line.is_empty()) {
        kept.pop();
    }
    kept
}

fn append(page: &mut String, words: &[String]) {
    let text = help(words);
    let lines = if words.is_empty() { text.lines().collect() } else { without_global_flags(&text) };
    let title = if words.is_empty() { "larder".to_owned() } else { format!("larder {}", words.join(" ")) };
    page.push_str(&format!("\n## {title}\n\n```\n"));
    for line in lines {
        page.push_str(line.trim_end());
        page.push('\n');
    }
    page.push_str("```\n");
    for verb in verbs(&text) {
        append(page, &[words, &[verb]].concat());
    }
}

#[test]
fn the_page_of_commands_is_what_the_program_says() {
    let mut wanted = String::from(
        "# Commands\n\nWhat `larder help` says, verb by verb; made by `UPDATE_DOCS=1 cargo test -p larder --test reference`.\n\
        Every command also takes `--home DIR` and `--json`. How they end is in [exit codes](cli.md).\n",
    );
    append(&mut wanted, &[]);
    assert!(wanted.contains("## larder value set"), "verbs of verbs are found");
    assert!(wanted.contains("  compare  Two reports"), "only the flags of every verb are left out");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/commands.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        #[allow(clippy::disallowed_methods, reason = "a page of the source tree, not anybody's data")]
        std::fs::write(&page, &wanted).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/reference/commands.md is out of date: UPDATE_DOCS=1 cargo test -p larder --test reference"
    );
}
