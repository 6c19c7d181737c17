//! The sandbox on Linux: bubblewrap, and what it is started with.
//!
//! - `machine` looks at what there is.
//! - `site` is where runs have their directories.
//! - `bwrap` spells the sandbox as bubblewrap's arguments; `filter` is its filter of system calls.
//! - `profile` opens what the policy gives beside it.
//! - `process` starts one, listens to it, and ends it with everything in it.
//! - `usage` watches what it holds; `processes` finds those of a sandbox.
//! - `orphans` ends what a worker left that was killed.

mod bwrap;
mod filter;
mod machine;
mod orphans;
mod process;
mod processes;
mod profile;
mod site;
mod usage;

use std::{path::PathBuf, sync::Arc};

use gatewright_schemas::{RunId, WorkspaceId};
use tokio_util::sync::CancellationToken;

use self::{machine::Machine, process::Process, site::Site};
use super::{Ended, Limits, Order, Settings, Unavailable};

/// What every sandbox of this worker is made with.
#[derive(Debug, Clone)]
pub(super) struct Jail {
    machine: Arc<Machine>,
    site: Arc<Site>,
    /// What no profile may open up.
    own: Arc<[PathBuf]>,
}

impl Jail {
    /// Looks at the machine, makes the place for the runs' directories, and makes one sandbox to see that it can be done.
    pub(super) async fn build(settings: &Settings) -> Result<Self, Unavailable> {
        let machine = Machine::look()?;
        let program = filter::program().map_err(|reason| {
            let remedy = "run the workers that execute commands on x86-64 or aarch64";
            Unavailable::new(format!("no filter of system calls: {reason}"), remedy)
        })?;
        let site = Site::open(settings.dir.as_deref(), &machine, &program)?;
        let jail = Self {
            machine: Arc::new(machine),
            own: settings
                .own
                .iter()
                .cloned()
                .chain([site.dir().to_owned()])
                .collect(),
            site: Arc::new(site),
        };
        jail.try_out().await?;
        Ok(jail)
    }

    async fn try_out(&self) -> Result<(), Unavailable> {
        let own =
            |reason: String| Unavailable::new(reason, "this is a fault of Gatewright; report it");
        let (workspace, run) = (WorkspaceId::fleet(), RunId::authority());
        let order = Order {
            workspace: workspace.clone(),
            run: run.clone(),
            argv: vec!["touch".into(), "/work/written".into()],
            stdin: Vec::new(),
            env: Vec::new(),
            programs: Vec::new(),
            profile: None,
            limits: Limits::default(),
        };
        let ended = self.run(order).await?;
        self.forget(&workspace, &run).await;
        match (ended.exit_code, ended.cut) {
            (Some(0), None) => Ok(()),
            (_, Some(cut)) => Err(own(format!("the trial was cut off: {cut}"))),
            (code, None) => Err(own(format!(
                "the trial ended with {}: {}",
                code.unwrap_or_default(),
                ended.stderr.tail(300)
            ))),
        }
    }

    /// Runs a command in its run's directory, one at a time.
    pub(super) async fn run(&self, order: Order) -> Result<Ended, Unavailable> {
        let directory = self.site.directory(&order.workspace, &order.run).await;
        let stop = CancellationToken::new();
        // Dropped with this future: the command is then ended by the task, which sees it through.
        let _stops = stop.clone().drop_guard();
        let jail = self.clone();
        let work = async move {
            let mut directory = directory.lock_owned().await;
            let new_directory = directory.ensure()?;
            let process = Process::start(&jail, directory.path(), &order)?;
            let ended = process.see_through(&order.limits, &stop).await?;
            if ended
                .cut
                .as_ref()
                .is_some_and(super::Cut::empties_directory)
            {
                directory.remove();
            }
            Ok(Ended {
                new_directory,
                ..ended
            })
        };
        // On a thread that lives as long as the program: bubblewrap dies with the thread that started it.
        tokio::spawn(work).await.unwrap_or_else(|error| {
            Err(Unavailable::new(
                format!("the watch over a command failed: {error}"),
                "see the worker's log",
            ))
        })
    }

    /// Removes a run's directory, once nothing runs in it.
    pub(super) async fn forget(&self, workspace: &WorkspaceId, run: &RunId) {
        self.site.forget(workspace, run).await;
    }
}
