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
    // A home that uses another machine's node has a certificate of its own for that, and no more.
    let connected = !certificates.has_authority() && certificates.certificate_file("client").exists();
    let names = if connected { &["client"][..] } else { &["node", "client"] };
    for name in names {
        if let Err(failure) = certificates.identity(name) {
            findings.push(Finding::failed(
                "certificates",
                &failure,
                "larder down, then larder up makes new ones",
            ));
            return;
        }
    }
    let ends_ms = if connected { certificates.client_ends_ms() } else { certificates.ends_ms() };
    match ends_ms {
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
