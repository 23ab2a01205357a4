//! Tokens: with an end, used, and not over. Nobody but an administrator sees them, and nobody else is told.

use larder_format::clock::Hlc;
use larder_wire::token::TokenInfo;

use crate::cli::Context;
use crate::doctor::Finding;
use crate::{session, size};

/// A token that nobody has used for this long is probably not needed, in milliseconds (90 days).
const UNUSED_MS: u64 = 90 * 24 * 3_600_000;

pub(super) fn look(context: &Context, findings: &mut Vec<Finding>) {
    let asked = session::with_node(&context.folders, async |remote| {
        Ok((remote.list_tokens().await?, Hlc::from_u64(remote.status().await?.time).ms()))
    });
    // That the node does not answer is said elsewhere; without the right, tokens are not ours to judge.
    let Ok((all, now_ms)) = asked else { return };
    if !all.is_empty() {
        judge(&all, now_ms, findings);
    }
}

fn judge(all: &[TokenInfo], now_ms: u64, findings: &mut Vec<Finding>) {
    let before = findings.len();
    let mut advise = |found: &dyn Fn(&TokenInfo) -> bool, what: &str, remedy: &str| {
        let ids: Vec<String> =
            all.iter().filter(|info| found(info)).map(|info| info.id.to_string()).collect();
        if let Some(first) = ids.first() {
            let count = size::count(ids.len() as u64, "token");
            findings.push(Finding::advice("tokens", format!("{count} {what}, such as {first}"), remedy));
        }
    };
    advise(
        &|info| info.grant.expires_ms.is_none(),
        "without end: a copy that leaks opens the door until somebody notices",
        "make one with larder token create --expires 30d, hand it over, and revoke the other",
    );
    advise(
        &|info| {
            let since_ms = info.used_ms.unwrap_or(info.created_ms);
            !info.grant.is_over(now_ms) && now_ms.saturating_sub(since_ms) > UNUSED_MS
        },
        "not used for 90 days or more",
        "larder token revoke ID, if nobody needs it",
    );
    advise(&|info| info.grant.is_over(now_ms), "expired", "larder token revoke ID takes it off the list");
    if findings.len() == before {
        findings.push(Finding::good(
            "tokens",
            format!("{}, all in order", size::count(all.len() as u64, "token")),
        ));
    }
}

#[cfg(test)]
mod tests {
    use larder_format::ids::TokenId;
    use larder_format::token::Grant;

    use super::*;

    fn found(expires_ms: Option<u64>, created_ms: u64, used_ms: Option<u64>) -> Vec<String> {
        let grant = Grant { expires_ms, ..Grant::ALL };
        let info = TokenInfo { id: TokenId([1; 8]), name: String::new(), grant, created_ms, used_ms };
        let mut findings = Vec::new();
        judge(&[info], UNUSED_MS * 3, &mut findings);
        findings.into_iter().map(|finding| finding.found).collect()
    }

    #[test]
    fn tokens_without_end_unused_ones_and_those_that_are_over_are_told() {
        let now = UNUSED_MS * 3;
        assert!(found(None, now, None)[0].starts_with("1 token without end"));
        assert!(found(Some(now + 1), 0, None)[0].contains("not used"));
        assert!(found(Some(now + 1), 0, Some(UNUSED_MS))[0].contains("not used"));
        assert!(found(Some(now + 1), 0, Some(now))[0].contains("all in order"));
        assert_eq!(found(Some(now), 0, None), ["1 token expired, such as 0101010101010101"]);
    }
}
