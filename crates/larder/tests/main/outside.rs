//! A node as programs of others meet it: gRPC's and OpenSSL's own clients, from Python, without Larder's proto files.

use crate::support::{Home, Said};
use serde_json::{Value, json};

fn met(home: &Home) -> Option<Value> {
    let text = std::fs::read_to_string(home.home().join("state/node.pid")).unwrap();
    let running: Value = serde_json::from_str(&text).unwrap();
    let mut program = crate::python::program("call_node.py")?;
    program.arg(running["address"].as_str().unwrap()).arg(home.home().join("config/certificates"));
    Some(Said::from(program.output().unwrap()).ends(0).json())
}

#[test]
fn an_outside_client_learns_the_node_from_reflection_and_strangers_are_refused() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"x").ends(0);
    let Some(met) = met(&home) else { return };

    let services = &met["services"];
    assert_eq!(services["larder.v1.Records"], json!(["Apply", "ApplyStream", "Scan", "Watch", "Newest"]));
    assert_eq!(services["larder.v1.Blobs"], json!(["Put", "Get", "Lease", "Release"]));
    assert!(services["larder.v1.Node"].as_array().unwrap().contains(&json!("Status")));
    assert_eq!(met["health"]["status"], "SERVING");
    // As Larder's own client has it; 64-bit numbers are text in gRPC's JSON.
    let ours = home.run(&["status", "--json"]).ends(0).json();
    assert_eq!(met["status"]["version"], env!("CARGO_PKG_VERSION"));
    let theirs: u64 = met["status"]["disk_records"].as_str().unwrap().parse().unwrap();
    assert_eq!(Some(theirs), ours["node"]["disk"]["records"].as_u64(), "{ours}");

    assert_eq!(met["grpc_without_certificate"], "UNAVAILABLE");
    assert_eq!(met["grpc_without_tls"], "UNAVAILABLE");
    for (how, why) in [
        ("tls_without_certificate", "certificate required"),
        ("tls_of_a_stranger", "unknown ca"),
        ("tls_1_2", "protocol version"),
    ] {
        let refused =
            met[how]["refused"][0].as_str().unwrap_or_else(|| panic!("{how} was let in: {}", met[how]));
        assert!(refused.contains(why), "{how}: {refused}");
    }
    // The same client with the right certificate gets in, so that it was the certificate and the version.
    let tls = &met["tls"];
    assert_eq!((tls["protocol"].as_str(), tls["alpn"].as_str()), (Some("TLSv1.3"), Some("h2")), "{tls}");
    assert_eq!(tls["group"], "X25519MLKEM768", "hybrid where the client offers it");
}
