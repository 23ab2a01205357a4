//! `larder stat`: all that is known of a file or folder, without reading its content.

use larder_client::files::ListedKind;
use serde_json::Value;

use crate::cli::listing::hex;
use crate::cli::{Context, listing};
use crate::failure::{Outcome, clean};
use crate::moment;
use crate::size;

/// Flags of `stat`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File or folder in the vault
    #[arg(value_name = "PATH")]
    path: String,
}

/// Shows it. For a file the signed manifest is opened and verified too.
///
/// # Errors
/// Not found; damaged.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let path = context.path(&args.path)?;
    crate::session::with_vault(context, async |vault| {
        let listed = vault.stat(&path).await?;
        let mut object = listing::object(&listed);
        let mut text = format!("path      {}\n", clean(&path.to_string()));
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        text.push_str(&format!("kind      {kind}\n"));
        if let ListedKind::File { size, .. } = &listed.kind {
            let file = vault.file(&path, None).await?;
            let hash = hex(&file.manifest.content_hash);
            if let Some(fields) = object.as_object_mut() {
                fields.insert("blake3".to_owned(), Value::String(hash.clone()));
            }
            text.push_str(&format!("size      {size} ({})\nblake3    {hash}\n", size::show(*size)));
        }
        let expiry = match listed.expiry.ms() {
            Some(ms) => {
                format!("{} ({})", moment::show_ms(ms), moment::show_left(listed.expiry, vault.now_ms()))
            }
            None => "never".to_owned(),
        };
        text.push_str(&format!(
            "mode      {:04o}\nmodified  {}\nversion   {}\nwritten   {}\nexpires   {expiry}\n",
            listed.attributes.mode & 0o7777,
            moment::show_ns(listed.attributes.mtime_ns),
            listed.version,
            moment::show_ms(listed.version.0.ms()),
        ));
        let attributes = &listed.attributes;
        if !attributes.content_type.is_empty() {
            text.push_str(&format!("type      {}\n", clean(&attributes.content_type)));
        }
        for (name, value) in &attributes.custom {
            let value = String::from_utf8_lossy(value);
            text.push_str(&format!("attribute {} = {}\n", clean(name), clean(&value)));
        }
        context.output.document(&object)?;
        context.output.text(&text)
    })
}
