use gatewright_schemas::{DeadLetter, Reply, Wake, WorkerHeartbeat};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::files::{assert_fits, samples};

/// Every sample of `kind` fits the schema, reads, and is written as it was read.
fn check<T: Serialize + DeserializeOwned>(kind: &str) {
    for (name, text) in samples("messages", kind) {
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_fits(kind, &json);
        let read: T =
            serde_json::from_str(&text).unwrap_or_else(|why| panic!("{kind}.{name}: {why}"));
        assert_eq!(serde_json::to_value(&read).unwrap(), json, "{kind}.{name}");
    }
}

#[test]
fn a_wake_up_is_written_as_it_is_read() {
    check::<Wake>("wake");
}

#[test]
fn a_reply_is_written_as_it_is_read() {
    check::<Reply>("reply");
}

#[test]
fn a_heartbeat_is_written_as_it_is_read() {
    check::<WorkerHeartbeat>("worker_heartbeat");
}

#[test]
fn a_dead_letter_is_written_as_it_is_read() {
    check::<DeadLetter>("dead_letter");
}
