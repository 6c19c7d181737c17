//! What Prometheus is told to look for, and when it calls.
//!
//! That each metric is measured is held in `bus`, which knows them all.

use std::collections::{BTreeMap, BTreeSet};

use gatewright_schemas::{Lane, ReasonCode};
use serde_json::Value;

use super::{compose, port, read, values_of};

fn config() -> Value {
    serde_saphyr::from_str(&read("deploy/prometheus/prometheus.yml")).unwrap()
}

/// What each job asks the DNS for.
pub fn jobs() -> BTreeMap<String, Value> {
    let mut jobs = BTreeMap::new();
    for job in config()["scrape_configs"].as_array().unwrap() {
        let name = job["job_name"].as_str().unwrap().to_owned();
        jobs.insert(name, job["dns_sd_configs"][0].clone());
    }
    jobs
}

fn alarms() -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(&read("deploy/prometheus/alerts.yml")).unwrap();
    let groups = file["groups"].as_array().unwrap();
    let rules = groups
        .iter()
        .map(|group| group["rules"].as_array().unwrap());
    rules.flatten().cloned().collect()
}

fn name(alarm: &Value) -> &str {
    alarm["alert"].as_str().unwrap()
}

/// What an expression compares a label with.
fn compared<'a>(expression: &'a str, label: &str) -> Vec<&'a str> {
    let opening = format!("{label}=\"");
    let parts = expression.split(opening.as_str()).skip(1);
    parts.map(|part| part.split('"').next().unwrap()).collect()
}

#[test]
fn every_service_that_measures_is_looked_for_where_it_serves() {
    let mut services = compose::services();
    services.retain(|_, service| compose::metrics(service).is_some());
    assert_eq!(services.len(), 3, "{:?}", services.keys());
    let mut jobs = jobs();
    for (name, service) in services {
        let job = jobs.remove(&format!("gatewright-{name}")).unwrap();
        assert_eq!(job["names"], serde_json::json!([name]));
        // One address for each container, however many there are.
        assert_eq!(job["type"], "A");
        assert_eq!(job["port"], port(compose::metrics(&service).unwrap()));
    }
    assert!(jobs.is_empty(), "{jobs:?}");
}

#[test]
fn prometheus_reads_these_files() {
    let service = compose::services().remove("prometheus").unwrap();
    let volumes = compose::words(&service["volumes"]);
    let folder = volumes[0].strip_prefix("./deploy/prometheus:").unwrap();
    let folder = folder.strip_suffix(":ro").unwrap();
    let command = compose::words(&service["command"]);
    assert_eq!(
        values_of(&command, "--config.file"),
        [format!("{folder}/prometheus.yml")]
    );
    // The data would else be lost with the container.
    let [data] = values_of(&command, "--storage.tsdb.path")
        .try_into()
        .unwrap();
    assert!(volumes.contains(&format!("prometheus:{data}")));
    assert_eq!(config()["rule_files"], serde_json::json!(["alerts.yml"]));
}

#[test]
fn alarms_look_for_what_there_is() {
    let jobs = jobs();
    let mut guarded = BTreeSet::new();
    for alarm in alarms() {
        let name = name(&alarm);
        let expression = alarm["expr"].as_str().unwrap();
        for job in compared(expression, "job") {
            assert!(jobs.contains_key(job), "{name}: {job}");
            guarded.insert(job.to_owned());
        }
        for reason in compared(expression, "reason") {
            let known = serde_json::from_value::<ReasonCode>(reason.into());
            assert!(known.is_ok(), "{name}: {reason}");
        }
        for lane in compared(expression, "lane") {
            let known = Lane::ALL.iter().any(|known| known.as_str() == lane);
            assert!(known, "{name}: {lane}");
        }
        let severity = alarm["labels"]["severity"].as_str().unwrap();
        assert!(["page", "ticket"].contains(&severity), "{name}: {severity}");
        assert!(alarm["annotations"]["summary"].is_string(), "{name}");
    }
    // Where no process of a role is left, there is no series to compare.
    assert_eq!(guarded, jobs.into_keys().collect());
}

#[test]
fn every_alarm_is_tried_out() {
    let file: Value = serde_saphyr::from_str(&read("deploy/prometheus/alerts.test.yml")).unwrap();
    let cases = file["tests"][0]["alert_rule_test"].as_array().unwrap();
    let is_raised = |case: &&Value| case["exp_alerts"].is_array();
    let tried = |case: &Value| case["alertname"].as_str().unwrap().to_owned();
    let raised: BTreeSet<_> = cases.iter().filter(is_raised).map(tried).collect();
    let wanted = alarms()
        .iter()
        .map(|alarm| name(alarm).to_owned())
        .collect();
    assert_eq!(raised, wanted);
}

#[test]
fn the_operations_guide_tells_what_to_do_about_each_alarm() {
    let guide = read("docs/operations.md");
    let rows = guide
        .lines()
        .filter_map(|line| line.strip_prefix("| `Gatewright"));
    let told: BTreeSet<(String, String)> = rows
        .map(|row| {
            let mut cells = row.split(" | ");
            let alarm = cells.next().unwrap().trim_end_matches('`');
            (
                format!("Gatewright{alarm}"),
                cells.next().unwrap().to_owned(),
            )
        })
        .collect();
    let alarms = alarms();
    let wanted = alarms.iter().map(|alarm| {
        let severity = alarm["labels"]["severity"].as_str().unwrap();
        (name(alarm).to_owned(), severity.to_owned())
    });
    assert_eq!(told, wanted.collect());
}
