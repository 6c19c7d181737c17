//! The manifests, as they stand in their files: kustomize is not needed to read them.

use std::{collections::BTreeSet, path::Path, time::Duration};

use gatewright_bus::{Names, server_config};
use gatewright_schemas::{Lane, WriterId, Zone};
use gatewright_worker::WorkerConfig;
use serde_json::Value;

use super::{commands, is_known, port_of, prometheus, read, root, values_of};

const FOLDER: &str = "deploy/kubernetes";
const ROLES: [&str; 3] = ["dispatcher.yaml", "projector.yaml", "worker/worker.yaml"];

/// The documents of a file.
fn documents(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(&format!("{FOLDER}/{path}"))).unwrap()
}

/// The one document of a kind in a file.
fn the(kind: &str, path: &str) -> Value {
    let mut found = documents(path);
    found.retain(|document| document["kind"] == kind);
    assert_eq!(found.len(), 1, "{kind} in {path}");
    found.remove(0)
}

/// What a role's pods are made of.
fn pod(path: &str) -> Value {
    let has_pods = |document: &Value| document["spec"]["template"].is_object();
    let mut found = documents(&format!("base/{path}"));
    found.retain(has_pods);
    found.remove(0)["spec"]["template"]["spec"].take()
}

fn container(path: &str) -> Value {
    pod(path)["containers"][0].take()
}

fn folder(zone: Zone) -> String {
    zone.as_str().replace('_', "-")
}

fn scaling(zone: Zone) -> Value {
    let path = format!("base/zones/{}/scaling.yaml", folder(zone));
    the("ScaledObject", &path)
}

/// What a kustomization adds by one of its patches: the value at a path.
fn patched(kustomization: &Value, path: &str) -> Value {
    let patches = kustomization["patches"].as_array().unwrap();
    let operations = patches
        .iter()
        .flat_map(|patch| {
            serde_saphyr::from_str::<Vec<Value>>(patch["patch"].as_str().unwrap()).unwrap()
        })
        .filter(|operation| operation["path"] == path);
    let mut values: Vec<Value> = operations.map(|mut one| one["value"].take()).collect();
    assert_eq!(values.len(), 1, "{path}");
    values.remove(0)
}

fn example() -> Value {
    the("Kustomization", "overlays/example/kustomization.yaml")
}

fn strings(list: &Value) -> Vec<String> {
    serde_json::from_value(list.clone()).unwrap()
}

#[test]
fn workers_are_scaled_by_the_consumers_that_they_take_from() {
    let names = Names::default();
    for zone in Zone::ALL {
        let scaling = scaling(*zone);
        let mut consumers = BTreeSet::new();
        for trigger in scaling["spec"]["triggers"].as_array().unwrap() {
            assert_eq!(trigger["type"], "nats-jetstream");
            let metadata = &trigger["metadata"];
            // A stream or an account that does not exist reads as "nothing waits".
            assert_eq!(metadata["stream"], names.queue().as_str());
            assert_eq!(metadata["account"], server_config::FLEET);
            assert_eq!(
                metadata["natsServerMonitoringEndpoint"],
                "nats.gatewright.svc.cluster.local:8222"
            );
            consumers.insert(metadata["consumer"].as_str().unwrap().to_owned());
        }
        let wanted = Lane::ALL
            .iter()
            .map(|lane| names.queue_consumer(*zone, *lane));
        assert_eq!(consumers, wanted.collect());

        let path = format!("base/zones/{}/kustomization.yaml", folder(*zone));
        let kustomization = the("Kustomization", &path);
        let zones = patched(&kustomization, "/spec/template/spec/containers/0/env/-");
        assert_eq!(zones["name"], "GATEWRIGHT_ZONES");
        assert_eq!(zones["value"], zone.as_str());
        let target = format!(
            "{}{}",
            the("StatefulSet", "base/worker/worker.yaml")["metadata"]["name"]
                .as_str()
                .unwrap(),
            kustomization["nameSuffix"].as_str().unwrap()
        );
        assert_eq!(scaling["spec"]["scaleTargetRef"]["name"], target.as_str());
    }
    let kustomization = the("Kustomization", "base/kustomization.yaml");
    let resources = strings(&kustomization["resources"]);
    for zone in Zone::ALL {
        assert!(resources.contains(&format!("zones/{}", folder(*zone))));
    }
}

#[test]
fn there_is_a_key_for_every_worker_that_may_be_started() {
    let example = example();
    let secrets = example["secretGenerator"].as_array().unwrap();
    let workers = secrets
        .iter()
        .find(|secret| secret["name"] == "gatewright-workers")
        .unwrap();
    let keys: BTreeSet<String> = strings(&workers["files"]).into_iter().collect();
    let readme = read(&format!("{FOLDER}/README.md"));
    let mut wanted = BTreeSet::new();
    for zone in Zone::ALL {
        let scaling = scaling(*zone);
        let set = scaling["spec"]["scaleTargetRef"]["name"].as_str().unwrap();
        for n in 0..scaling["spec"]["maxReplicaCount"].as_u64().unwrap() {
            let pod = format!("{set}-{n}");
            assert!(WriterId::new(&pod).is_ok(), "{pod} names no credential");
            assert!(readme.contains(&format!("--worker {pod}={zone}")), "{pod}");
            wanted.insert(format!("keys/{pod}.nk"));
        }
    }
    assert_eq!(keys, wanted);
}

#[test]
fn every_command_and_variable_of_a_pod_is_known() {
    let example = example();
    let shared = &example["configMapGenerator"][0];
    assert_eq!(shared["name"], "gatewright");
    for literal in strings(&shared["literals"]) {
        let name = literal.split('=').next().unwrap().to_owned();
        assert!(is_known(&name), "{name}");
    }
    for path in ROLES {
        let container = container(path);
        assert_eq!(commands::fault(&strings(&container["args"]), false), None);
        for variable in container["env"].as_array().unwrap() {
            let name = variable["name"].as_str().unwrap();
            let of_an_argument = container["args"]
                .to_string()
                .contains(&format!("$({name})"));
            assert!(is_known(name) || of_an_argument, "{path}: {name}");
        }
    }
    let script = strings(&container("set-up.yaml")["command"]).pop().unwrap();
    let (count, faults) = commands::faults_of_shell(&script);
    assert_eq!((count, faults), (2, Vec::new()));
}

/// The port of a container by its name.
fn named_port(container: &Value, name: &str) -> u64 {
    let ports = container["ports"].as_array().unwrap();
    let port = ports.iter().find(|port| port["name"] == name);
    port.unwrap_or_else(|| panic!("no port {name}: {ports:?}"))["containerPort"]
        .as_u64()
        .unwrap()
}

#[test]
fn probes_ask_where_a_role_is_told_to_serve() {
    for path in ROLES {
        let container = container(path);
        let args = strings(&container["args"]);
        let metrics = u64::from(port_of(&args, "--metrics"));
        assert_eq!(named_port(&container, "metrics"), metrics, "{path}");
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let asks = &container[probe]["httpGet"];
            if path == "dispatcher.yaml" && probe == "readinessProbe" {
                let http = u64::from(port_of(&args, "--http"));
                assert_eq!(named_port(&container, "http"), http);
                assert_eq!(
                    (&asks["path"], &asks["port"]),
                    (&"/ready".into(), &"http".into())
                );
                // Else the kubelet names the pod's address, under which the API refuses to be spoken to.
                let host = &asks["httpHeaders"][0];
                assert_eq!(
                    (&host["name"], &host["value"]),
                    (&"Host".into(), &"localhost".into())
                );
            } else {
                let wanted = (&"/health".into(), &"metrics".into());
                assert_eq!((&asks["path"], &asks["port"]), wanted, "{path}: {probe}");
            }
        }
    }
}

#[test]
fn the_api_is_known_by_every_name_of_its_service() {
    let service = the("Service", "base/dispatcher.yaml");
    let name = service["metadata"]["name"].as_str().unwrap();
    let container = container("dispatcher.yaml");
    let port = &service["spec"]["ports"][0];
    assert_eq!(port["targetPort"], "http");
    assert_eq!(port["port"], named_port(&container, "http"));
    let deployment = the("Deployment", "base/dispatcher.yaml");
    assert_eq!(
        service["spec"]["selector"],
        deployment["spec"]["template"]["metadata"]["labels"]
    );
    let within = format!("{name}.$(POD_NAMESPACE)");
    assert_eq!(
        values_of(&strings(&container["args"]), "--http-host"),
        [
            name.to_owned(),
            within.clone(),
            format!("{within}.svc"),
            format!("{within}.svc.cluster.local"),
        ]
    );
    let variables = container["env"].as_array().unwrap();
    let namespace = variables.iter().find(|one| one["name"] == "POD_NAMESPACE");
    let field = &namespace.unwrap()["valueFrom"]["fieldRef"]["fieldPath"];
    assert_eq!(field, "metadata.namespace");
}

/// The values of a selector's one expression.
fn selected(selector: &Value) -> Vec<String> {
    let expression = &selector["matchExpressions"][0];
    assert_eq!(expression["key"], "app.kubernetes.io/component");
    assert_eq!(expression["operator"], "In");
    strings(&expression["values"])
}

#[test]
fn only_those_who_are_let_in_reach_what_is_served() {
    let policies = documents("base/network.yaml");
    let ingress = |name: &str| {
        let mut found = policies
            .iter()
            .filter(|one| one["metadata"]["name"] == name);
        let policy = found.next().unwrap();
        let rules = policy["spec"]["ingress"].as_array().unwrap();
        let [rule] = rules.as_slice() else {
            panic!("{name} has {} rules", rules.len());
        };
        let label = rule["from"][0]["namespaceSelector"]["matchLabels"].clone();
        assert_eq!(rule["from"].as_array().unwrap().len(), 1, "{name}");
        let port = rule["ports"][0]["port"].as_u64().unwrap();
        (policy["spec"]["podSelector"].clone(), label, port)
    };
    let readme = read(&format!("{FOLDER}/README.md"));
    let is_told = |label: &Value| {
        let (key, value) = label.as_object().unwrap().iter().next().unwrap();
        readme.contains(&format!("{key}={}", value.as_str().unwrap()))
    };

    let (pods, label, port) = ingress("gatewright-http");
    let dispatcher = container("dispatcher.yaml");
    assert_eq!(port, named_port(&dispatcher, "http"));
    let component = &pods["matchLabels"]["app.kubernetes.io/component"];
    assert_eq!(component, "dispatcher");
    assert!(is_told(&label), "{label}");

    let (pods, label, port) = ingress("gatewright-metrics");
    assert!(is_told(&label), "{label}");
    let roles = selected(&pods);
    for (path, role) in ROLES.into_iter().zip(&roles) {
        let container = container(path);
        assert_eq!(container["name"], role.as_str());
        assert_eq!(port, named_port(&container, "metrics"), "{path}");
    }
    // All else that comes in is refused.
    let all = policies
        .iter()
        .find(|one| one["metadata"]["name"] == "gatewright");
    let all = &all.unwrap()["spec"];
    assert!(strings(&all["policyTypes"]).contains(&"Ingress".to_owned()));
    assert!(all["ingress"].is_null());
}

#[test]
fn prometheus_finds_every_role_under_the_names_of_the_alarms() {
    let monitor = the("PodMonitor", "components/prometheus/pods.yaml");
    let roles = selected(&monitor["spec"]["selector"]);
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    assert_eq!(
        (&endpoint["port"], &endpoint["path"]),
        (&"metrics".into(), &"/metrics".into())
    );
    let naming = &endpoint["relabelings"][0];
    assert_eq!(naming["targetLabel"], "job");
    let pattern = naming["replacement"].as_str().unwrap();
    let jobs: BTreeSet<String> = roles
        .iter()
        .map(|role| pattern.replace("$1", role))
        .collect();
    assert_eq!(jobs, prometheus::jobs().into_keys().collect());
    assert_eq!(roles.len(), ROLES.len());
    for (path, role) in ROLES.into_iter().zip(&roles) {
        assert_eq!(container(path)["name"], role.as_str());
    }
}

#[test]
fn every_pod_has_no_rights_and_time_to_stop() {
    let worker = WorkerConfig::default().drain_patience;
    let stop = gatewright_cli::role::STOP_PATIENCE;
    for (path, longest) in [
        ("set-up.yaml", Duration::ZERO),
        ("dispatcher.yaml", stop),
        ("projector.yaml", stop),
        ("worker/worker.yaml", worker + stop),
    ] {
        let pod = pod(path);
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
        assert!(Duration::from_secs(grace) > longest, "{path}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{path}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{path}");
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
            "{path}"
        );
        let security = &pod["containers"][0]["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false, "{path}");
        assert_eq!(security["readOnlyRootFilesystem"], true, "{path}");
        assert_eq!(
            strings(&security["capabilities"]["drop"]),
            ["ALL"],
            "{path}"
        );
    }
}

#[test]
fn a_worker_sees_its_own_key_alone() {
    let container = container("worker/worker.yaml");
    let mounts = container["volumeMounts"].as_array().unwrap();
    let key = mounts.iter().find(|mount| mount["name"] == "keys").unwrap();
    assert_eq!(key["subPathExpr"], "$(GATEWRIGHT_NAME).nk");
    let variables = container["env"].as_array().unwrap();
    let value = |name: &str| variables.iter().find(|one| one["name"] == name).unwrap();
    assert_eq!(value("NATS_NKEY")["value"], key["mountPath"]);
    assert_eq!(
        value("GATEWRIGHT_NAME")["valueFrom"]["fieldRef"]["fieldPath"],
        "metadata.name"
    );
}

#[test]
fn servers_listen_where_they_are_looked_for() {
    let example = example();
    let literals = strings(&example["configMapGenerator"][0]["literals"]);
    let hosts: Vec<String> = (0..3).map(|n| format!("nats-{n}.nats")).collect();
    let clients: Vec<String> = hosts
        .iter()
        .map(|host| format!("nats://{host}:4222"))
        .collect();
    assert!(literals.contains(&format!("NATS_URL={}", clients.join(","))));
    let cluster = read(&format!("{FOLDER}/components/nats/cluster.conf"));
    for host in &hosts {
        assert!(cluster.contains(&format!("\"nats://{host}:6222\"")));
    }
    let service = the("Service", "components/nats/nats.yaml");
    let ports: Vec<_> = service["spec"]["ports"]
        .as_array()
        .unwrap()
        .iter()
        .collect();
    for port in [4222, 6222, 8222] {
        assert!(cluster.contains(&format!("\"0.0.0.0:{port}\"")), "{port}");
        assert!(ports.iter().any(|one| one["port"] == port), "{port}");
    }
    let allowed = read(&format!("{FOLDER}/base/network.yaml"));
    assert!(allowed.contains("port: 4222") && allowed.contains("port: 5432"));
}

#[test]
fn every_file_that_kustomize_is_sent_to_is_there() {
    for path in [
        "base",
        "base/worker",
        "components/nats",
        "components/prometheus",
        "components/sandbox",
        "overlays/example",
    ] {
        let folder = root().join(FOLDER).join(path);
        let text = read(&format!("{FOLDER}/{path}/kustomization.yaml"));
        let kustomization: Value = serde_saphyr::from_str(&text).unwrap();
        for list in ["resources", "components"] {
            for entry in kustomization[list].as_array().into_iter().flatten() {
                let there = folder.join(entry.as_str().unwrap());
                assert!(there.exists(), "{}", there.display());
            }
        }
    }
    assert!(Path::new(&root()).join("deploy/postgres/roles.sh").exists());
}
