//! The HTTP door against its own description: schemathesis, a client that is made of the OpenAPI document alone, sends what
//! the document allows and what it forbids, and compares every answer with it: statuses, headers, media types, shapes.

use crate::support::Home;
use crate::support::http::{address, get};

#[test]
fn the_door_is_as_it_describes_itself() {
    let home = Home::up();
    let door = address(&home);
    let served = get(&door, "/v1/openapi.json");
    assert_eq!((served.status, served.header("content-type")), (200, "application/json"));
    let Some(mut schemathesis) = crate::python::installed("schemathesis") else { return };
    let tools = crate::python::project().join("tools/http").canonicalize().unwrap();
    let output = schemathesis
        .arg("--config-file")
        .arg(tools.join("schemathesis.toml"))
        .args(["run", &format!("http://{door}/v1/openapi.json"), "--seed", "1", "--max-examples", "5"])
        .args([
            // One: what it is made of is not safe with several.
            "--workers",
            "1",
            "--continue-on-failure",
            "--request-timeout",
            "20",
            "--warnings",
            "off",
            "--no-color",
        ])
        // What it keeps goes where the test's other files are.
        .current_dir(home.home())
        .env("PYTHONPATH", &tools)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let number = |text: &str| -> u64 {
        let words: Vec<&str> = said.split_whitespace().collect();
        let at = words.windows(2).position(|pair| pair[1].trim_end_matches(',') == text);
        at.and_then(|at| words[at].parse().ok()).unwrap_or_else(|| panic!("no {text}: {said}"))
    };
    assert!(number("generated") > 500, "{said}");
}
