//! Just enough of a `Cargo.toml` reader for the checks: sections, keys, and the dependencies of each kind.
//! It reads files rather than asking cargo, so that the checks need no network, no lock and no build.

/// A parsed `Cargo.toml`.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Path from the root.
    pub path: String,
    /// Section name (empty for the top) with its keys and raw values, in file order.
    sections: Vec<(String, Vec<(String, String)>)>,
}

/// Which kind of dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Linked into whoever uses the crate.
    Normal,
    /// Used by its build script.
    Build,
    /// Used by its tests only.
    Dev,
}

/// One dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Name of the package, also when it is renamed.
    pub package: String,
    /// Kind.
    pub kind: Kind,
    /// Features asked for here.
    pub features: Vec<String>,
}

impl Manifest {
    /// Reads the text of a `Cargo.toml`.
    #[must_use]
    pub fn parse(path: &str, text: &str) -> Self {
        let mut sections = vec![(String::new(), Vec::new())];
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let line = without_comment(line).trim().to_owned();
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                sections.push((name.trim_matches(['[', ']']).to_owned(), Vec::new()));
            } else if let Some((key, value)) = line.split_once('=') {
                let mut value = value.trim().to_owned();
                while unbalanced(&value) {
                    let Some(more) = lines.next() else { break };
                    value.push(' ');
                    value.push_str(without_comment(more).trim());
                }
                let last = sections.len() - 1;
                sections[last].1.push((key.trim().to_owned(), value));
            }
        }
        Self { path: path.to_owned(), sections }
    }

    /// The value of a key of a section, quotes taken off.
    #[must_use]
    pub fn value(&self, section: &str, key: &str) -> Option<&str> {
        let (_, keys) = self.sections.iter().find(|(name, _)| name == section)?;
        keys.iter().find(|(k, _)| k == key).map(|(_, v)| v.trim_matches('"'))
    }

    /// The package's name; empty for a manifest without one.
    #[must_use]
    pub fn name(&self) -> &str {
        self.value("package", "name").unwrap_or_default()
    }

    /// The features a crate declares, each with what it turns on.
    #[must_use]
    pub fn features(&self) -> Vec<(String, Vec<String>)> {
        let keys = self.sections.iter().filter(|(name, _)| name == "features").flat_map(|(_, keys)| keys);
        keys.map(|(name, value)| (name.clone(), strings(value))).collect()
    }

    /// All dependencies, in every form that cargo knows.
    #[must_use]
    pub fn dependencies(&self) -> Vec<Dependency> {
        let mut found = Vec::new();
        for (section, keys) in &self.sections {
            if section.starts_with("workspace.") {
                continue;
            }
            let Some((kind, own_name)) = dependency_section(section) else { continue };
            if let Some(name) = own_name {
                let all = keys.iter().map(|(k, v)| format!("{k} = {v}")).collect::<Vec<_>>().join(", ");
                found.push(dependency(&name, &all, kind));
            } else {
                for (key, value) in keys {
                    let name = key.split('.').next().unwrap_or(key);
                    found.push(dependency(name.trim_matches('"'), value, kind));
                }
            }
        }
        found
    }
}

/// Kind of a dependency section, and the name it is about where the header itself names it.
fn dependency_section(section: &str) -> Option<(Kind, Option<String>)> {
    let parts: Vec<&str> = section.split('.').collect();
    let at = parts.iter().rposition(|p| p.ends_with("dependencies"))?;
    let kind = match parts[at] {
        "dependencies" => Kind::Normal,
        "build-dependencies" => Kind::Build,
        "dev-dependencies" => Kind::Dev,
        _ => return None,
    };
    Some((kind, parts.get(at + 1).map(|name| (*name).to_owned())))
}

fn dependency(name: &str, value: &str, kind: Kind) -> Dependency {
    let renamed = after_key(value, "package").map(strings).and_then(|s| s.into_iter().next());
    let features = after_key(value, "features").and_then(|v| v.split(']').next()).map(strings);
    Dependency {
        package: renamed.unwrap_or_else(|| name.to_owned()),
        kind,
        features: features.unwrap_or_default(),
    }
}

/// What follows `key =` in an inline table.
fn after_key<'a>(value: &'a str, key: &str) -> Option<&'a str> {
    let at = value.find(&format!("{key} ="))?;
    value[at..].split_once('=').map(|(_, rest)| rest)
}

/// The quoted strings of a value.
fn strings(value: &str) -> Vec<String> {
    value.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted => return &line[..at],
            _ => {}
        }
    }
    line
}

fn unbalanced(value: &str) -> bool {
    let count = |c: char| value.matches(c).count();
    count('[') > count(']') || count('{') > count('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_of_dependency() {
        let text = r#"
            [package]
            name = "x" # a comment
            [dependencies]
            a.workspace = true
            b = { workspace = true, features = ["planted", "more"] }
            c = { package = "larder-seal", path = "../seal" }
            [dependencies.d]
            features = [
                "planted",
            ]
            [target.'cfg(unix)'.dependencies]
            e = "1"
            [dev-dependencies]
            f = "1"
            [build-dependencies]
            g = "1"
            [features]
            default = ["b/planted"]
        "#;
        let manifest = Manifest::parse("x/Cargo.toml", text);
        assert_eq!(manifest.name(), "x");
        let all: Vec<_> =
            manifest.dependencies().into_iter().map(|d| (d.package, d.kind, d.features)).collect();
        let plain = |name: &str, kind| (name.to_owned(), kind, Vec::new());
        assert_eq!(all[0], plain("a", Kind::Normal));
        assert_eq!(all[1].2, ["planted", "more"]);
        assert_eq!(all[2], plain("larder-seal", Kind::Normal));
        assert_eq!(all[3], ("d".to_owned(), Kind::Normal, vec!["planted".to_owned()]));
        assert_eq!(all[4..], [plain("e", Kind::Normal), plain("f", Kind::Dev), plain("g", Kind::Build)]);
        assert_eq!(manifest.features(), [("default".to_owned(), vec!["b/planted".to_owned()])]);
    }
}
