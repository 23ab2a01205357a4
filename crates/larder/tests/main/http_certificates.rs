//! The HTTP door with certificates: strangers stay out, a certificate's rights hold, and one that is revoked loses its
//! open connections within a second.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::http::{Connection, address};
use crate::support::patience::in_time;
use crate::support::{Home, Said};

/// A client that keeps one connection and asks a line at a time: `METHOD PATH BODY`. Says the status, or `closed`.
const CLIENT: &str = "
import http.client, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
context.load_cert_chain(sys.argv[3], sys.argv[4])
connection = http.client.HTTPSConnection(sys.argv[1], context=context, timeout=60)
connection.connect()
socket = connection.sock
for line in sys.stdin:
    if line == 'wait\\n':
        try:
            print('closed' if socket.recv(1) == b'' else 'data', flush=True)
        except OSError:
            print('closed', flush=True)
        break
    method, path, body = line.rstrip('\\n').split(' ')
    connection.request(method, path, body or None)
    answer = connection.getresponse()
    answer.read()
    print(answer.status, flush=True)
";

struct Client {
    child: std::process::Child,
    said: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Client {
    fn new(door: &str, authority: &Path, certificate: &Path, key: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", CLIENT, door])
            .args([authority, certificate, key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, said }
    }

    fn say(&mut self, line: &str) -> String {
        use std::io::Write;
        self.child.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
        self.said.next().expect("the client ended").unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn only_certificates_of_this_authority_get_in_and_only_as_far_as_they_say() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let up = ["up", "--listen", "127.0.0.1:0", "--set", "http_auth=certificate", "--passphrase-file"];
    home.run(&[&up[..], &[passphrase.to_str().unwrap()]].concat()).ends(0);
    let door = address(&home);
    let folder = home.home().join("config/certificates");
    let authority = folder.join("authority.pem");
    let status = home.run(&["status", "--json"]).ends(0).json();
    assert_eq!(status["exposed"][1]["needs"], "certificate");
    assert!(
        home.run(&["status"]).out.contains(&format!("HTTPS on {door} to this machine, certificate needed"))
    );

    let curl = |arguments: &[&str], url: &str| {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "20", "-w", "%{http_code}", "-o", "/dev/null"])
            .args(arguments)
            .arg(url)
            .output()
            .unwrap();
        Said::from(output)
    };
    let url = format!("https://{door}/v1/data/x");
    let ca = authority.to_str().unwrap();
    assert_ne!(curl(&["--cacert", ca], &url).code, 0, "without a certificate");
    assert_ne!(curl(&[], &format!("http://{door}/health")).code, 0, "in the clear");
    let mut plain = Connection::to(&door);
    plain.send(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(plain.answer().is_none());
    let (own, own_key) = (folder.join("client.pem"), folder.join("client.key"));
    let own = ["--cacert", ca, "--cert", own.to_str().unwrap(), "--key", own_key.to_str().unwrap()];
    assert_eq!(curl(&[&own[..], &["-X", "PUT", "-d", "v"]].concat(), &url).ends(0).out, "201");
    assert_eq!(curl(&own, &url).ends(0).out, "200");

    let issued = |name: &str, more: &[&str]| {
        let to = home.path(name);
        let base = ["ca", "issue", name, "--to", to.to_str().unwrap()];
        home.run(&[&base[..], more].concat()).ends(0);
        Client::new(&door, &to.join("authority.pem"), &to.join("client.pem"), &to.join("client.key"))
    };
    let mut reader = issued("reader", &["--rights", "read"]);
    assert_eq!(reader.say("GET /v1/data/x "), "200");
    assert_eq!(reader.say("GET /v1/keys "), "200");
    assert_eq!(reader.say("GET /metrics "), "200");
    assert_eq!(reader.say("PUT /v1/data/x w"), "403");
    assert_eq!(reader.say("DELETE /v1/data/x "), "403");
    let mut elsewhere = issued("elsewhere", &["--rights", "write", "--namespace", "files"]);
    assert_eq!(elsewhere.say("GET /v1/data/x "), "403", "its rights are in another namespace");
    assert_eq!(elsewhere.say("GET /health "), "200");
    let mut writers = 0;
    in_time(Duration::from_millis(1500), || {
        writers += 1;
        let name = format!("writer-{writers}");
        let mut writer = issued(&name, &["--rights", "write", "--namespace", "raw"]);
        assert_eq!(writer.say("PUT /v1/data/x w"), "201");
        assert_eq!(writer.say("DELETE /v1/data/x "), "204");

        home.run(&["ca", "revoke", &name]).ends(0);
        #[allow(clippy::disallowed_methods, reason = "what is looked at is the real clock")]
        let began = Instant::now();
        assert_eq!(writer.say("wait"), "closed");
        began.elapsed()
    });
    assert_eq!(reader.say("GET /v1/data/x "), "404", "others go on");
    assert_eq!(curl(&own, &url).ends(0).out, "404");
}
