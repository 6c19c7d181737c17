//! What NATS holds: the server, the streams, the clock, the policy, the quotas, the workers.

use std::{collections::BTreeSet, time::Duration};

use gatewright_bus::{
    ConnectError, Fleet, clock,
    fleet::{MIN_SERVER, without_passwords},
    layout::LayoutError,
    presence::SILENT_AFTER,
};
use gatewright_policy::Snapshot;
use gatewright_schemas::{WriterId, Zone};

use super::{Check, PATIENCE};
use crate::{context::Context, exit::told, out::span};

/// Clocks that differ by more make times in events and deadlines odd.
const CLOCKS_DIFFER: Duration = Duration::from_millis(500);
/// The authority's clock is refreshed every second.
const CLOCK_STANDS: Duration = Duration::from_secs(5);

pub(super) async fn checks(context: &Context) -> Vec<Check> {
    let fleet = match connect(context).await {
        Ok(fleet) => fleet,
        Err(check) => {
            let skipped = [
                "streams",
                "server clock",
                "dispatcher",
                "policy",
                "quotas",
                "workers",
            ];
            let skipped =
                skipped.map(|name| Check::skipped(name, "there is no connection to NATS"));
            return [vec![check], skipped.to_vec()].concat();
        }
    };
    let (server, version) = fleet.server();
    let mut checks = vec![Check::ok(
        "nats",
        format!("`{server}`, nats-server {version}, with JetStream"),
    )];
    let streams = streams(&fleet).await;
    let missing = streams.1;
    checks.push(streams.0);
    if missing {
        for name in ["server clock", "dispatcher", "policy", "quotas", "workers"] {
            checks.push(Check::skipped(name, "the fleet's streams do not exist"));
        }
        return checks;
    }
    checks.push(server_clock(&fleet).await);
    checks.extend(authority(&fleet).await);
    checks.push(quotas(&fleet).await);
    checks.extend(workers(&fleet).await);
    checks
}

async fn connect(context: &Context) -> Result<Fleet, Check> {
    let name = WriterId::new("operator").map_err(|error| {
        Check::fault("nats", error.to_string(), "this is a fault of the program")
    })?;
    let connection = context.settings.connection(&name);
    let connecting = Fleet::connect_once(&connection);
    let url = without_passwords(&connection.url);
    let error = match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(fleet)) => return Ok(fleet),
        Ok(Err(error)) => error,
        Err(_) => {
            return Err(Check::fault(
                "nats",
                format!("{url} takes the connection and does not answer"),
                "see whether that server is overloaded, stopped or something else than NATS",
            ));
        }
    };
    let remedy = match &error {
        ConnectError::Unreachable { .. } => match &context.settings.from_dev {
            Some(_) => "start `gatewright dev` in this directory again, or name another server with --nats-url".into(),
            None => "start that server, or name another with --nats-url, NATS_URL or `nats_url` in the file of --config".into(),
        },
        ConnectError::Tls { .. } => "name the authority of its certificate with --tls-ca, and a certificate of your own with --tls-client-cert where the server asks for one".into(),
        ConnectError::Credentials { .. } => "name a credentials file that can be read with --nats-creds".into(),
        ConnectError::ServerTooOld { .. } => {
            format!("upgrade it to {}.{}.{} or newer", MIN_SERVER.0, MIN_SERVER.1, MIN_SERVER.2)
        }
        ConnectError::NoJetStream { .. } => "switch JetStream on in its configuration".to_owned(),
    };
    Err(Check::fault("nats", told(&error.into()), remedy))
}

/// The check, and whether the streams are missing.
async fn streams(fleet: &Fleet) -> (Check, bool) {
    let name = "streams";
    match fleet.check_layout().await {
        Ok(differences) if differences.is_empty() => (
            Check::ok(name, "streams and consumers are as they must be"),
            false,
        ),
        Ok(differences) => {
            let told: Vec<String> = differences
                .iter()
                .map(|d| {
                    format!(
                        "{}: `{}` is {} and must be {}",
                        d.of, d.setting, d.found, d.expected
                    )
                })
                .collect();
            let remedy = "set them back with the `nats` tool, or use another --prefix if these streams are somebody else's";
            (Check::fault(name, told.join("; "), remedy), false)
        }
        Err(error @ LayoutError::Missing { .. }) => {
            let remedy = "start a dispatcher, or run `gatewright provision`";
            (Check::fault(name, told(&error.into()), remedy), true)
        }
        Err(error) => {
            let remedy = "see whether this credential may ask for the streams' information";
            (Check::fault(name, told(&error.into()), remedy), false)
        }
    }
}

async fn server_clock(fleet: &Fleet) -> Check {
    let name = "server clock";
    match fleet.clock_difference().await {
        Ok(difference) => {
            let apart = Duration::from_micros(difference.ahead_us.unsigned_abs());
            let uncertain = Duration::from_micros(difference.uncertainty_us.unsigned_abs());
            let side = if difference.ahead_us < 0 {
                "behind"
            } else {
                "ahead of"
            };
            let found = format!(
                "{} {side} this machine's, give or take {}",
                span(apart),
                span(uncertain)
            );
            if apart > CLOCKS_DIFFER + uncertain {
                Check::warning(
                    name,
                    found,
                    "synchronise both machines' clocks (NTP): deadlines and times in events go by them",
                )
            } else {
                Check::ok(name, found)
            }
        }
        Err(error) => Check::warning(name, told(&error.into()), "nothing, unless it stays so"),
    }
}

/// Whether dispatchers are at work, which keep the authority's clock, and which policy is active.
async fn authority(fleet: &Fleet) -> Vec<Check> {
    let snapshot = match fleet.authority_now().await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let found = told(&error.into());
            return vec![
                Check::fault(
                    "dispatcher",
                    found,
                    "run `gatewright provision`, and start a dispatcher",
                ),
                Check::skipped("policy", "the authority cannot be read"),
            ];
        }
    };
    vec![dispatcher(&snapshot), policy(fleet, &snapshot).await]
}

fn dispatcher(snapshot: &Snapshot) -> Check {
    let name = "dispatcher";
    let remedy = "start `gatewright dispatcher`: without one nothing is admitted, and every gate denies once its copy is too old";
    match snapshot.synced_at() {
        None => Check::fault(
            name,
            "the authority's clock never ticked: no dispatcher has run",
            remedy,
        ),
        Some(at) => {
            let age = clock::now().since(at);
            let found = format!("the authority's clock ticked {} ago", span(age));
            if age > CLOCK_STANDS {
                Check::fault(name, found, remedy)
            } else {
                Check::ok(name, found)
            }
        }
    }
}

async fn policy(fleet: &Fleet, snapshot: &Snapshot) -> Check {
    let name = "policy";
    let active = match fleet.active_policy().await {
        Ok(active) => active,
        Err(error) => {
            return Check::fault(
                name,
                told(&error.into()),
                "see whether this credential may read the bucket",
            );
        }
    };
    match (active, snapshot.policy()) {
        (None, _) => Check::fault(
            name,
            "no policy is active, so every call is denied",
            "apply one: gatewright policy apply FILE",
        ),
        (Some(active), None) => Check::fault(
            name,
            format!(
                "revision {} cannot be read by this version, so every call is denied",
                active.revision
            ),
            "apply one that this version reads: gatewright policy apply FILE",
        ),
        (Some(active), Some(policy)) => {
            let document = policy.document();
            let found = format!("revision {}, mode {}", active.revision, document.mode);
            if document.kill_switches.fleet {
                return Check::warning(
                    name,
                    format!("{found}; the kill switch of the fleet is on"),
                    "apply a policy without it when the emergency is over",
                );
            }
            Check::ok(name, found)
        }
    }
}

/// Which limits are used up. They are held to the limit that was leased under last.
async fn quotas(fleet: &Fleet) -> Check {
    const MOST: usize = 1_000;
    let name = "quotas";
    let found = match fleet.quotas(false, "", MOST, clock::now()).await {
        Ok(found) => found,
        Err(error) => {
            let remedy = "run `gatewright provision`: without its bucket every call that a limit covers is denied";
            return Check::fault(name, told(&error.into()), remedy);
        }
    };
    let used_up: Vec<String> = found
        .iter()
        .filter(|ledger| ledger.leased >= ledger.limit)
        .map(|ledger| {
            let counter = &ledger.counter;
            format!("`{}` until {}", counter.name, counter.resets_at())
        })
        .collect();
    if used_up.is_empty() {
        return Check::ok(
            name,
            format!("{} counters in use, none used up", found.len()),
        );
    }
    Check::warning(
        name,
        format!("used up: {}", used_up.join(", ")),
        "nothing, if that is what the limit is for; else apply a policy with a higher one",
    )
}

async fn workers(fleet: &Fleet) -> Vec<Check> {
    let name = "workers";
    let listed = match fleet.list_workers().await {
        Ok(listed) => listed,
        Err(error) => {
            return vec![Check::fault(
                name,
                told(&error.into()),
                "run `gatewright provision`",
            )];
        }
    };
    let now = clock::now();
    let (alive, silent): (Vec<_>, Vec<_>) = listed
        .into_iter()
        .partition(|worker| now.since(worker.seen_at) <= SILENT_AFTER);
    let served: BTreeSet<Zone> = alive
        .iter()
        .filter(|worker| !worker.draining)
        .flat_map(|worker| worker.zones.iter().copied())
        .collect();
    let unserved: Vec<&str> = Zone::ALL
        .iter()
        .filter(|zone| !served.contains(zone))
        .map(|zone| zone.as_str())
        .collect();
    let slots: u32 = alive.iter().map(|worker| worker.slots).sum();
    let found = format!("{} alive, with {slots} slots", alive.len());
    let mut checks = vec![if alive.is_empty() {
        Check::fault(
            name,
            "none is alive, so no run moves",
            "start `gatewright worker`",
        )
    } else if unserved.is_empty() {
        Check::ok(name, found)
    } else {
        Check::fault(
            name,
            format!("{found}; none serves {}", unserved.join(", ")),
            format!(
                "runs of those zones wait: start `gatewright worker --zones {}`",
                unserved.join(",")
            ),
        )
    }];
    if !silent.is_empty() {
        let names: Vec<&str> = silent
            .iter()
            .map(|worker| worker.worker_id.as_str())
            .collect();
        checks.push(Check::warning(
            "silent workers",
            names.join(", "),
            "a dispatcher strikes off the dead; one that stays on the list hangs: see its log, or end it",
        ));
    }
    checks
}
