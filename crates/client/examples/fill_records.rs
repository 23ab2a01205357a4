//! Fills a node with records, for measuring: `fill_records ADDRESS CERTIFICATES COUNT`.
//!
//! Records have the shape of sealed ones (32-byte keys, 300-byte bodies) and no content: the node cannot tell.
//! It also shows how little is needed to talk to a node. Used by `bench/figures/start.py`.

use std::error::Error;
use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use larder_client::connection::ConnectOptions;
use larder_client::remote::{ApplySender, Remote};
use larder_format::ids::{BlobId, NamespaceId};
use larder_format::operation::Outcome;
use larder_format::record::Key;
use larder_format::sealed::{SUITE_1, SealedKind};
use larder_wire::request::{Ask, AskPut, RecordRequest};

/// Length of each body, in bytes.
const BODY_LEN: usize = 300;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, address, certificates, count] = arguments.as_slice() else {
        return Err("usage: fill_records ADDRESS CERTIFICATES COUNT".into());
    };
    let count: u64 = count.parse()?;
    let folder = Path::new(certificates);
    let remote = Remote::connect(&ConnectOptions {
        address: address.clone(),
        authority_pem: std::fs::read(folder.join("authority.pem"))?,
        certificate_pem: std::fs::read(folder.join("client.pem"))?,
        key_pem: std::fs::read(folder.join("client.key"))?,
    })
    .await
    .map_err(|failure| failure.message)?;

    let (sender, mut answers) = remote.apply_stream().await.map_err(|failure| failure.message)?;
    let sending = tokio::spawn(send_all(sender, count));
    let mut written = 0_u64;
    while let Some((tag, answer)) = answers.next().await.map_err(|failure| failure.message)? {
        match answer.map_err(|failure| failure.message)? {
            Outcome::Written { .. } => written += 1,
            other => return Err(format!("record {tag} was not written: {other:?}").into()),
        }
    }
    sending.await??;
    if written != count {
        return Err(format!("{written} of {count} records were acknowledged").into());
    }
    writeln!(std::io::stdout(), "{written} records written")?;
    Ok(())
}

async fn send_all(sender: ApplySender, count: u64) -> Result<(), String> {
    let mut body = vec![0; BODY_LEN];
    body[0] = SUITE_1;
    body[1] = SealedKind::Body.byte();
    for tag in 0..count {
        // A hash of the number: spread over all shards, as sealed keys are.
        let key = Key::new(Bytes::copy_from_slice(BlobId::of(&tag.to_le_bytes()).as_bytes()));
        body[BODY_LEN - 8..].copy_from_slice(&tag.to_le_bytes());
        let put = AskPut { body: Bytes::copy_from_slice(&body), ..AskPut::default() };
        let request = RecordRequest {
            tag,
            namespace: NamespaceId::of(larder_client::vault::FILES),
            key: key.map_err(|error| error.to_string())?,
            identity: None,
            ask: Ask::Put(put),
        };
        sender.send(request).await.map_err(|failure| failure.message)?;
    }
    Ok(())
}
