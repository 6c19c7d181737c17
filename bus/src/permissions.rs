//! What each role may publish and hear on the NATS server: nothing that it does not need.
//!
//! 1. A worker appends under its own name only, takes runs from its own zones' consumers only, and writes no authority,
//!    command, timer or submission. Whoever may write timers can have the server publish anywhere: dispatchers only.
//! 2. Nobody purges, deletes or changes a stream: that takes the server's administrator, who has no credential here.
//! 3. Everybody has an inbox of its own and hears no other's.
//! 4. A worker and a submitter each have an account of their own, into which the fleet's account lets exactly the subjects
//!    of their lists. For the server sends an answer wherever the request's reply subject says, whether or not whoever
//!    asked may publish there: but into its own account, where nothing is stored.
//!
//! Provisioners, dispatchers, projectors and operators share the fleet's account: of them the lists hold no more than they say.
//! `docs/adr/0017-credentials-per-role.md` has the reasons.

use gatewright_schemas::{Lane, RunId, WorkspaceId, WriterId, Zone};

use crate::{Names, bucket::stream_of, layout::zones_and_lanes};

/// Who a credential is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Anything. Only for servers of one's own: in a fleet that others rely on nobody has such a credential.
    Administrator,
    /// Makes streams, consumers and buckets, once.
    Provisioner,
    /// Takes in submissions and commands, keeps the authority, mends.
    Dispatcher,
    /// Reads every event, dead letter and heartbeat into the read tables.
    Projector,
    /// A person's command line.
    Operator,
    /// Moves the runs of these zones.
    Worker {
        /// The zones.
        zones: Vec<Zone>,
        /// The subjects of services that are tools of the user's own.
        services: Vec<String>,
    },
    /// Submits runs to one workspace.
    Submitter {
        /// The workspace.
        workspace: WorkspaceId,
    },
}

/// Where a credential stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Account {
    /// In the fleet's account, with its streams.
    #[default]
    Fleet,
    /// In one of its own. What it may publish goes over to the fleet's account, and answers come back.
    Own {
        /// What comes over of what is published in the fleet's account. It may hear all of this.
        heard: Vec<String>,
        /// On what the fleet's account may ask it.
        served: Vec<String>,
    },
}

/// Subjects, wildcards included. What is not in a list is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// What may be published.
    pub publish: Vec<String>,
    /// What of it may not.
    pub publish_not: Vec<String>,
    /// What may be heard.
    pub subscribe: Vec<String>,
    /// Whether whoever asks something that is heard may be answered, once.
    pub answers: bool,
    /// In which account.
    pub account: Account,
}

impl Permissions {
    /// What `role` needs under the name `writer` in the fleet of these names.
    pub fn of(names: &Names, writer: &WriterId, role: &Role) -> Self {
        let mut this = Self {
            subscribe: vec![format!("_INBOX.{writer}.>")],
            ..Self::default()
        };
        match role {
            Role::Administrator => {
                this.publish.push(">".into());
                this.subscribe = vec![">".into()];
            }
            Role::Provisioner => this.provisioner(names),
            Role::Dispatcher => this.dispatcher(names, writer),
            Role::Projector => {
                this.feed(names);
                this.get(&names.dead_letters());
                this.read(&names.workers_bucket());
            }
            Role::Operator => this.operator(names),
            Role::Worker { zones, services } => {
                this.worker(names, writer, zones);
                this.publish.extend(services.iter().cloned());
            }
            Role::Submitter { workspace } => {
                this.publish.push(names.submit(workspace));
                // Dispatchers answer into its inbox.
                this.account = Account::Own {
                    heard: this.subscribe.clone(),
                    served: Vec::new(),
                };
            }
        }
        this
    }

    fn provisioner(&mut self, names: &Names) {
        self.look_at_layout(names);
        self.publish.push("$JS.API.INFO".into());
        for stream in every_stream(names) {
            self.publish.push(format!("$JS.API.STREAM.CREATE.{stream}"));
        }
        for (stream, consumer) in every_consumer(names) {
            self.publish
                .push(format!("$JS.API.CONSUMER.CREATE.{stream}.{consumer}.>"));
        }
    }

    fn dispatcher(&mut self, names: &Names, writer: &WriterId) {
        let prefix = names.prefix();
        self.look_at_layout(names);
        self.append(names, writer);
        for subject in [
            "queue.*.*",
            "command.*.*",
            "timer.*.*.*",
            "dead.*",
            "interrupt.*.*",
            "ping.*",
        ] {
            self.publish.push(format!("{prefix}.{subject}"));
        }
        // Answers to whoever submitted or commanded.
        self.publish.push("_INBOX.>".into());
        let (intake, events) = (names.submissions(), names.events());
        self.take(&intake, names.submissions_consumer());
        self.take(&intake, names.commands_consumer());
        self.take(&events, names.approvals_consumer());
        self.get(&events);
        // From the stream's leader: a refusal rests on what is not there.
        self.publish
            .push(format!("$JS.API.STREAM.MSG.GET.{events}"));
        self.get(&names.queue());
        for bucket in [names.authority_bucket(), names.workers_bucket()] {
            self.read(&bucket);
            self.hear(&bucket);
            self.publish.push(format!("$KV.{bucket}.>"));
        }
        let secrets = names.secrets_bucket();
        self.read(&secrets);
        self.list(&secrets);
        self.publish.push(format!("$KV.{secrets}.>"));
        // What it serves over HTTP: submissions, live tails, dead letters, and who may ask.
        self.publish.push(format!("{prefix}.submit.*"));
        self.subscribe.push(format!("{prefix}.events.>"));
        self.get(&names.dead_letters());
        self.read(&names.keys_bucket());
    }

    /// Reads the stream of events from end to end.
    fn feed(&mut self, names: &Names) {
        let events = names.events();
        self.info(&events);
        self.get(&events);
        for subject in [
            "CONSUMER.CREATE.{}",
            "CONSUMER.CREATE.{}.>",
            // A reader that lost its place drops its consumer for a new one.
            "CONSUMER.DELETE.{}.*",
            "CONSUMER.INFO.{}.*",
            "CONSUMER.MSG.NEXT.{}.*",
        ] {
            self.publish
                .push(format!("$JS.API.{}", subject.replace("{}", &events)));
        }
        // The dispatchers' consumer of the same stream stays theirs.
        let theirs = names.approvals_consumer();
        self.publish_not.extend([
            format!("$JS.API.CONSUMER.CREATE.{events}.{theirs}"),
            format!("$JS.API.CONSUMER.CREATE.{events}.{theirs}.>"),
            format!("$JS.API.CONSUMER.DELETE.{events}.{theirs}"),
            format!("$JS.API.CONSUMER.MSG.NEXT.{events}.{theirs}"),
        ]);
    }

    fn operator(&mut self, names: &Names) {
        let prefix = names.prefix();
        self.look_at_layout(names);
        self.feed(names);
        for subject in ["submit.*", "command.*.*", "ping.*"] {
            self.publish.push(format!("{prefix}.{subject}"));
        }
        self.get(&names.queue());
        self.get(&names.dead_letters());
        for bucket in [
            names.authority_bucket(),
            names.workers_bucket(),
            names.quota_bucket(),
            names.keys_bucket(),
        ] {
            self.read(&bucket);
        }
        // The keys to the HTTP API are an operator's to make and revoke.
        self.list(&names.keys_bucket());
        self.publish.push(format!("$KV.{}.>", names.keys_bucket()));
        // Whoever follows a run listens to `<run>.>`, which no narrower pattern covers.
        self.subscribe.push(format!("{prefix}.events.>"));
    }

    fn worker(&mut self, names: &Names, writer: &WriterId, zones: &[Zone]) {
        let prefix = names.prefix();
        self.append(names, writer);
        // The chain of policy, principals and capabilities is the dispatchers'.
        let authority = RunId::authority();
        self.publish_not
            .push(format!("{prefix}.events.*.{authority}.>"));
        self.publish.push(format!("{prefix}.dead.*"));
        self.publish.push(format!("{prefix}.peer.*"));
        for zone in zones {
            for lane in Lane::ALL {
                self.settle(&names.queue(), &names.queue_consumer(*zone, *lane));
            }
        }
        self.get(&names.events());
        let authority = names.authority_bucket();
        self.read(&authority);
        for bucket in [names.secrets_bucket(), names.quota_bucket()] {
            self.read(&bucket);
            self.publish.push(format!("$KV.{bucket}.>"));
        }
        let workers = names.workers_bucket();
        self.publish.push(format!("$KV.{workers}.{writer}"));
        let heard = vec![names.interrupts(), format!("$KV.{authority}.>")];
        let served = vec![names.ping(writer)];
        self.subscribe.extend(heard.iter().chain(&served).cloned());
        // Where there are no accounts, this is how its peers reach it.
        self.subscribe.push(names.peer(writer));
        self.answers = true;
        self.account = Account::Own { heard, served };
    }

    /// Appends events under its own name.
    fn append(&mut self, names: &Names, writer: &WriterId) {
        self.publish
            .push(format!("{}.events.*.*.{writer}.*.*", names.prefix()));
    }

    /// Sees how streams, buckets and consumers are set up.
    fn look_at_layout(&mut self, names: &Names) {
        for stream in every_stream(names) {
            self.info(&stream);
        }
        for (stream, consumer) in every_consumer(names) {
            self.publish
                .push(format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}"));
        }
    }

    fn info(&mut self, stream: &str) {
        self.publish.push(format!("$JS.API.STREAM.INFO.{stream}"));
    }

    /// Reads single messages and pages.
    fn get(&mut self, stream: &str) {
        self.publish.push(format!("$JS.API.DIRECT.GET.{stream}"));
        self.publish.push(format!("$JS.API.DIRECT.GET.{stream}.>"));
    }

    /// Sees how a consumer that is there is set up, takes messages from it, and settles them.
    fn take(&mut self, stream: &str, consumer: &str) {
        self.publish
            .push(format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}"));
        self.settle(stream, consumer);
    }

    /// Takes messages from a consumer that is there, and settles them.
    fn settle(&mut self, stream: &str, consumer: &str) {
        for subject in [
            format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            format!("$JS.ACK.{stream}.{consumer}.>"),
            // With the domain and the account in it, as newer servers spell it.
            format!("$JS.ACK.*.*.{stream}.{consumer}.>"),
        ] {
            self.publish.push(subject);
        }
    }

    /// Reads entries of a bucket.
    fn read(&mut self, bucket: &str) {
        self.get(&stream_of(bucket));
    }

    /// Hears of changes of a bucket.
    fn hear(&mut self, bucket: &str) {
        self.subscribe.push(format!("$KV.{bucket}.>"));
    }

    /// Lists the keys of a bucket without reading its entries.
    fn list(&mut self, bucket: &str) {
        let stream = stream_of(bucket);
        self.info(&stream);
        for subject in [
            format!("$JS.API.CONSUMER.CREATE.{stream}"),
            format!("$JS.API.CONSUMER.CREATE.{stream}.>"),
            format!("$JS.API.CONSUMER.DELETE.{stream}.*"),
            format!("$JS.API.CONSUMER.INFO.{stream}.*"),
            format!("$JS.FC.{stream}.>"),
        ] {
            self.publish.push(subject);
        }
    }

    /// Each subject once, in order: the same permissions are always spelt the same.
    #[must_use]
    pub fn tidied(mut self) -> Self {
        for list in [
            &mut self.publish,
            &mut self.publish_not,
            &mut self.subscribe,
        ] {
            list.sort();
            list.dedup();
        }
        self
    }
}

/// Streams, those behind buckets included.
fn every_stream(names: &Names) -> Vec<String> {
    let buckets = [
        names.authority_bucket(),
        names.workers_bucket(),
        names.secrets_bucket(),
        names.quota_bucket(),
        names.keys_bucket(),
    ];
    let mut streams = vec![
        names.submissions(),
        names.queue(),
        names.events(),
        names.dead_letters(),
    ];
    streams.extend(buckets.iter().map(|bucket| stream_of(bucket)));
    streams
}

/// Consumers that last, each with its stream.
fn every_consumer(names: &Names) -> Vec<(String, String)> {
    let mut consumers = vec![
        (names.submissions(), names.submissions_consumer().to_owned()),
        (names.submissions(), names.commands_consumer().to_owned()),
        (names.events(), names.approvals_consumer().to_owned()),
    ];
    consumers.extend(
        zones_and_lanes().map(|(zone, lane)| (names.queue(), names.queue_consumer(zone, lane))),
    );
    consumers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, role: &Role) -> Permissions {
        Permissions::of(&Names::default(), &WriterId::new(name).unwrap(), role)
    }

    fn worker() -> Role {
        Role::Worker {
            zones: vec![Zone::Sandbox],
            services: vec!["services.ask".into()],
        }
    }

    fn every_role() -> Vec<Role> {
        let workspace = WorkspaceId::new("acme").unwrap();
        vec![
            Role::Provisioner,
            Role::Dispatcher,
            Role::Projector,
            Role::Operator,
            worker(),
            Role::Submitter { workspace },
        ]
    }

    /// As the server matches.
    fn matches(pattern: &str, subject: &str) -> bool {
        let mut subject = subject.split('.');
        for token in pattern.split('.') {
            match (token, subject.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (token, found) if found == Some(token) => {}
                _ => return false,
            }
        }
        subject.next().is_none()
    }

    fn may_publish(permissions: &Permissions, subject: &str) -> bool {
        let any = |list: &[String]| list.iter().any(|pattern| matches(pattern, subject));
        any(&permissions.publish) && !any(&permissions.publish_not)
    }

    #[test]
    fn a_worker_publishes_under_its_own_name_and_takes_from_its_own_zones_only() {
        let w1 = of("w1", &worker());
        for allowed in [
            "fleet.events.acme.r1.w1.allow.running",
            "$JS.API.CONSUMER.MSG.NEXT.QUEUE.sandbox-interactive",
            "$JS.ACK.QUEUE.sandbox-background.1.2.3.4.5",
            "$KV.workers.w1",
        ] {
            assert!(may_publish(&w1, allowed), "{allowed}");
        }
        for refused in [
            "fleet.events.acme.r1.w2.allow.running",
            "fleet.events._fleet._authority.w1.none.recorded",
            "$JS.API.CONSUMER.MSG.NEXT.QUEUE.high_stakes-interactive",
            "$JS.ACK.QUEUE.high_stakes-interactive.1.2.3.4.5",
            "$KV.workers.w2",
            "$KV.authority.policy",
            "fleet.command.acme.r1",
            "fleet.timer.acme.r1.lapse",
            "fleet.submit.acme",
            "fleet.queue.sandbox.interactive",
            "_INBOX.operator.x",
            "$JS.API.CONSUMER.CREATE.KV_authority",
            "$JS.API.STREAM.INFO.EVENTS",
        ] {
            assert!(!may_publish(&w1, refused), "{refused}");
        }
    }

    #[test]
    fn nobody_may_change_a_stream_or_its_past() {
        for role in every_role() {
            let permissions = of("w1", &role);
            for stream in every_stream(&Names::default()) {
                for verb in [
                    "STREAM.UPDATE",
                    "STREAM.DELETE",
                    "STREAM.PURGE",
                    "STREAM.MSG.DELETE",
                    "STREAM.SNAPSHOT",
                    "STREAM.RESTORE",
                ] {
                    let subject = format!("$JS.API.{verb}.{stream}");
                    assert!(!may_publish(&permissions, &subject), "{role:?} {subject}");
                }
            }
        }
    }

    #[test]
    fn only_dispatchers_set_timers_write_the_authority_and_wake() {
        for role in every_role() {
            let is_dispatcher = role == Role::Dispatcher;
            let permissions = of("w1", &role);
            for subject in [
                "fleet.timer.acme.r1.lapse",
                "$KV.authority.policy",
                "fleet.queue.sandbox.interactive",
                "fleet.interrupt.acme.r1",
            ] {
                let may = may_publish(&permissions, subject);
                assert_eq!(may, is_dispatcher, "{role:?} {subject}");
            }
        }
    }

    #[test]
    fn everybody_hears_its_own_inbox_and_only_operators_and_dispatchers_hear_events() {
        for role in every_role() {
            let heard = of("w1", &role).subscribe;
            assert!(heard.contains(&"_INBOX.w1.>".to_owned()), "{role:?}");
            let is_heard = |subject: &str| heard.iter().any(|pattern| matches(pattern, subject));
            assert!(!is_heard("_INBOX.operator.x"), "{role:?}");
            let may_follow = matches!(role, Role::Operator | Role::Dispatcher);
            assert_eq!(
                heard.contains(&"fleet.events.>".to_owned()),
                may_follow,
                "{role:?}"
            );
            let event = "fleet.events.acme.r1.w2.none.running";
            assert_eq!(is_heard(event), may_follow, "{role:?}");
        }
    }

    #[test]
    fn whoever_is_not_trusted_with_everything_has_an_account_of_its_own() {
        for role in every_role() {
            let permissions = of("w1", &role);
            let has_own = matches!(role, Role::Worker { .. } | Role::Submitter { .. });
            let Account::Own { heard, served } = &permissions.account else {
                assert!(!has_own, "{role:?}");
                continue;
            };
            assert!(has_own, "{role:?}");
            for subject in heard.iter().chain(served) {
                assert!(
                    permissions.subscribe.contains(subject),
                    "{role:?} {subject}"
                );
            }
        }
    }

    #[test]
    fn keys_are_made_by_operators_and_read_by_them_and_dispatchers_only() {
        for role in every_role() {
            let permissions = of("w1", &role);
            let is_operator = role == Role::Operator;
            let key = "$KV.keys.0123456789ab";
            assert_eq!(may_publish(&permissions, key), is_operator, "{role:?}");
            let read = "$JS.API.DIRECT.GET.KV_keys.$KV.keys.0123456789ab";
            let may_read = is_operator || role == Role::Dispatcher;
            assert_eq!(may_publish(&permissions, read), may_read, "{role:?}");
        }
    }

    #[test]
    fn tidied_permissions_name_each_subject_once() {
        let tidy = of("d", &Role::Dispatcher).tidied();
        assert!(tidy.publish.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
