//! End-to-end tests on the real program, in one test program: linking each file for itself would take longer than running
//! it. One file a subject; `cargo test -p larder --test main names::` runs one.
//!
//! Tests that measure time or memory, or change what a whole process shares, are programs of their own beside this folder.

#[path = "../support/inside.rs"]
mod inside;
#[path = "../support/issued.rs"]
mod issued;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/pty.rs"]
mod pty;
#[path = "../support/python.rs"]
mod python;
#[path = "../support/mod.rs"]
mod support;

mod around;
mod attributes;
mod away;
mod broken;
mod certificates;
mod clock;
mod config;
mod content;
mod damage;
mod damaged_header;
mod disk_full;
mod doctor;
mod faults;
mod files;
mod http;
mod http_certificates;
mod http_conditions;
mod http_documents;
mod http_rights;
mod http_schema;
mod http_short;
mod http_watch;
mod kept;
mod kill;
mod letting_go;
mod life;
mod logs;
mod lost_header;
mod moves;
mod names;
mod old_home;
mod outside;
mod quota;
mod reader;
mod resume;
mod retention;
mod rights;
mod rollback;
mod security_state;
mod several;
mod shell;
mod story;
mod targets;
mod terminal;
mod trace;
mod transfers;
mod trash;
mod unchanged;
mod unread_end;
mod up_again;
mod upkeep;
mod values;
mod vault;
mod vault_keys;

#[test]
fn every_file_here_is_a_part_of_this_program() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/main");
    for entry in std::fs::read_dir(here).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.trim_end_matches(".rs");
        assert!(name == "main" || include_str!("main.rs").contains(&format!("mod {name};")), "mod {name};");
    }
}
