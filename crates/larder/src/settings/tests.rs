//! Settings: layers, origins, and what is refused.

use super::*;
use larder_format::error::Kind;

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn resolve(file: Option<&str>, environment: &[(&str, &str)], flags: &[Given]) -> Outcome<Resolved> {
    let in_file = file.map(file::parse).transpose()?;
    Resolved::from_parts(Path::new("/x/larder.toml"), in_file, &mut variables(environment).into_iter(), flags)
}

fn origin(resolved: &Resolved, name: &str) -> String {
    let place = table::FIELDS.iter().position(|field| field.name == name).unwrap();
    resolved.origins[place].for_people(Path::new("/x/larder.toml"))
}

#[test]
fn later_layers_win_and_each_value_knows_where_it_is_from() {
    let file = "format = 1\n\nmemory_cap = \"64MiB\"\nidle_lock = \"1h\"\nlisten = \"[::1]:9\"\n";
    let environment = [("LARDER_MEMORY_CAP", "65MiB"), ("LARDER_LISTEN", "[::1]:10"), ("LARDER_HOME", "/h")];
    let resolved = resolve(Some(file), &environment, &[Given::by_flag("listen", "[::1]:11")]).unwrap();
    assert_eq!(resolved.settings.listen, "[::1]:11".parse().unwrap());
    assert_eq!(resolved.settings.memory_cap_bytes, 65 << 20);
    assert_eq!(origin(&resolved, "listen"), "flag");
    assert_eq!(origin(&resolved, "memory_cap"), "environment LARDER_MEMORY_CAP");
    assert_eq!(origin(&resolved, "idle_lock"), "/x/larder.toml:4");
    assert_eq!(origin(&resolve(None, &[], &[]).unwrap(), "idle_lock"), "built in");
    assert!(resolved.strange_variables.is_empty());
}

#[test]
fn variables_that_are_no_settings_are_told_and_not_refused() {
    let resolved = resolve(None, &[("LARDER_SERVICE_HOST", "10.0.0.1"), ("PATH", "/bin")], &[]).unwrap();
    assert_eq!(resolved.strange_variables, ["LARDER_SERVICE_HOST"]);
}

#[test]
fn every_default_is_allowed_and_reads_as_itself() {
    for field in table::FIELDS {
        let mut settings = Settings::default();
        (field.set)(&mut settings, &field.default_text()).unwrap_or_else(|e| panic!("{}: {e}", field.name));
        assert_eq!(settings, Settings::default(), "{}", field.name);
        assert!(field.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", field.name);
    }
}

#[test]
fn a_new_file_says_everything_and_only_what_was_asked_for_is_in_force() {
    let text = file::text_with(&[Given::by_flag("idle_lock", "never")]);
    let given = file::parse(&text).unwrap();
    assert_eq!(given.len(), 1);
    assert_eq!((given[0].name.as_str(), given[0].value.as_str()), ("idle_lock", "never"));
    // Without the marks every line is a setting with its default.
    let all: String = text
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|l| l.contains(" = \"")).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(file::parse(&all).unwrap().len(), table::FIELDS.len());
}

#[test]
fn slips_are_refused_with_the_line_and_the_field() {
    for (text, why) in [
        ("format = 1\nlisten_port = 3", "line 2: there is no setting \"listen_port\""),
        ("format = 1\n\nidle_lock = \"0\"", "larder.toml:3: idle_lock: too short"),
        ("format = 1\nmemory_cap = \"1k\"", "larder.toml:2: memory_cap: too small"),
        ("format = 1\nmemory_cap = 1", "larder.toml:2: memory_cap: too small"),
        ("format = 1\nlisten = \"here\"", "larder.toml:2: listen: expected ADDRESS:PORT"),
        ("format = 1\nlisten = [1]", "line 2: listen: expected a text in quotes, not array"),
        ("format = 1\nlisten = 1\nlisten = 2", "duplicate key"),
        ("format = 0", "the first line must be: format = 1"),
        ("", "the first line must be: format = 1"),
    ] {
        let failure = resolve(Some(text), &[], &[]).unwrap_err();
        assert!(failure.message().contains(why), "{text}: {failure}");
        assert_eq!(failure.kind(), Some(Kind::Invalid));
    }
    let newer = resolve(Some("format = 2\nnew = 1"), &[], &[]).unwrap_err();
    assert_eq!(newer.kind(), Some(Kind::TooNew));
    let failure = resolve(None, &[("LARDER_IDLE_LOCK", "soon")], &[]).unwrap_err();
    assert!(failure.message().contains("environment LARDER_IDLE_LOCK: idle_lock: not a length"), "{failure}");
    assert!(Given::parse_flag("idle-lock=5m").is_ok());
    assert!(Given::parse_flag("idle_lock").is_err_and(|e| e.contains("NAME=VALUE")));
    assert!(Given::parse_flag("idle_lok=5m").is_err_and(|e| e.contains("there are listen")));
    assert!(Given::parse_flag("idle_lock=x").is_err_and(|e| e.contains("not a length")));
}

#[test]
fn the_settings_page_has_every_setting() {
    let page = include_str!("../../../../docs/reference/settings.md");
    for field in table::FIELDS {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", field.name)));
        let row = row.unwrap_or_else(|| panic!("docs/reference/settings.md lacks {}", field.name));
        let default = field.default_text();
        let default = if default.is_empty() { "(nothing)".to_owned() } else { format!("`{default}`") };
        assert!(row.contains(&default), "{}: the page does not say that {default} is built in", field.name);
    }
}
