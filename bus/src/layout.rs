//! The streams, consumers and buckets of a fleet: made once by whoever provisions, checked by everybody.

use std::{collections::BTreeSet, time::Duration};

use async_nats::jetstream::{
    self, ErrorCode,
    consumer::{AckPolicy, pull},
    context::{GetStreamError, GetStreamErrorKind, KeyValueError},
    kv,
    stream::{Config, DiscardPolicy, RetentionPolicy, StorageType},
};
use gatewright_schemas::{Lane, RunStatus, Zone};

use crate::{Fleet, quota};

/// How long a worker may be silent about a run before another gets it.
pub const ACK_WAIT: Duration = Duration::from_secs(30);

/// How long the mark of a forgotten key stays.
pub(crate) const MARKER_TTL: Duration = Duration::from_mins(1);

/// Runs that may be under way in one zone and lane.
const MAX_ACK_PENDING: i64 = 200_000;
/// Pull requests that may wait at one consumer: workers times one.
const MAX_WAITING: i64 = 8_192;

/// What stands in the way of a fleet.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The server does not answer, or does not let us.
    #[error("cannot {what}: {reason}")]
    Unavailable {
        /// What was tried.
        what: String,
        /// What the client says.
        reason: String,
        /// Whether waiting can help.
        transient: bool,
    },
    /// Something exists under our name with other settings.
    #[error("{}", told(.0))]
    Foreign(Vec<Difference>),
    /// Something is missing, and this program may not make it.
    #[error("{what} does not exist: start a dispatcher first, or run `gatewright provision`")]
    Missing {
        /// What.
        what: String,
    },
}

/// A setting that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What has the setting, for example ``stream `EVENTS` ``.
    pub of: String,
    /// The setting.
    pub setting: &'static str,
    /// What it is.
    pub found: String,
    /// What it must be.
    pub expected: String,
}

fn told(differences: &[Difference]) -> String {
    let each = differences.iter().map(|d| {
        format!(
            "{}: `{}` is {} and must be {}",
            d.of, d.setting, d.found, d.expected
        )
    });
    let each: Vec<String> = each.collect();
    format!(
        "what bears this fleet's names on the server was not made by Gatewright (use another `--prefix`, or mend it): {}",
        each.join("; ")
    )
}

impl LayoutError {
    /// Whether waiting can help.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unavailable {
                transient: true,
                ..
            }
        )
    }
}

impl Fleet {
    fn streams(&self, replicas: usize) -> [Config; 4] {
        let names = self.names();
        let [submissions, queue, events, dead] = names.subjects();
        let base = |name, subjects| Config {
            name,
            subjects,
            storage: StorageType::File,
            num_replicas: replicas,
            allow_direct: true,
            max_messages: -1,
            max_bytes: -1,
            max_consumers: -1,
            max_messages_per_subject: -1,
            max_message_size: -1,
            discard: DiscardPolicy::Old,
            ..Config::default()
        };
        [
            Config {
                retention: RetentionPolicy::WorkQueue,
                allow_message_schedules: true,
                duplicate_window: Duration::from_mins(2),
                description: Some(
                    "Gatewright: submissions, commands and timers, until a dispatcher took them"
                        .into(),
                ),
                ..base(names.submissions(), submissions)
            },
            Config {
                retention: RetentionPolicy::WorkQueue,
                duplicate_window: Duration::from_secs(30),
                allow_atomic_publish: true,
                description: Some(
                    "Gatewright: wake-ups of runs, until a worker moved them as far as they go"
                        .into(),
                ),
                ..base(names.queue(), queue)
            },
            Config {
                retention: RetentionPolicy::Limits,
                deny_delete: true,
                deny_purge: true,
                allow_atomic_publish: true,
                // The fence holds without it: a commit that is sent again is recognised in the stream itself.
                duplicate_window: Duration::from_secs(10),
                description: Some(
                    "Gatewright: every run's history. The only truth; append only".into(),
                ),
                ..base(names.events(), events)
            },
            Config {
                retention: RetentionPolicy::Limits,
                duplicate_window: Duration::from_mins(2),
                description: Some("Gatewright: messages that could not be worked on".into()),
                ..base(names.dead_letters(), dead)
            },
        ]
    }

    fn buckets(&self, replicas: usize) -> Vec<kv::Config> {
        let names = self.names();
        let base = |bucket| kv::Config {
            bucket,
            history: 1,
            num_replicas: replicas,
            storage: StorageType::File,
            ..kv::Config::default()
        };
        vec![
            base(names.authority_bucket()),
            base(names.workers_bucket()),
            base(names.keys_bucket()),
            // What is left of secrets that were forgotten goes away by itself.
            kv::Config {
                limit_markers: Some(MARKER_TTL),
                ..base(names.secrets_bucket())
            },
            // So do the windows of quotas that are over.
            kv::Config {
                max_age: quota::KEPT,
                ..base(names.quota_bucket())
            },
        ]
    }

    /// The dispatchers' consumers, each with its stream.
    fn dispatcher_consumer_configs(&self) -> [(String, pull::Config); 3] {
        let (names, prefix) = (self.names(), self.names().prefix());
        let (intake, events) = (names.submissions(), names.events());
        let config = Self::dispatcher_consumer_config;
        [
            (
                intake.clone(),
                config(names.submissions_consumer(), format!("{prefix}.submit.*")),
            ),
            (
                intake,
                config(names.commands_consumer(), format!("{prefix}.command.*.*")),
            ),
            (
                events,
                config(
                    names.approvals_consumer(),
                    format!("{prefix}.events.*.*.*.*.{}", RunStatus::WaitingApproval),
                ),
            ),
        ]
    }

    fn dispatcher_consumer_config(name: &str, filter_subject: String) -> pull::Config {
        pull::Config {
            durable_name: Some(name.into()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: 20_000,
            max_waiting: MAX_WAITING,
            max_deliver: -1,
            filter_subject,
            ..pull::Config::default()
        }
    }

    fn queue_consumer_config(&self, zone: Zone, lane: Lane) -> pull::Config {
        pull::Config {
            durable_name: Some(self.names().queue_consumer(zone, lane)),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: MAX_ACK_PENDING,
            max_waiting: MAX_WAITING,
            // Workers themselves put aside what keeps killing them: the run's history counts takeovers.
            max_deliver: -1,
            filter_subject: self.names().wake(zone, lane),
            ..pull::Config::default()
        }
    }

    /// Makes what is missing and checks what is there. `replicas` is 1 or, on a cluster, 3.
    pub async fn provision(&self, replicas: usize) -> Result<(), LayoutError> {
        let mut differences = Vec::new();
        for expected in self.streams(replicas) {
            let what = format!("make the stream `{}`", expected.name);
            let stream = self
                .jetstream
                .get_or_create_stream(expected.clone())
                .await
                .map_err(|error| unavailable(&what, &error))?;
            differences.extend(stream_differences(&expected, &stream.cached_info().config));
        }
        if !differences.is_empty() {
            return Err(LayoutError::Foreign(differences));
        }
        for (stream, config) in self.dispatcher_consumer_configs() {
            self.provision_consumer(&stream, config).await?;
        }
        for (zone, lane) in zones_and_lanes() {
            self.provision_consumer(
                &self.names().queue(),
                self.queue_consumer_config(zone, lane),
            )
            .await?;
        }
        for config in self.buckets(replicas) {
            differences.extend(self.provision_bucket(config).await?);
        }
        if !differences.is_empty() {
            return Err(LayoutError::Foreign(differences));
        }
        Ok(())
    }

    async fn provision_bucket(
        &self,
        config: kv::Config,
    ) -> Result<Option<Difference>, LayoutError> {
        let what = format!("make the bucket `{}`", config.bucket);
        if let Ok(stream) = self
            .jetstream
            .get_stream(format!("KV_{}", config.bucket))
            .await
        {
            return Ok(bucket_difference(&config, &stream.cached_info().config));
        }
        // A large future, and seldom needed.
        Box::pin(self.jetstream.create_key_value(config))
            .await
            .map_err(|error| unavailable(&what, &error))?;
        Ok(None)
    }

    async fn provision_consumer(
        &self,
        stream: &str,
        config: pull::Config,
    ) -> Result<(), LayoutError> {
        let name = config.durable_name.clone().unwrap_or_default();
        let what = format!("make the consumer `{name}` of the stream `{stream}`");
        let handle = self
            .jetstream
            .get_stream_no_info(stream)
            .await
            .map_err(|error| unavailable(&what, &error))?;
        let consumer = handle
            .get_or_create_consumer(&name, config.clone())
            .await
            .map_err(|error| unavailable(&what, &error))?;
        let differences = consumer_differences(stream, &config, &consumer.cached_info().config);
        if differences.is_empty() {
            Ok(())
        } else {
            Err(LayoutError::Foreign(differences))
        }
    }

    /// Every setting of streams, buckets and consumers that is not ours, without changing any.
    pub async fn check_layout(&self) -> Result<Vec<Difference>, LayoutError> {
        let mut differences = Vec::new();
        for expected in self.streams(0) {
            let what = format!("see the stream `{}`", expected.name);
            let stream = match self.jetstream.get_stream(&expected.name).await {
                Ok(stream) => stream,
                Err(error) if is_missing(&error.kind()) => {
                    return Err(LayoutError::Missing {
                        what: format!("the stream `{}`", expected.name),
                    });
                }
                Err(error) => return Err(unavailable(&what, &error)),
            };
            differences.extend(stream_differences(&expected, &stream.cached_info().config));
        }
        for config in self.buckets(0) {
            let bucket = &config.bucket;
            let what = format!("the bucket `{bucket}`");
            match self.jetstream.get_stream(format!("KV_{bucket}")).await {
                Ok(stream) => {
                    differences.extend(bucket_difference(&config, &stream.cached_info().config));
                }
                Err(error) if is_missing(&error.kind()) => {
                    return Err(LayoutError::Missing { what });
                }
                Err(error) => return Err(unavailable(&format!("see {what}"), &error)),
            }
        }
        let consumers = zones_and_lanes()
            .map(|(zone, lane)| (self.names().queue(), self.queue_consumer_config(zone, lane)))
            .chain(self.dispatcher_consumer_configs());
        for (stream, expected) in consumers {
            let name = expected.durable_name.clone().unwrap_or_default();
            let what = format!("the consumer `{name}` of the stream `{stream}`");
            let handle = self
                .jetstream
                .get_stream_no_info(&stream)
                .await
                .map_err(|error| unavailable(&what, &error))?;
            match handle.get_consumer::<pull::Config>(&name).await {
                Ok(consumer) => {
                    let found = &consumer.cached_info().config;
                    differences.extend(consumer_differences(&stream, &expected, found));
                }
                Err(_) => return Err(LayoutError::Missing { what }),
            }
        }
        Ok(differences)
    }
}

/// Every pair of zone and lane: each has a consumer of its own.
pub fn zones_and_lanes() -> impl Iterator<Item = (Zone, Lane)> {
    Zone::ALL
        .iter()
        .flat_map(|zone| Lane::ALL.iter().map(|lane| (*zone, *lane)))
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Errors of the server itself do not pass by waiting; everything else may.
pub(crate) fn unavailable(what: &str, error: &(impl std::error::Error + 'static)) -> LayoutError {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    let mut said_by_server = false;
    while let Some(cause) = source {
        said_by_server |= cause.downcast_ref::<jetstream::Error>().is_some();
        let text = cause.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        source = cause.source();
    }
    LayoutError::Unavailable {
        what: what.to_owned(),
        reason,
        transient: !said_by_server,
    }
}

/// [`unavailable`] for a bucket that cannot be opened; one that is missing is told apart.
pub(crate) fn unopened(bucket: &str, error: &KeyValueError) -> LayoutError {
    let source = std::error::Error::source(error);
    let source = source.and_then(|source| source.downcast_ref::<GetStreamError>());
    if source.is_some_and(|error| is_missing(&error.kind())) {
        return LayoutError::Missing {
            what: format!("the bucket `{bucket}`"),
        };
    }
    unavailable(&format!("open the bucket `{bucket}`"), error)
}

/// [`unavailable`] for the errors that the client library hands out boxed.
pub(crate) fn unavailable_boxed(what: &str, error: &async_nats::Error) -> LayoutError {
    let missing = error.to_string().contains("10014");
    if missing {
        return LayoutError::Missing {
            what: what.to_owned(),
        };
    }
    LayoutError::Unavailable {
        what: what.to_owned(),
        reason: error.to_string(),
        transient: true,
    }
}

fn difference(
    of: &str,
    setting: &'static str,
    found: &impl std::fmt::Debug,
    expected: &impl std::fmt::Debug,
) -> Option<Difference> {
    let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
    (found != expected).then(|| Difference {
        of: of.to_owned(),
        setting,
        found,
        expected,
    })
}

fn stream_differences(expected: &Config, found: &Config) -> Vec<Difference> {
    let of = format!("stream `{}`", expected.name);
    let subjects = |config: &Config| config.subjects.iter().cloned().collect::<BTreeSet<_>>();
    [
        difference(&of, "subjects", &subjects(found), &subjects(expected)),
        difference(&of, "retention", &found.retention, &expected.retention),
        difference(&of, "storage", &found.storage, &expected.storage),
        difference(
            &of,
            "allow_direct",
            &found.allow_direct,
            &expected.allow_direct,
        ),
        difference(
            &of,
            "deny_delete",
            &found.deny_delete,
            &expected.deny_delete,
        ),
        difference(&of, "deny_purge", &found.deny_purge, &expected.deny_purge),
        difference(
            &of,
            "allow_atomic",
            &found.allow_atomic_publish,
            &expected.allow_atomic_publish,
        ),
        difference(
            &of,
            "allow_msg_schedules",
            &found.allow_message_schedules,
            &expected.allow_message_schedules,
        ),
        difference(&of, "max_age", &found.max_age, &expected.max_age),
        difference(&of, "max_msgs", &found.max_messages, &expected.max_messages),
        difference(&of, "max_bytes", &found.max_bytes, &expected.max_bytes),
        difference(
            &of,
            "max_msgs_per_subject",
            &found.max_messages_per_subject,
            &expected.max_messages_per_subject,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Only the age at which entries go: a quota whose ledger goes too early would start anew within its window.
fn bucket_difference(expected: &kv::Config, found: &Config) -> Option<Difference> {
    let of = format!("bucket `{}`", expected.bucket);
    difference(&of, "max_age", &found.max_age, &expected.max_age)
}

fn consumer_differences(
    stream: &str,
    expected: &pull::Config,
    found: &jetstream::consumer::Config,
) -> Vec<Difference> {
    let name = expected.durable_name.clone().unwrap_or_default();
    let of = format!("consumer `{name}` of stream `{stream}`");
    let filters = |one: &str, many: &[String]| {
        many.iter()
            .cloned()
            .chain((!one.is_empty()).then(|| one.to_owned()))
            .collect::<BTreeSet<_>>()
    };
    [
        difference(
            &of,
            "filter",
            &filters(&found.filter_subject, &found.filter_subjects),
            &filters(&expected.filter_subject, &expected.filter_subjects),
        ),
        difference(&of, "ack_policy", &found.ack_policy, &expected.ack_policy),
        difference(&of, "ack_wait", &found.ack_wait, &expected.ack_wait),
        difference(
            &of,
            "max_deliver",
            &found.max_deliver,
            &expected.max_deliver,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
