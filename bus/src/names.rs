//! How a fleet's streams, subjects, consumers and buckets are spelt.

use gatewright_schemas::{
    Digest, Gate, InvalidId, Lane, RunId, RunStatus, WorkspaceId, WriterId, Zone,
};

/// The prefix of a fleet that was given no other.
pub const DEFAULT_PREFIX: &str = "fleet";

/// The word in place of a run's status for events that belong to no run.
const RECORDED: &str = "recorded";

/// The names of one fleet. Two fleets with different prefixes can share an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: WriterId,
}

/// What an event's subject says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSubject {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The run.
    pub run_id: RunId,
    /// The credential that wrote it.
    pub writer: WriterId,
    /// The gate's answer.
    pub gate: Gate,
    /// Where the run stands after it; absent for events that belong to no run.
    pub status: Option<RunStatus>,
}

impl Names {
    /// The names behind `prefix`, which must be one subject token.
    pub fn new(prefix: &str) -> Result<Self, InvalidId> {
        Ok(Self {
            prefix: WriterId::new(prefix)?,
        })
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        self.prefix.as_str()
    }

    /// The default fleet's streams bear plain names; any other's carry the prefix.
    fn qualified(&self, name: &str) -> String {
        match self.prefix() {
            DEFAULT_PREFIX => name.to_owned(),
            prefix => format!("{prefix}-{name}"),
        }
    }

    /// The stream of submissions, commands and timers.
    pub fn submissions(&self) -> String {
        self.qualified("SUBMISSIONS")
    }

    /// The stream of wake-ups.
    pub fn queue(&self) -> String {
        self.qualified("QUEUE")
    }

    /// The stream of events: the only truth.
    pub fn events(&self) -> String {
        self.qualified("EVENTS")
    }

    /// The stream of messages that could not be worked on.
    pub fn dead_letters(&self) -> String {
        self.qualified("DEAD_LETTERS")
    }

    /// The bucket of policy, capabilities and principals.
    pub fn authority_bucket(&self) -> String {
        self.qualified("authority")
    }

    /// The bucket of runs' secrets.
    pub fn secrets_bucket(&self) -> String {
        self.qualified("secrets")
    }

    /// The key of the secrets of a run with this content.
    pub fn secrets(&self, workspace: &WorkspaceId, run: &RunId, content: &Digest) -> String {
        format!("{workspace}.{run}.{content}")
    }

    /// The bucket of quotas' ledgers.
    pub fn quota_bucket(&self) -> String {
        self.qualified("quota")
    }

    /// The bucket of the keys to the HTTP API.
    pub fn keys_bucket(&self) -> String {
        self.qualified("keys")
    }

    /// The bucket of workers' heartbeats.
    pub fn workers_bucket(&self) -> String {
        self.qualified("workers")
    }

    /// The dispatchers' consumer of submissions.
    pub fn submissions_consumer(&self) -> &'static str {
        "submissions"
    }

    /// The dispatchers' consumer of commands: a revocation does not wait behind a hundred thousand submissions.
    pub fn commands_consumer(&self) -> &'static str {
        "commands"
    }

    /// The dispatchers' consumer of commits that parked a run until somebody decides.
    pub fn approvals_consumer(&self) -> &'static str {
        "approvals"
    }

    /// The workers' consumer of one zone and lane.
    pub fn queue_consumer(&self, zone: Zone, lane: Lane) -> String {
        format!("{zone}-{lane}")
    }

    /// Where submissions to `workspace` are published.
    pub fn submit(&self, workspace: &WorkspaceId) -> String {
        format!("{}.submit.{workspace}", self.prefix)
    }

    /// Where commands to a run are published.
    pub fn command(&self, workspace: &WorkspaceId, run: &RunId) -> String {
        format!("{}.command.{workspace}.{run}", self.prefix)
    }

    /// Where a timer of a run is kept until it is due; `kind` tells its timers apart.
    pub fn timer(&self, workspace: &WorkspaceId, run: &RunId, kind: &str) -> String {
        format!("{}.timer.{workspace}.{run}.{kind}", self.prefix)
    }

    /// Where a run is woken.
    pub fn wake(&self, zone: Zone, lane: Lane) -> String {
        format!("{}.queue.{zone}.{lane}", self.prefix)
    }

    /// Where dead letters of `workspace` are published.
    pub fn dead(&self, workspace: &WorkspaceId) -> String {
        format!("{}.dead.{workspace}", self.prefix)
    }

    /// Where a worker answers that it lives.
    pub fn ping(&self, worker: &WriterId) -> String {
        format!("{}.ping.{worker}", self.prefix)
    }

    /// Where a worker is asked by other workers whether it lives. Of workers that have accounts of their own,
    /// the server turns what is asked here into a [`ping`](Self::ping).
    pub fn peer(&self, worker: &WriterId) -> String {
        format!("{}.peer.{worker}", self.prefix)
    }

    /// Where workers learn that a run that they may hold is over.
    pub fn interrupt(&self, workspace: &WorkspaceId, run: &RunId) -> String {
        format!("{}.interrupt.{workspace}.{run}", self.prefix)
    }

    /// Every interrupt.
    pub fn interrupts(&self) -> String {
        format!("{}.interrupt.*.*", self.prefix)
    }

    /// A commit's subject.
    pub fn event(&self, subject: &EventSubject) -> String {
        let EventSubject {
            workspace_id,
            run_id,
            writer,
            gate,
            status,
        } = subject;
        let status = status.map_or(RECORDED, RunStatus::as_str);
        format!(
            "{}.events.{workspace_id}.{run_id}.{writer}.{gate}.{status}",
            self.prefix
        )
    }

    /// Every commit of a run. Also the filter of every fence, which is compared as text: nobody may spell it differently.
    pub fn history(&self, workspace: &WorkspaceId, run: &RunId) -> String {
        format!("{}.events.{workspace}.{run}.>", self.prefix)
    }

    /// Reads a commit's subject.
    pub fn read_event(&self, subject: &str) -> Option<EventSubject> {
        let mut tokens = subject
            .strip_prefix(self.prefix())?
            .strip_prefix(".events.")?
            .split('.');
        let read = EventSubject {
            workspace_id: tokens.next()?.parse().ok()?,
            run_id: tokens.next()?.parse().ok()?,
            writer: tokens.next()?.parse().ok()?,
            gate: tokens.next()?.parse().ok()?,
            status: match tokens.next()? {
                RECORDED => None,
                status => Some(status.parse().ok()?),
            },
        };
        tokens.next().is_none().then_some(read)
    }

    /// The subjects of each stream: submissions, queue, events, dead letters.
    pub(crate) fn subjects(&self) -> [Vec<String>; 4] {
        let p = &self.prefix;
        [
            vec![
                format!("{p}.submit.*"),
                format!("{p}.command.*.*"),
                format!("{p}.timer.*.*.*"),
            ],
            vec![format!("{p}.queue.*.*")],
            vec![format!("{p}.events.*.*.*.*.*")],
            vec![format!("{p}.dead.*")],
        ]
    }
}

impl Default for Names {
    fn default() -> Self {
        // The default prefix is a token: a test holds that.
        #[expect(clippy::expect_used, reason = "a constant that a test checks")]
        Self::new(DEFAULT_PREFIX).expect("the default prefix is a token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_subject_reads_back() {
        let subject = EventSubject {
            workspace_id: WorkspaceId::new("acme").unwrap(),
            run_id: RunId::new("r1").unwrap(),
            writer: WriterId::new("worker-1").unwrap(),
            gate: Gate::RequireApproval,
            status: Some(RunStatus::WaitingApproval),
        };
        let names = Names::default();
        let text = names.event(&subject);
        assert_eq!(
            text,
            "fleet.events.acme.r1.worker-1.require_approval.waiting_approval"
        );
        assert_eq!(names.read_event(&text), Some(subject));
    }

    #[test]
    fn foreign_subjects_do_not_read() {
        let names = Names::default();
        for text in [
            "fleet.events.a.b.c.none",
            "other.events.a.b.c.none.failed",
            "fleet.events.a.b.c.none.failed.x",
        ] {
            assert_eq!(names.read_event(text), None, "{text}");
        }
    }

    #[test]
    fn a_second_fleet_has_its_own_streams() {
        let names = Names::new("blue").unwrap();
        assert_eq!(names.events(), "blue-EVENTS");
        assert_eq!(Names::default().events(), "EVENTS");
        assert!(Names::new("a.b").is_err());
    }
}
