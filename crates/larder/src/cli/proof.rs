//! `larder proof`: what shows anyone who wrote a file; and `larder check`, which checks it without a vault.

use std::path::{Path, PathBuf};

use larder_client::files::Proof;
use larder_format::error::Kind;
use larder_format::manifest::Statement;
use larder_format::record::Version;
use larder_seal::keys::PublicKey;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::cli::listing::hex;
use crate::failure::{Failure, Outcome, shown};

/// Longest proof file that is read, in bytes: a proof has about 900.
const PROOF_LEN_MAX: u64 = 64 * 1024;

/// Flags of `proof`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File in the vault
    #[arg(value_name = "PATH")]
    path: String,
    /// An older version
    #[arg(long, value_name = "VERSION")]
    version: Option<u64>,
}

/// Flags of `check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// A local copy of the file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What `larder proof` printed
    #[arg(value_name = "PROOF")]
    proof: PathBuf,
    /// The public key it must be signed with, in hexadecimal; without, the one in the proof is shown
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

/// Prints a proof as JSON. It holds no secret.
///
/// # Errors
/// Not found; damaged.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let path = context.path(&args.path)?;
    crate::session::with_vault(context, async |vault| {
        let proof = vault.proof(&path, args.version.map(Version::from_u64)).await?;
        let document = json!({
            "statement": hex(&proof.statement.encode()),
            "signature": hex(&proof.signature),
            "public_key": hex(&proof.public.0),
            "blake3": hex(&proof.statement.content_hash),
            "size": proof.statement.size,
        });
        context.output.document(&document)?;
        context.output.text(&format!("{document:#}\n"))
    })
}

/// Checks a local file against a proof. Needs neither vault nor node.
///
/// # Errors
/// Damaged if the file is not what was signed; denied if another key signed; invalid for what is no proof.
pub fn check(context: &Context, args: &CheckArgs) -> Outcome {
    let proof = read_proof(&args.proof)?;
    let signer = hex(&proof.public.0);
    if let Some(wanted) = &args.key
        && *wanted.to_ascii_lowercase() != signer
    {
        return Err(Failure::new(Kind::Denied, format!("signed with another key: {signer}")));
    }
    let (content_hash, size) = hash(&args.file)?;
    proof.check(&proof.statement.content_hash, proof.statement.size).map_err(|failure| {
        Failure::new(failure.kind, format!("{}: its signature does not fit what it says", shown(&args.proof)))
    })?;
    if (content_hash, size) != (proof.statement.content_hash, proof.statement.size) {
        let signed = &proof.statement;
        let message = format!(
            "{} is not the file that was signed: it has {size} bytes with the BLAKE3 hash {}, and signed were {} bytes with {}",
            shown(&args.file),
            hex(&content_hash),
            signed.size,
            hex(&signed.content_hash)
        );
        return Err(Failure::new(Kind::Damaged, message));
    }
    context.output.document(&json!({ "valid": true, "public_key": signer, "size": size }))?;
    context.output.text(&format!("{}: as signed by {signer}\n", shown(&args.file)))?;
    if args.key.is_none() {
        context.output.note("compare the key with the one its owner gave you, or name it with --key");
    }
    Ok(())
}

fn hash(path: &Path) -> Outcome<([u8; 32], u64)> {
    let mut file = std::fs::File::open(path).map_err(|e| Failure::io("open", path, &e))?;
    larder_seal::content_hash::of_reader(&mut file).map_err(|e| Failure::io("read", path, &e))
}

fn read_proof(path: &Path) -> Outcome<Proof> {
    let bad = |what: &str| Failure::invalid(format!("{} is not a proof: {what}", shown(path)));
    let metadata = std::fs::metadata(path).map_err(|e| Failure::io("read", path, &e))?;
    if metadata.len() > PROOF_LEN_MAX {
        return Err(bad("too long"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| Failure::io("read", path, &e))?;
    let document: Value = serde_json::from_str(&text).map_err(|e| bad(&e.to_string()))?;
    let field = |name: &str| {
        let text = document[name].as_str().ok_or_else(|| bad(&format!("{name} is missing")))?;
        unhex(text).ok_or_else(|| bad(&format!("{name} is not hexadecimal")))
    };
    let exact = |name: &str, len: usize| {
        field(name).and_then(|b| {
            if b.len() == len { Ok(b) } else { Err(bad(&format!("{name} has a wrong length"))) }
        })
    };
    let statement = Statement::decode(field("statement")?.into()).map_err(|e| bad(&e.to_string()))?;
    let mut proof = Proof { statement, signature: [0; 64], public: PublicKey([0; 32]) };
    proof.signature.copy_from_slice(&exact("signature", 64)?);
    proof.public.0.copy_from_slice(&exact("public_key", 32)?);
    Ok(proof)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}
