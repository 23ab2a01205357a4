//! Settings: understood, in force, and not asking for more than the machine has.

use larder_node::RawAuth;

use crate::cli::Context;
use crate::doctor::{Finding, machine};
use crate::life::pid_file;
use crate::settings::{IdleLock, Process, Resolved};
use crate::size;
use crate::up::NODE;

pub(super) fn look(context: &Context, findings: &mut Vec<Finding>) {
    let path = context.folders.settings_file();
    let resolved = match Resolved::load(&path, &[]) {
        Ok(resolved) => resolved,
        Err(failure) => {
            findings.push(Finding::failed(
                "settings",
                &failure,
                &format!("edit {}", crate::failure::shown(&path)),
            ));
            return;
        }
    };
    let before = findings.len();
    for variable in &resolved.strange_variables {
        findings.push(Finding::advice(
            "settings",
            format!("the environment has {variable}, which is no setting"),
            "larder config show lists the settings; unset it if it was meant as one",
        ));
    }
    let cap = resolved.settings.memory_cap_bytes;
    if let Some(memory) = machine::memory_bytes()
        && cap > memory / 4 * 3
    {
        findings.push(Finding::warning(
            "settings",
            format!("memory_cap is {} and the machine has {}", size::show(cap), size::show(memory)),
            "lower memory_cap, or the system may end the node when values fill it",
        ));
    }
    if resolved.settings.idle_lock == IdleLock::Never {
        findings.push(Finding::advice(
            "settings",
            "idle_lock is never: whoever gets hold of this session reads everything",
            "set idle_lock to a time, like 15m",
        ));
    }
    let protection = &resolved.settings.protection;
    if let Some(http) = resolved.settings.http.config(resolved.settings.listen, protection)
        && http.auth == RawAuth::None
        && !protection.proxies.trusted.is_empty()
    {
        findings.push(Finding::warning(
            "settings",
            "whoever reaches a trusted proxy that passes requests on to the HTTP door reads and writes its values",
            "set http_auth to token or certificate, or let the proxy ask who calls",
        ));
    }
    if let Err(why) = crate::settings::protection::check(&resolved.settings) {
        findings.push(Finding::warning("settings", why, "until then the node does not start"));
    }
    restart_needed(context, &resolved, findings);
    if findings.len() == before {
        findings.push(Finding::good("settings", "understood, and in force"));
    }
}

fn restart_needed(context: &Context, resolved: &Resolved, findings: &mut Vec<Finding>) {
    for (process, name) in [(Process::Node, NODE), (Process::Agent, crate::agent::client::NAME)] {
        let Ok(Some(running)) = pid_file::look(&context.folders.pid_file(name)) else { continue };
        let changed: Vec<String> = resolved
            .of(process)
            .into_iter()
            .filter(|(name, value)| running.settings.get(name).is_some_and(|now| now != value))
            .map(|(name, _)| name)
            .collect();
        if !changed.is_empty() {
            findings.push(Finding::advice(
                "settings",
                format!("the running {name} does not go by what is set now: {}", changed.join(", ")),
                "larder down, then larder up",
            ));
        }
    }
}
