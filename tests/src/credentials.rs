//! A credential for each role of a small fleet, made when it is first asked for.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use gatewright_bus::{
    Names,
    nkey::UserKey,
    permissions::{Account, Permissions, Role},
    server_config::{User, accounts},
};
use gatewright_schemas::{WriterId, Zone};
use rustix::process::{Pid, Signal, kill_process};

/// What a server's configuration takes in, from beside it.
const FILE: &str = "users.conf";
/// The administrator: tests look past the fleet with it. Whoever shows no credential is this one.
const OUTSIDER: &str = "{ user: outsider, password: outsider }";

/// How long a server may take to read its configuration; one that is suspended does not.
const RELOADS_WITHIN: Duration = Duration::from_secs(5);

/// The credentials of one server.
pub struct Credentials {
    dir: PathBuf,
    users: Mutex<BTreeMap<WriterId, User>>,
}

/// The role of a worker of every zone.
pub fn worker() -> Role {
    Role::Worker {
        zones: Zone::ALL.to_vec(),
        services: vec!["services.ask".into()],
    }
}

/// The seeds of these, each in a file `<name>.nk` in `dir`, and what a server's configuration has to have in it to let them in.
pub fn written(dir: &Path, roles: &[(&str, Role)]) -> String {
    let users = roles.iter().map(|(name, role)| new_user(dir, name, role));
    accounts(&Names::default(), &users.collect::<Vec<_>>())
}

fn new_user(dir: &Path, name: &str, role: &Role) -> User {
    let name = WriterId::new(name).unwrap();
    let key = UserKey::generate();
    fs::write(dir.join(format!("{name}.nk")), key.seed().unwrap()).unwrap();
    User {
        public_key: key.public(),
        permissions: permissions(&name, role),
        name,
    }
}

fn permissions(name: &WriterId, role: &Role) -> Permissions {
    Permissions::of(&Names::default(), name, role).tidied()
}

impl Credentials {
    /// For the server that has its data in `dir`, which is to start after this.
    pub fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        let this = Self {
            dir: dir.to_owned(),
            users: Mutex::default(),
        };
        this.write(&BTreeMap::new());
        this
    }

    /// What the server's configuration has to have in it.
    pub fn config() -> String {
        format!("include \"./{FILE}\"\n")
    }

    /// The file with the seed of `name`, which the server of this process is told of.
    pub fn of(&self, name: &str, role: &Role, server: u32) -> PathBuf {
        let writer = WriterId::new(name).unwrap();
        let path = self.dir.join(format!("{name}.nk"));
        let permissions = permissions(&writer, role);
        let mut users = self.users.lock().unwrap();
        if users
            .get(&writer)
            .is_some_and(|user| user.permissions == permissions)
        {
            return path;
        }
        let has_own_account = permissions.account != Account::Fleet;
        users.insert(writer, new_user(&self.dir, name, role));
        self.write(&users);
        self.reload(server);
        // What a new account takes in works only from the next reload on (nats-server 2.15).
        if has_own_account {
            self.reload(server);
        }
        path
    }

    /// Has the server read its configuration, and waits until it has.
    fn reload(&self, server: u32) {
        let pid = Pid::from_raw(i32::try_from(server).unwrap()).unwrap();
        let reloads = || {
            let log = fs::read_to_string(self.dir.join("nats.log")).unwrap_or_default();
            log.matches("Reloaded server configuration").count()
        };
        let before = reloads();
        // One that does not run reads it when it starts.
        if kill_process(pid, Signal::HUP).is_err() {
            return;
        }
        let asked = Instant::now();
        while reloads() == before && asked.elapsed() < RELOADS_WITHIN {
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn write(&self, users: &BTreeMap<WriterId, User>) {
        let users: Vec<User> = users.values().cloned().collect();
        let block = accounts(&Names::default(), &users).replacen(
            "users: [",
            &format!("users: [ {OUTSIDER}"),
            1,
        );
        let path = self.dir.join(FILE);
        let new = path.with_extension("new");
        fs::write(&new, format!("{block}no_auth_user: outsider\n")).unwrap();
        fs::rename(&new, &path).unwrap();
    }
}
