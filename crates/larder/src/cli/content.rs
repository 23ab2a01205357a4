//! Flags that say how content is stored and what is kept beside it; shared by verbs that store files.

use larder_client::files::ContentOptions;
use larder_client::local::xattrs::PREFIX;
use larder_client::vault::Vault;
use larder_format::head::{Attributes, CUSTOM_ATTRIBUTES_MAX};
use larder_seal::compress::Compression;

use crate::failure::{Failure, Outcome};

/// Average length of content-defined chunks, in bytes.
const CONTENT_DEFINED_AVERAGE: u32 = 1 << 20;

/// Where chunks of a file end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Chunking {
    /// Every mebibyte: what is inserted near the beginning changes all chunks after it
    #[default]
    Fixed,
    /// Where the content says: a change in the middle changes few chunks, but chunk lengths are visible to the node
    Content,
}

/// Flags about content and attributes.
#[derive(Debug, clap::Args)]
pub struct ContentArgs {
    /// Where chunks of files above 32 KiB end
    #[arg(long, value_enum, default_value_t)]
    chunking: Chunking,
    /// zstd level, 1 to 19, or off; what does not get smaller is stored as it is
    #[arg(long, value_name = "LEVEL", default_value = "1", value_parser = compression)]
    compression: Compression,
    /// Media type to keep with the file, for instance text/plain
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// An attribute to keep with the file; may be repeated
    #[arg(long = "attr", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,
}

fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "off" => Ok(Compression::Off),
        _ => match text.parse() {
            Ok(level @ 1..=19) => Ok(Compression::Zstd { level }),
            _ => Err("want a level from 1 to 19, or off".to_owned()),
        },
    }
}

pub fn attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, _)) if name.starts_with(PREFIX) => {
            Err(format!("names that begin with {PREFIX} are those of extended attributes of files"))
        }
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("want NAME=VALUE".to_owned()),
    }
}

impl ContentArgs {
    /// How to cut and compress.
    pub fn options(&self, vault: &Vault) -> ContentOptions {
        let mut options = ContentOptions { compression: self.compression, ..ContentOptions::default() };
        if self.chunking == Chunking::Content {
            options.cutting = vault.content_defined(CONTENT_DEFINED_AVERAGE);
        }
        options
    }

    /// What to keep beside the content.
    ///
    /// # Errors
    /// Invalid: an attribute named twice, too many or too long.
    pub fn attributes(&self) -> Outcome<Attributes> {
        let mut custom: Vec<_> =
            self.attributes.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        custom.sort_by(|(a, _), (b, _): &(String, bytes::Bytes)| a.cmp(b));
        if let Some(twice) = custom.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Failure::invalid(format!("--attr names {} twice", twice[0].0)));
        }
        let attributes = Attributes {
            content_type: self.content_type.clone().unwrap_or_default(),
            custom,
            ..Attributes::default()
        };
        attributes.check().map_err(|e| {
            Failure::invalid(e.to_string()).hint(format!("at most {CUSTOM_ATTRIBUTES_MAX} attributes"))
        })?;
        Ok(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_attributes_are_read_strictly() {
        assert_eq!(compression("off"), Ok(Compression::Off));
        assert_eq!(compression("19"), Ok(Compression::Zstd { level: 19 }));
        for bad in ["0", "20", "-1", "fast", ""] {
            assert!(compression(bad).is_err(), "{bad:?}");
        }
        assert_eq!(attribute("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(attribute("=b").is_err());
        assert!(attribute("a").is_err());
    }
}
