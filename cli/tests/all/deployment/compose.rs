//! The fleet on one machine.

use std::{collections::BTreeMap, time::Duration};

use gatewright_worker::WorkerConfig;
use serde_json::Value;

use super::{commands, is_known, read};

fn services() -> BTreeMap<String, Value> {
    let mut file: Value = serde_saphyr::from_str(&read("compose.yaml")).unwrap();
    serde_json::from_value(file["services"].take()).unwrap()
}

/// The services that run this program.
fn own() -> BTreeMap<String, Value> {
    let mut services = services();
    services.retain(|_, service| service["image"] == "gatewright:local");
    assert!(services.len() >= 7, "{:?}", services.keys());
    services
}

fn words(list: &Value) -> Vec<String> {
    serde_json::from_value(list.clone()).unwrap_or_default()
}

/// `${NAME:-value}` as `value`.
fn by_default(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        let (name, after) = behind.split_once('}').unwrap();
        out.push_str(before);
        out.push_str(name.split_once(":-").unwrap().1);
        rest = after;
    }
    out + rest
}

/// The shell text that a service runs, with its variables put in; nothing for one that runs a command.
fn script(service: &Value) -> Option<String> {
    let mut words = words(&service["entrypoint"]);
    words.extend(self::words(&service["command"]));
    if !words.first()?.ends_with("sh") {
        return None;
    }
    let mut script = words.pop()?.replace("$$", "$");
    for (name, value) in service["environment"].as_object().into_iter().flatten() {
        script = script.replace(&format!("\"${name}\""), &by_default(value.as_str()?));
    }
    // A list that the shell makes is as long as it likes, nothing included.
    Some(script.replace("\"${workers[@]}\"", ""))
}

#[test]
fn every_command_that_a_service_runs_exists() {
    let mut count = 0;
    for (name, service) in own() {
        let commands = match script(&service) {
            Some(script) => commands::in_shell(&script),
            None => vec![words(&service["command"])],
        };
        // The operator's verbs are added by whoever calls.
        assert!(!commands.is_empty(), "{name}");
        for words in commands.iter().filter(|words| !words.is_empty()) {
            count += 1;
            assert_eq!(commands::fault(words, false), None, "{name}");
        }
        if let Some(check) = service["healthcheck"]["test"].as_array() {
            assert_eq!(check.as_slice(), ["CMD", "gatewright", "health"], "{name}");
        }
    }
    assert!(count >= 8, "only {count} commands were found");
}

#[test]
fn every_variable_that_a_service_is_given_is_looked_for() {
    for (name, service) in own() {
        let script = script(&service).unwrap_or_default();
        let environment = service["environment"].as_object().unwrap();
        for variable in environment.keys() {
            let scripts_own = words(&service["command"])
                .iter()
                .any(|text| text.contains(&format!("$${variable}")));
            assert!(
                is_known(variable) || scripts_own,
                "{name} is given {variable}, and does not look for it\n{script}"
            );
        }
    }
}

#[test]
fn each_service_sees_no_key_but_its_own() {
    let sees = |name: &str| -> Vec<String> {
        let volumes = words(&services()[name]["volumes"]);
        let names = volumes
            .iter()
            .map(|volume| volume.split(':').next().unwrap().to_owned());
        names.filter(|name| name.contains("key")).collect()
    };
    for (service, key) in [
        ("set-up", "provisioner-key"),
        ("dispatcher", "dispatcher-key"),
        ("projector", "projector-key"),
        ("worker", "worker-keys"),
        ("policy", "operator-key"),
        ("gatewright", "operator-key"),
    ] {
        assert_eq!(sees(service), [key], "{service}");
    }
    assert_eq!(sees("nats"), [""; 0]);
    assert_eq!(sees("postgres"), [""; 0]);
}

#[test]
fn nothing_is_open_to_other_machines_and_roles_have_no_rights() {
    for (name, service) in services() {
        for port in words(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port}");
        }
        let privileged = ["privileged", "cap_add", "network_mode", "pid"];
        let takes = privileged.map(|key| &service[key]);
        let is_alone = service["network_mode"] == "none";
        assert!(
            is_alone || takes.iter().all(|value| value.is_null()),
            "{name}"
        );
    }
    for (name, service) in own() {
        if name == "credentials" {
            continue;
        }
        assert_eq!(words(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(service["read_only"], true, "{name}");
    }
}

#[test]
fn servers_listen_where_they_are_looked_for() {
    let services = services();
    let keys = script(&services["credentials"]).unwrap();
    assert!(keys.contains("--listen 0.0.0.0:4222"));
    assert!(keys.contains("--monitor 0.0.0.0:8222"));
    assert_eq!(
        services["dispatcher"]["environment"]["NATS_URL"],
        "nats://nats:4222"
    );
    let health = words(&services["nats"]["healthcheck"]["test"]).join(" ");
    assert!(health.contains("127.0.0.1:8222/healthz"), "{health}");
    // The data would else be lost with the container.
    assert!(keys.contains("--store-dir /data"));
    assert!(words(&services["nats"]["volumes"]).contains(&"nats:/data".to_owned()));
}

#[test]
fn a_worker_may_drain_before_it_is_killed() {
    let grace = services()["worker"]["stop_grace_period"]
        .as_str()
        .unwrap()
        .to_owned();
    let grace = Duration::from_secs(grace.trim_end_matches('s').parse().unwrap());
    let patience = WorkerConfig::default().drain_patience + gatewright_cli::role::STOP_PATIENCE;
    assert!(
        grace > patience,
        "{grace:?} is not longer than {patience:?}"
    );
}
