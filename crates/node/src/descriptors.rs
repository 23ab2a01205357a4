//! Descriptors: each connection takes one, and many systems allow a process 1,024 unless it asks for more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Asked for where the system allows as many: connections of all doors, and the store's files beside them.
const WANTED: u64 = 32 * 1024;

/// Left for the store's files and everything that is no client's connection.
const RESERVED: u64 = 512;

/// Doors that clients connect to: gRPC, HTTP, Redis.
const DOORS: usize = 3;

/// Raises the limit as far as is allowed and useful. Answers how many connections there may be, through whichever door.
pub(crate) fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(WANTED, |most| most.min(WANTED));
    let mut current = limit.current.unwrap_or(WANTED).min(WANTED);
    if current < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).is_ok() {
        current = wanted;
    }
    usize::try_from(current.saturating_sub(RESERVED).max(RESERVED)).unwrap_or(usize::MAX)
}

/// How many connections one door may have at most, of so many: others may want as many.
pub(crate) fn of_one(all: usize) -> usize {
    all / DOORS
}

/// How many connections the last door may have, of so many: its part, or what the others leave.
pub(crate) fn of_last(all: usize, others: usize) -> usize {
    of_one(all).max(all.saturating_sub(others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_some_connections() {
        let room = raise();
        assert!(room >= RESERVED as usize && room <= WANTED as usize, "{room}");
        assert_eq!(of_one(600), 200);
        assert_eq!(
            (of_last(600, 500), of_last(600, 100)),
            (200, 500),
            "never less than a part, and more where there is"
        );
        assert_eq!(raise(), room, "asking again changes nothing");
    }
}
