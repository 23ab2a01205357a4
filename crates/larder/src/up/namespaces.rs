//! Step: the namespaces exist.

use std::time::Duration;

use larder_client::vault::{FILES, KEYS, VALUES};
use larder_format::namespace::{Class, Namespace, Privacy, ScanOrder};
use larder_node::config::RAW_NAMESPACE;

use crate::failure::Outcome;
use crate::folders::Folders;
use crate::session;

/// Lifetime of a value that asks for none.
const VALUE_TTL_DEFAULT: Duration = Duration::from_secs(3600);
/// Longest lifetime of a value. They live in memory: what has to stay longer is a file.
const VALUE_TTL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Creates what is missing; answers the names of those that are new.
///
/// # Errors
/// A conflict if one exists with other settings; what the node says.
pub fn ensure(folders: &Folders) -> Outcome<Vec<String>> {
    session::with_node(folders, async |remote| {
        let there = remote.list_namespaces().await?;
        let mut created = Vec::new();
        for wanted in wanted() {
            // One whose settings the owner has changed is left as it is.
            if there.iter().any(|namespace| namespace.name == wanted.name) {
                continue;
            }
            if remote.create_namespace(&wanted).await? {
                created.push(wanted.name);
            }
        }
        Ok(created)
    })
}

fn wanted() -> [Namespace; 4] {
    let ms = |length: Duration| u64::try_from(length.as_millis()).ok();
    [
        Namespace::new(FILES, Privacy::Sealed, Class::Disk, ScanOrder::Key),
        Namespace {
            ttl_default_ms: ms(VALUE_TTL_DEFAULT),
            ttl_max_ms: ms(VALUE_TTL_MAX),
            ..Namespace::new(VALUES, Privacy::Sealed, Class::Memory, ScanOrder::Hash)
        },
        Namespace::new(KEYS, Privacy::Sealed, Class::Disk, ScanOrder::Key),
        // What the HTTP door serves, whether it is open or not.
        Namespace {
            ttl_default_ms: ms(VALUE_TTL_DEFAULT),
            ttl_max_ms: ms(VALUE_TTL_MAX),
            ..Namespace::new(RAW_NAMESPACE, Privacy::Raw, Class::Memory, ScanOrder::Hash)
        },
    ]
}
