//! Certificates: there, and not near their end.

use larder_format::clock::{Clock, SystemClock};
use larder_format::error::Kind;

use crate::certificates::Certificates;
use crate::cli::Context;
use crate::doctor::Finding;
use crate::duration;

/// A certificate that ends sooner than this should have been renewed by a `larder up` long before, in milliseconds.
const NEAR_END_MS: u64 = 30 * 24 * 3_600_000;

pub(super) fn look(context: &Context, findings: &mut Vec<Finding>) {
    let certificates = Certificates::in_folder(context.folders.certificates());
    for name in ["node", "client"] {
        if let Err(failure) = certificates.identity(name) {
            findings.push(Finding::failed(
                "certificates",
                &failure,
                "larder down, then larder up makes new ones",
            ));
            return;
        }
    }
    match certificates.ends_ms() {
        Ok(Some(end_ms)) => {
            let now_ms = SystemClock::new().wall_ms();
            let left = std::time::Duration::from_millis(end_ms.saturating_sub(now_ms));
            if left.is_zero() {
                findings.push(Finding::bad(
                    "certificates",
                    Kind::Denied,
                    "they have ended: nobody is admitted",
                    "larder down, then larder up renews them",
                ));
            } else if end_ms < now_ms + NEAR_END_MS {
                findings.push(Finding::warning(
                    "certificates",
                    format!("they end in {}", duration::show(left)),
                    "larder up renews them",
                ));
            } else {
                findings.push(Finding::good("certificates", format!("good for {}", duration::show(left))));
            }
        }
        Ok(None) => findings.push(Finding::warning(
            "certificates",
            "nothing says until when they hold",
            "larder down, then larder up makes new ones",
        )),
        Err(failure) => findings.push(Finding::failed("certificates", &failure, "larder up")),
    }
}
