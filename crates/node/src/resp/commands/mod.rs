//! Commands on values, one file for each family.

use larder_door::resp::Verb;

use super::call::Call;

/// Carries out a command on values.
pub(super) fn run(call: &mut Call<'_>, verb: Verb) {
    call.out.error(format_args!(
        "ERR unknown command '{}', Larder has no such command; see docs/doors/redis.md",
        verb.name()
    ));
}
