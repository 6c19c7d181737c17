//! Who has a credential: kept in a file, so that the next call adds to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use anyhow::{Context as _, Result};
use gatewright_bus::permissions::Role;
use gatewright_schemas::{WorkspaceId, WriterId, Zone};
use serde::{Deserialize, Serialize};

use super::write_whole;
use crate::exit::Failure;

const FILE: &str = "users.toml";
const HEAD: &str =
    "# Who has a credential besides the fleet's own roles. Kept by `gatewright nats-config`.\n";

/// The fleet's own roles, each with the name that its command goes by.
const OWN: [(&str, Role); 4] = [
    ("provisioner", Role::Provisioner),
    ("dispatcher", Role::Dispatcher),
    ("projector", Role::Projector),
    ("operator", Role::Operator),
];

/// The workers, each with its zones, and the workspaces of those who submit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roster {
    /// Whether somebody may do anything: on a private server only, so no file can say so.
    #[serde(skip)]
    administrator: bool,
    #[serde(default)]
    workers: BTreeMap<WriterId, BTreeSet<Zone>>,
    #[serde(default)]
    submitters: BTreeSet<WorkspaceId>,
    /// The subjects of services that every worker may ask.
    #[serde(default)]
    services: BTreeSet<String>,
}

impl Roster {
    /// Nobody but the fleet's own roles and somebody who may do anything.
    pub fn with_administrator() -> Self {
        Self {
            administrator: true,
            ..Self::default()
        }
    }

    /// The one in `dir`; an empty one when there is none yet.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => {
                toml::from_str(&text).with_context(|| format!("cannot read `{}`", path.display()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
        }
    }

    /// Writes it to `dir`.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_whole(
            &dir.join(FILE),
            &format!("{HEAD}{}", toml::to_string(self)?),
        )
    }

    /// Adds a worker, or gives it other zones.
    pub fn put_worker(&mut self, name: WriterId, zones: impl IntoIterator<Item = Zone>) {
        self.workers.insert(name, zones.into_iter().collect());
    }

    /// Adds somebody who submits to `workspace`.
    pub fn put_submitter(&mut self, workspace: WorkspaceId) {
        self.submitters.insert(workspace);
    }

    /// Lets every worker ask the service on `subject`, which is checked.
    pub fn put_service(&mut self, subject: String) {
        self.services.insert(subject);
    }

    /// Strikes a user off by its name; answers whether it was there.
    pub fn remove(&mut self, name: &WriterId) -> bool {
        let before = self.submitters.len();
        self.submitters
            .retain(|workspace| submitter_name(workspace) != name.as_str());
        self.workers.remove(name).is_some() || self.submitters.len() < before
    }

    /// Every user and its role. Two of one name are told: the name is what an event says of its writer.
    pub fn users(&self) -> Result<BTreeMap<WriterId, Role>> {
        let own = OWN
            .iter()
            .map(|(name, role)| ((*name).to_owned(), role.clone()));
        let workers = self.workers.iter().map(|(name, zones)| {
            let zones = zones.iter().copied().collect();
            let services = self.services.iter().cloned().collect();
            (name.to_string(), Role::Worker { zones, services })
        });
        let submitters = self.submitters.iter().map(|workspace| {
            let workspace = workspace.clone();
            (submitter_name(&workspace), Role::Submitter { workspace })
        });
        let administrator = self
            .administrator
            .then(|| ("administrator".to_owned(), Role::Administrator));
        let mut users = BTreeMap::new();
        for (name, role) in own.chain(workers).chain(submitters).chain(administrator) {
            let writer = WriterId::new(&name).map_err(|error| {
                Failure::usage(format!("no credential can be named `{name}`: {error}"))
            })?;
            if users.insert(writer, role).is_some() {
                return Err(Failure::usage(format!(
                    "two users would be named `{name}`: give the worker another name"
                )));
            }
        }
        Ok(users)
    }
}

fn submitter_name(workspace: &WorkspaceId) -> String {
    format!("submitter-{workspace}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_takes_a_roles_name_is_refused() {
        let mut roster = Roster::default();
        roster.put_worker(WriterId::new("dispatcher").unwrap(), [Zone::Sandbox]);
        assert!(roster.users().is_err());
    }

    #[test]
    fn who_is_struck_off_is_no_user_any_more() {
        let mut roster = Roster::default();
        roster.put_worker(WriterId::new("w1").unwrap(), [Zone::Sandbox]);
        roster.put_submitter(WorkspaceId::new("acme").unwrap());
        assert_eq!(roster.users().unwrap().len(), OWN.len() + 2);
        assert!(roster.remove(&WriterId::new("w1").unwrap()));
        assert!(roster.remove(&WriterId::new("submitter-acme").unwrap()));
        assert!(!roster.remove(&WriterId::new("operator").unwrap()));
        assert_eq!(roster.users().unwrap().len(), OWN.len());
    }
}
