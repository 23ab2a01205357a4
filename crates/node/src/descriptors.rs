//! Descriptors: each connection takes one, and many systems allow a process 1,024 unless it asks for more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Asked for where the system allows as many: connections of all doors, and the store's files beside them.
const WANTED: u64 = 16 * 1024;

/// Left for the store's files and everything that is no connection of the HTTP door.
const RESERVED: u64 = 512;

/// Raises the limit as far as is allowed and useful. Answers how many connections one door may have at most.
pub(crate) fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(WANTED, |most| most.min(WANTED));
    let mut current = limit.current.unwrap_or(WANTED).min(WANTED);
    if current < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).is_ok() {
        current = wanted;
    }
    // Another door may want as many.
    usize::try_from(current.saturating_sub(RESERVED).max(RESERVED) / 2).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_some_connections() {
        let room = raise();
        assert!(room >= 256 && room <= WANTED as usize / 2, "{room}");
        assert_eq!(raise(), room, "asking again changes nothing");
    }
}
