//! Several things in one command: what can be done is done, what cannot is told, and the exit code says so at the end; as tools
//! of Unix do it.

use crate::support::{Home, Said};

fn put(home: &Home, path: &str, content: &[u8]) {
    home.run_with(&["put", "-", path], content).ends(0);
}

/// Ends with the code of the missing one, which is named, and counts it.
#[track_caller]
fn one_missing(said: Said, name: &str, of: usize) -> Said {
    said.ends(3).says(name).says(&format!("1 of {of} failed; what was done stays"))
}

#[test]
fn the_missing_one_does_not_keep_the_others_from_being_done() {
    let home = Home::up();
    let (a, b) = (home.file("a", b"a\n"), home.file("b", b"b\n"));
    let missing = home.path("missing");
    let missing = missing.to_str().unwrap();
    one_missing(home.run(&["put", &a, missing, &b, "/in/"]), "missing: no such file", 3);
    assert_eq!(one_missing(home.run(&["cat", "/in/a", "/in/c", "/in/b"]), "/in/c", 3).out, "a\nb\n");

    let out = home.path("out");
    std::fs::create_dir(&out).unwrap();
    one_missing(home.run(&["get", "/in/c", "/in/a", "/in/b", out.to_str().unwrap()]), "/in/c", 3);
    assert_eq!(std::fs::read(out.join("b")).unwrap(), b"b\n");
    assert_eq!(one_missing(home.run(&["get", "/in/c", "/in/b", "-"]), "/in/c", 2).out, "b\n");

    one_missing(home.run(&["verify", "/in/c", "/in/a"]), "/in/c", 2);
    let checked = home.run(&["verify", "--json", "/in/c", "/in/a"]).ends(3).json();
    assert_eq!(checked["files"], 1);

    one_missing(home.run(&["cp", "/in/a", "/in/c", "/in/b", "/"]), "/in/c", 3);
    home.run(&["mkdir", "/to"]).ends(0);
    one_missing(home.run(&["mv", "/in/c", "/a", "/b", "/to"]), "/in/c", 3);
    assert_eq!(home.run(&["cat", "/to/a", "/to/b"]).ends(0).out, "a\nb\n");
    // A file is in the way of one folder of three.
    home.run(&["mkdir", "/x", "/to/a", "/y"]).ends(4).says("1 of 3 failed");
    home.run(&["ls", "/y"]).ends(0);

    one_missing(home.run(&["rm", "/in/c", "/to/a", "/to/b"]), "/in/c", 3);
    assert_eq!(home.run(&["ls", "/to"]).ends(0).out, "");
    one_missing(home.run(&["undelete", "/to/a", "/in/c", "/to/b"]), "/in/c", 3);
    assert_eq!(home.run(&["cat", "/to/a", "/to/b"]).ends(0).out, "a\nb\n");
}

#[test]
fn a_program_reads_one_error_a_line_and_one_thing_fails_as_ever() {
    let home = Home::up();
    put(&home, "/a", b"a");
    let said = home.run(&["rm", "--json", "/x", "/a", "/y"]).ends(3);
    let errors: Vec<serde_json::Value> =
        said.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(errors.len(), 3, "{}", said.err);
    assert_eq!(errors[2]["error"]["message"], "2 of 3 failed; what was done stays");
    assert_eq!(errors[2]["error"]["exit_code"], 3);
    assert_eq!(said.json_lines().len(), 1);
    let alone = home.run(&["rm", "--json", "/x"]).ends(3).json_error();
    assert!(alone["message"].as_str().unwrap().contains("/x"), "{alone}");
    // What every one of them would fail with is said once.
    home.run(&["lock"]).ends(0);
    let locked = home.run(&["rm", "/x", "/y"]).ends(8);
    assert_eq!(locked.err.matches("error:").count(), 1, "{}", locked.err);
}

#[test]
fn a_name_that_cannot_be_stored_says_what_to_do() {
    let home = Home::up();
    let odd = home.file("new\nline", b"x");
    let good = home.file("good", b"y");
    home.run(&["put", &odd, &good, "/in/"])
        .ends(2)
        .says("control characters")
        .says("larder put SOURCE /NAME");
    assert_eq!(home.run(&["cat", "/in/good"]).ends(0).out, "y");
    home.run(&["put", &odd, "/in/line"]).ends(0);
    let folder = home.path("folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::rename(&odd, folder.join("new\nline")).unwrap();
    home.run(&["put", folder.to_str().unwrap(), "/"])
        .ends(2)
        .says("rename it, or leave it out with --exclude");
}

#[test]
fn a_folder_of_which_a_part_was_brought_back_comes_back_whole() {
    let home = Home::up();
    for name in ["/t/a", "/t/b", "/t/below/c"] {
        put(&home, name, name.as_bytes());
    }
    home.run(&["rm", "-r", "/t"]).ends(0);
    home.run(&["undelete", "/t/a"]).ends(0);
    assert_eq!(home.run(&["ls", "/t"]).ends(0).out.lines().count(), 1);
    home.run(&["undelete", "/t"]).ends(0);
    for name in ["/t/a", "/t/b", "/t/below/c"] {
        assert_eq!(home.run(&["cat", name]).ends(0).out, name);
    }
    // Now that all is there, there is nothing more to bring back.
    home.run(&["undelete", "/t"]).ends(4).says("nothing to bring back");
}
