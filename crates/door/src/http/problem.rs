//! Errors as small JSON documents (RFC 9457, `application/problem+json`) that say what to do.

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

/// Media type of [`document`].
pub const CONTENT_TYPE: &str = "application/problem+json";

/// The document of an error. `kind` is stable and for programs, `detail` for people; a first capital and a full stop
/// are added.
#[must_use]
pub fn document(status: StatusCode, kind: &str, detail: &str) -> Bytes {
    let title = status.canonical_reason().unwrap_or("Error");
    let mut letters = detail.chars();
    let detail: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    let mut text =
        json!({ "title": title, "status": status.as_u16(), "kind": kind, "detail": format!("{detail}.") })
            .to_string();
    text.push('\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_json_whatever_the_words() {
        let document = document(StatusCode::NOT_FOUND, "not_found", "no \"such\" value\n");
        let value: serde_json::Value = serde_json::from_slice(&document).unwrap();
        assert_eq!(value["status"], 404);
        assert_eq!(value["title"], "Not Found");
        assert_eq!(value["detail"], "No \"such\" value\n.");
    }
}
