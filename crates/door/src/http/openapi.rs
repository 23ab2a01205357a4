//! The door's description of itself: an OpenAPI 3.1 document, kept as a file beside the code. The tests hold it against
//! the routes and the problems; what answers look like, a client that reads it checks against the real door.

/// The document.
pub const DOCUMENT: &str = include_str!("../../openapi.json");

/// Statuses that every path may answer and that are therefore said once, in the document's introduction.
pub const UNLISTED: [u16; 1] = [405];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::Method;
    use serde_json::Value;

    use super::*;
    use crate::http::problem::PROBLEMS;
    use crate::http::target::{self, ROUTES, Unroutable};

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    fn follow<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(place) => document.pointer(&place[1..]).unwrap_or_else(|| panic!("{place} leads nowhere")),
            None => value,
        }
    }

    /// Methods of a path, as the document lists them.
    fn methods(path: &Value) -> BTreeSet<String> {
        let names = path.as_object().unwrap().keys().filter(|name| *name != "parameters");
        names.map(|name| name.to_uppercase()).collect()
    }

    #[test]
    fn it_has_every_route_with_its_methods_and_no_other() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
        let routes: BTreeSet<&str> = ROUTES.iter().map(|(path, _)| *path).collect();
        assert_eq!(described, routes);
        for (path, allow) in ROUTES {
            let allowed: BTreeSet<String> = allow.split(", ").map(str::to_owned).collect();
            assert_eq!(methods(&paths[*path]), allowed, "{path}");
        }
    }

    #[test]
    fn the_router_takes_what_the_table_of_routes_says() {
        for (path, allow) in ROUTES {
            let path = path.replace("{key}", "a/b").replace("{name}", "full");
            for name in ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
                let method = Method::from_bytes(name.as_bytes()).unwrap();
                let is_action = *allow == "POST" && path.starts_with("/v1/data/");
                match target::decode(&method, &path, None) {
                    Ok(_) => assert!(allow.split(", ").any(|one| one == name) || is_action, "{name} {path}"),
                    Err(Unroutable::Method { allow: said }) => {
                        assert!(!said.split(", ").any(|one| one == name), "{name} {path}: {said}");
                        assert!(said == *allow || is_action, "{name} {path}: {said}");
                    }
                    Err(other) => panic!("{name} {path}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn references_lead_somewhere_and_names_are_unique() {
        fn walk(document: &Value, value: &Value) {
            follow(document, value);
            match value {
                Value::Object(fields) => fields.values().for_each(|field| walk(document, field)),
                Value::Array(items) => items.iter().for_each(|item| walk(document, item)),
                _ => {}
            }
        }
        let document = document();
        walk(&document, &document);
        assert_eq!(document["openapi"], "3.1.0");
        let mut ids = BTreeSet::new();
        for path in document["paths"].as_object().unwrap().values() {
            for operation in path.as_object().unwrap().values().filter(|operation| operation.is_object()) {
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
            }
        }
        for kind in ["responses", "schemas", "parameters", "headers"] {
            for name in document["components"][kind].as_object().unwrap().keys() {
                let place = format!("\"#/components/{kind}/{name}\"");
                // The data of events, which no answer's schema can say.
                assert!(name == "Change" || DOCUMENT.contains(&place), "{place} is used nowhere");
            }
        }
    }

    #[test]
    fn every_problem_is_described_with_its_status() {
        let document = document();
        let types = &document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"];
        let types: Vec<&str> = types.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
        let all: Vec<String> = PROBLEMS.iter().map(crate::http::problem::Problem::uri).collect();
        assert_eq!(types, all);
        let operations = document["paths"].as_object().unwrap().values();
        let operations = operations.flat_map(|path| path.as_object().unwrap().values());
        let mut said = BTreeSet::new();
        for operation in operations.filter(|operation| operation.is_object()) {
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let words = follow(&document, answer)["description"].as_str().unwrap().to_owned();
                said.insert((status.parse::<u16>().unwrap(), words));
            }
        }
        for problem in PROBLEMS.iter().filter(|problem| !UNLISTED.contains(&problem.status)) {
            let name = format!("`{}`", problem.uri());
            let there = said.iter().any(|(status, words)| *status == problem.status && words.contains(&name));
            assert!(there, "{name} is described by no answer with status {}", problem.status);
        }
    }
}
