//! The arrows between crates: what may use what. That a node cannot read what it holds is visible here: it
//! never reaches `larder-seal`, neither directly nor through anything it uses.

use std::collections::{BTreeMap, BTreeSet};

use crate::Finding;
use crate::manifest::{Kind, Manifest};

/// Which crates of this project each one may use directly, in code that ships.
pub const ARROWS: &[(&str, &[&str])] = &[
    ("larder-format", &[]),
    ("larder-seal", &["larder-format"]),
    ("larder-store", &["larder-format"]),
    ("larder-mesh", &["larder-format"]),
    ("larder-wire", &["larder-format"]),
    ("larder-door", &["larder-format"]),
    ("larder-node", &["larder-store", "larder-mesh", "larder-wire", "larder-door", "larder-format"]),
    ("larder-client", &["larder-seal", "larder-wire", "larder-format"]),
    ("larder-sim", &["larder-mesh", "larder-store", "larder-format"]),
    ("larder-tidy", &[]),
    ("larder-load", &["larder-format"]),
    (
        "larder",
        &[
            "larder-client",
            "larder-node",
            "larder-seal",
            "larder-store",
            "larder-mesh",
            "larder-wire",
            "larder-door",
            "larder-load",
            "larder-format",
        ],
    ),
];

/// Who must not reach whom, over any number of steps, tests included.
pub const NEVER: &[(&str, &str)] = &[
    ("larder-node", "larder-seal"),
    ("larder-store", "larder-seal"),
    ("larder-client", "larder-store"),
    ("larder-client", "larder-node"),
    ("larder", "larder-sim"),
];

/// Crates whose code does no input or output of its own choosing: they must not reach an async runtime or a
/// socket library.
pub const PURE: &[&str] = &["larder-format", "larder-seal", "larder-mesh", "larder-store"];

/// What a pure crate must not name as a dependency.
pub const IMPURE: &[&str] =
    &["tokio", "tonic", "hyper", "axum", "async-std", "smol", "socket2", "mio", "reqwest"];

/// The feature that compiles deliberate defects in. Only the simulator, and a crate's own tests, may ask for it.
pub const PLANTED: &str = "planted";

/// Checks the arrows between the given manifests.
#[must_use]
pub fn arrows(manifests: &[Manifest]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let own: BTreeSet<&str> = manifests.iter().map(Manifest::name).collect();
    for manifest in manifests {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == manifest.name()) else {
            findings.push(Finding::at(
                &manifest.path,
                "crate is not in the table of arrows: add it with what it may use",
            ));
            continue;
        };
        for dependency in manifest.dependencies() {
            let target = dependency.package.as_str();
            let upward = own.contains(target) && dependency.kind != Kind::Dev && !allowed.contains(&target);
            if upward {
                findings
                    .push(Finding::at(&manifest.path, format!("{} must not use {target}", manifest.name())));
            }
            if PURE.contains(&manifest.name()) && dependency.kind == Kind::Normal && IMPURE.contains(&target)
            {
                findings.push(Finding::at(&manifest.path, format!("a pure crate must not use {target}")));
            }
        }
    }
    findings.extend(reaches(manifests));
    findings
}

fn reaches(manifests: &[Manifest]) -> Vec<Finding> {
    let graph: BTreeMap<&str, Vec<String>> = manifests
        .iter()
        .map(|m| (m.name(), m.dependencies().into_iter().map(|d| d.package).collect()))
        .collect();
    let mut findings = Vec::new();
    for (from, to) in NEVER {
        let mut seen = BTreeSet::new();
        let mut open = vec![(*from).to_owned()];
        while let Some(name) = open.pop() {
            let next = graph.get(name.as_str()).into_iter().flatten();
            open.extend(next.filter(|n| seen.insert((*n).clone())).cloned());
        }
        if seen.contains(*to) {
            let place =
                manifests.iter().find(|m| m.name() == *from).map_or("Cargo.toml", |m| m.path.as_str());
            findings.push(Finding::at(place, format!("{from} reaches {to}, which it must never")));
        }
    }
    findings
}

/// Checks that no planted defect can be compiled into what ships.
#[must_use]
pub fn planted(manifests: &[Manifest]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in manifests.iter().filter(|m| m.name() != "larder-sim") {
        for dependency in manifest.dependencies() {
            let of_itself = dependency.kind == Kind::Dev && dependency.package == manifest.name();
            if dependency.features.iter().any(|f| f == PLANTED) && !of_itself {
                findings.push(Finding::at(
                    &manifest.path,
                    format!("asks for planted defects in {}: only larder-sim may", dependency.package),
                ));
            }
        }
        for (feature, turns_on) in manifest.features() {
            if turns_on.iter().any(|on| on == PLANTED || on.ends_with("/planted")) && feature != PLANTED {
                findings
                    .push(Finding::at(&manifest.path, format!("feature {feature} turns planted defects on")));
            }
        }
    }
    findings
}

/// Checks that every crate takes the project's lints, edition and licence.
#[must_use]
pub fn settings(manifest: &Manifest) -> Vec<Finding> {
    let mut findings = Vec::new();
    if manifest.value("lints", "workspace") != Some("true") {
        findings.push(Finding::at(&manifest.path, "lacks `[lints] workspace = true`"));
    }
    for key in ["version", "edition", "rust-version", "license", "publish"] {
        if manifest.value("package", &format!("{key}.workspace")) != Some("true") {
            findings.push(Finding::at(&manifest.path, format!("lacks `{key}.workspace = true`")));
        }
    }
    if manifest.value("package", "description").is_none() {
        findings.push(Finding::at(&manifest.path, "lacks a description"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, rest: &str) -> Manifest {
        Manifest::parse(
            &format!("crates/{name}/Cargo.toml"),
            &format!("[package]\nname = \"{name}\"\n{rest}"),
        )
    }

    #[test]
    fn a_node_that_uses_seal_is_found_directly_and_through_another() {
        let direct = [
            manifest("larder-seal", ""),
            manifest("larder-node", "[dependencies]\nlarder-seal.workspace = true\n"),
        ];
        assert_eq!(arrows(&direct).len(), 2, "upward and reaching");
        let through = [
            manifest("larder-seal", ""),
            manifest("larder-store", "[dev-dependencies]\nlarder-seal.workspace = true\n"),
            manifest("larder-node", "[dependencies]\nlarder-store.workspace = true\n"),
        ];
        let found = arrows(&through);
        assert!(found.iter().any(|f| f.what.contains("larder-node reaches larder-seal")), "{found:?}");
    }

    #[test]
    fn a_pure_crate_with_a_runtime_and_a_crate_without_a_row_are_found() {
        assert_eq!(arrows(&[manifest("larder-mesh", "[dependencies]\ntokio.workspace = true\n")]).len(), 1);
        assert_eq!(arrows(&[manifest("larder-new", "")]).len(), 1);
        assert!(arrows(&[manifest("larder-mesh", "[dependencies]\nbytes.workspace = true\n")]).is_empty());
    }

    #[test]
    fn planted_defects_in_what_ships_are_found() {
        let asks = "[dependencies]\nlarder-mesh = { workspace = true, features = [\"planted\"] }\n";
        assert_eq!(planted(&[manifest("larder-node", asks)]).len(), 1);
        assert!(planted(&[manifest("larder-sim", asks)]).is_empty());
        assert_eq!(planted(&[manifest("larder-mesh", "[features]\ndefault = [\"planted\"]\n")]).len(), 1);
        assert!(planted(&[manifest("larder-mesh", "[features]\nplanted = []\n")]).is_empty());
    }

    #[test]
    fn a_crate_without_the_lints_is_found() {
        assert_eq!(settings(&manifest("x", "")).len(), 7);
        let good = "version.workspace = true\nedition.workspace = true\nrust-version.workspace = true\n\
            license.workspace = true\npublish.workspace = true\ndescription = \"d\"\n[lints]\nworkspace = true\n";
        assert_eq!(settings(&manifest("x", good)), []);
    }
}
