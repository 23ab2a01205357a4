//! Runs every check of this crate on the project itself. A finding names its place and what would be right.

use larder_tidy::manifest::Manifest;
use larder_tidy::tree::{TextFile, root, text_files};
use larder_tidy::{Finding, documents, layers, leaks, limits, makefile, sources};

fn files() -> Vec<TextFile> {
    text_files(&root()).expect("the project can be read")
}

fn rust_files() -> Vec<TextFile> {
    let mut files = files();
    files.retain(|f| f.path.ends_with(".rs"));
    assert!(files.len() > 20, "the sources are found: {}", files.len());
    files
}

fn manifests() -> Vec<Manifest> {
    let all = files();
    let crates = all.iter().filter(|f| f.path.starts_with("crates/") && f.path.ends_with("/Cargo.toml"));
    let found: Vec<_> = crates.map(|f| Manifest::parse(&f.path, &f.text)).collect();
    assert!(found.len() >= layers::ARROWS.len(), "every crate of the table is found");
    found
}

fn markdown() -> Vec<(String, String)> {
    files().into_iter().filter(|f| f.path.ends_with(".md")).map(|f| (f.path, f.text)).collect()
}

fn makefile_text() -> String {
    std::fs::read_to_string(root().join("Makefile")).expect("there is a Makefile")
}

fn none(findings: &[Finding]) {
    let lines: Vec<_> = findings.iter().map(|f| format!("  {}: {}", f.place, f.what)).collect();
    assert!(findings.is_empty(), "{} to put right:\n{}", findings.len(), lines.join("\n"));
}

#[test]
fn layers_point_down() {
    none(&layers::arrows(&manifests()));
}

#[test]
fn planted_defects_do_not_ship() {
    none(&layers::planted(&manifests()));
}

#[test]
fn crates_share_the_settings_of_the_workspace() {
    none(&manifests().iter().flat_map(layers::settings).collect::<Vec<_>>());
}

#[test]
fn files_say_what_they_are() {
    none(
        &rust_files()
            .iter()
            .filter_map(|f| sources::opens_with_purpose(&f.path, &f.text))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn files_are_short() {
    none(&rust_files().iter().filter_map(|f| sources::length(&f.path, &f.text)).collect::<Vec<_>>());
}

#[test]
fn functions_are_short() {
    none(&rust_files().iter().flat_map(|f| sources::functions(&f.path, &f.text)).collect::<Vec<_>>());
}

#[test]
fn names_mean_something() {
    none(&files().iter().filter_map(|f| sources::name(&f.path)).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_undone() {
    none(&files().iter().flat_map(|f| sources::markers(&f.path, &f.text)).collect::<Vec<_>>());
}

#[test]
fn nothing_of_one_machine_is_committed() {
    none(&files().iter().flat_map(|f| leaks::leaks(&f.path, &f.text)).collect::<Vec<_>>());
}

#[test]
fn the_makefile_explains_itself() {
    none(&makefile::complete(&makefile_text()));
}

#[test]
fn what_documents_tell_to_make_exists() {
    let makefile = makefile_text();
    none(&markdown().iter().flat_map(|(p, t)| makefile::mentioned(p, t, &makefile)).collect::<Vec<_>>());
}

#[test]
fn documents_lead_somewhere() {
    let root = root();
    let exists = |path: &str| root.join(path).exists();
    let text_of =
        |path: &str| std::fs::read_to_string(root.join(path)).ok().filter(|_| path.ends_with(".md"));
    none(
        &markdown().iter().flat_map(|(p, t)| documents::broken(p, t, &exists, &text_of)).collect::<Vec<_>>(),
    );
}

#[test]
fn documents_can_be_reached() {
    none(&documents::orphans(&markdown()));
}

#[test]
fn the_page_of_limits_is_what_the_code_enforces() {
    let source = std::fs::read_to_string(root().join(limits::SOURCE)).expect("the limits can be read");
    let limits = limits::parse(&source).expect("every limit can be computed");
    assert!(limits.len() > 10, "the limits are found");
    let wanted = limits::page(&limits);
    let page = root().join(limits::PAGE);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        #[allow(clippy::disallowed_methods, reason = "a page of the source tree, not anybody's data")]
        std::fs::write(&page, &wanted).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&page).unwrap_or_default();
    assert_eq!(found, wanted, "run `UPDATE_DOCS=1 cargo test -p larder-tidy`");
}
