//! Names under which the HTTP door's requests are counted.

use larder_door::http::target::Asked;

/// Operations, in the order of [`at`].
pub(crate) const NAMES: &[&str] = &[
    "get",
    "put",
    "delete",
    "raw_put",
    "keys",
    "health",
    "status",
    "topology",
    "metrics",
    "take",
    "touch",
    "persist",
    "increment",
    "watch",
    "openapi",
    "problems",
    "none",
];

/// What no route took, or was refused before anybody looked.
pub(crate) const NONE: usize = NAMES.len() - 1;

/// Statuses this door answers, and whether they say that something is wrong with the node. The last stands for any
/// other.
pub(crate) const STATUSES: &[(&str, bool)] = &[
    ("200", false),
    ("201", false),
    ("202", true),
    ("204", false),
    ("206", false),
    ("304", false),
    ("400", false),
    ("401", false),
    ("403", false),
    ("404", false),
    ("405", false),
    ("408", false),
    ("409", false),
    ("412", false),
    ("413", false),
    ("416", false),
    ("421", false),
    ("422", false),
    ("429", false),
    ("431", false),
    ("500", true),
    ("501", false),
    ("503", true),
    ("507", false),
    ("other", true),
];

/// The operation's place in [`NAMES`].
pub(crate) fn at(asked: &Asked) -> usize {
    match asked {
        Asked::Get { .. } => 0,
        Asked::Put { .. } => 1,
        Asked::Delete { .. } => 2,
        Asked::PutRaw => 3,
        Asked::Keys(_) => 4,
        Asked::Health { .. } => 5,
        Asked::Status { .. } => 6,
        Asked::Topology => 7,
        Asked::Metrics(_) => 8,
        Asked::Take { .. } => 9,
        Asked::Touch { .. } => 10,
        Asked::Persist { .. } => 11,
        Asked::Increment { .. } => 12,
        Asked::Watch(_) => 13,
        Asked::OpenApi => 14,
        Asked::Problems(_) => 15,
    }
}

/// The status' place in [`STATUSES`].
pub(crate) fn status_at(status: u16) -> usize {
    const NUMBERS: [u16; 24] = [
        200, 201, 202, 204, 206, 304, 400, 401, 403, 404, 405, 408, 409, 412, 413, 416, 421, 422, 429, 431,
        500, 501, 503, 507,
    ];
    NUMBERS.iter().position(|number| *number == status).unwrap_or(NUMBERS.len())
}

#[cfg(test)]
mod tests {
    use larder_door::http::openapi;

    use super::*;

    #[test]
    fn the_doors_description_has_every_status_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
        let mut said: Vec<u16> = openapi::UNLISTED.to_vec();
        for path in document["paths"].as_object().unwrap().values() {
            for operation in path.as_object().unwrap().values().filter(|operation| operation.is_object()) {
                let answers = operation["responses"].as_object().unwrap();
                said.extend(answers.keys().map(|status| status.parse::<u16>().unwrap()));
            }
        }
        said.sort_unstable();
        said.dedup();
        let known = STATUSES.iter().filter_map(|(name, _)| name.parse::<u16>().ok());
        assert_eq!(said, known.collect::<Vec<_>>());
    }

    #[test]
    fn statuses_are_at_their_places() {
        for status in 100..600_u16 {
            let name = STATUSES[status_at(status)].0;
            assert!(name == "other" || name == status.to_string());
        }
        assert_eq!(STATUSES[status_at(507)].0, "507");
        assert_eq!(NAMES[at(&Asked::Problems(None))], "problems");
        assert_eq!(NAMES[at(&Asked::Metrics(larder_door::http::target::MetricsForm::Json))], "metrics");
    }
}
