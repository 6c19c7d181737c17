//! The part of a nats-server's configuration that says who may do what, in the server's own syntax.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use gatewright_schemas::WriterId;

use crate::{
    Names,
    permissions::{Account, Permissions},
};

/// The account that has the streams.
pub const FLEET: &str = "gatewright";

/// How long whoever is asked has to answer.
const ANSWER_WITHIN: &str = "1m";

/// How long the server remembers whom it owes answers. A page of a history is here within seconds.
const PAGE_WITHIN: &str = "30s";
/// A pull request waits for less.
const PULL_WITHIN: &str = "1m";
/// A service that is a tool may take ten minutes.
const SERVICE_WITHIN: &str = "11m";

/// A user of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name under which it writes. The server knows it by its key only.
    pub name: WriterId,
    /// Its public key.
    pub public_key: String,
    /// What it may do.
    pub permissions: Permissions,
}

/// What one account lets others have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// What is published in it.
    Stream,
    /// Answers to what they ask.
    Service,
}

/// What an account takes in: of which kind, from whom, under which subject.
type Import<'a> = (Kind, String, &'a str);

impl User {
    /// The account that it has for itself; none when it stands in the fleet's.
    fn own_account(&self) -> Option<String> {
        // A name has no dot in it: no user's account is another's, or the fleet's.
        let is_own = self.permissions.account != Account::Fleet;
        is_own.then(|| format!("{FLEET}.{}", self.name))
    }

    /// What its own account takes in from the fleet's.
    fn imports(&self) -> Vec<Import<'_>> {
        let Permissions {
            publish, account, ..
        } = &self.permissions;
        let Account::Own { heard, .. } = account else {
            return Vec::new();
        };
        let asked = publish.iter().map(|subject| (Kind::Service, subject));
        let heard = heard.iter().map(|subject| (Kind::Stream, subject));
        let all = asked.chain(heard);
        all.map(|(kind, subject)| (kind, FLEET.to_owned(), subject.as_str()))
            .collect()
    }

    /// On what the fleet's account may ask it.
    fn served(&self) -> &[String] {
        match &self.permissions.account {
            Account::Own { served, .. } => served,
            Account::Fleet => &[],
        }
    }
}

/// The block `accounts`: these users of the fleet of these names and nobody else. The fleet's account stands first.
pub fn accounts(names: &Names, users: &[User]) -> String {
    let mut exports: BTreeMap<(Kind, &str), BTreeSet<String>> = BTreeMap::new();
    let mut imports = Vec::new();
    for user in users {
        let Some(account) = user.own_account() else {
            continue;
        };
        for (kind, _, subject) in user.imports() {
            let takers = exports.entry((kind, subject)).or_default();
            takers.insert(account.clone());
        }
        let served = user.served().iter().map(String::as_str);
        imports.extend(served.map(|subject| (Kind::Service, account.clone(), subject)));
    }
    let mut text = String::from("accounts {\n");
    let in_fleets = users.iter().filter(|user| user.own_account().is_none());
    let exports = exports
        .iter()
        .map(|((kind, subject), takers)| export(*kind, subject, takers));
    // A worker that could ask `ping` would be asked by itself: accounts must not import in a circle.
    let prefix = names.prefix();
    let more = format!(
        "    jetstream: enabled\n    mappings: {{ \"{prefix}.peer.*\": \"{prefix}.ping.$1\" }}\n"
    );
    account(&mut text, FLEET, &more, in_fleets, exports, &imports);
    for user in users {
        if let Some(name) = user.own_account() {
            let asker = BTreeSet::from([FLEET.to_owned()]);
            let served = user.served().iter();
            let exports = served.map(|subject| export(Kind::Service, subject, &asker));
            account(&mut text, &name, "", [user], exports, &user.imports());
        }
    }
    text.push_str("}\n");
    text
}

fn account<'a>(
    text: &mut String,
    name: &str,
    more: &str,
    users: impl IntoIterator<Item = &'a User>,
    exports: impl Iterator<Item = String>,
    imports: &[Import<'_>],
) {
    // Writing to a string cannot fail.
    let _ = write!(text, "  \"{name}\": {{\n{more}    users: [\n");
    for user in users {
        put_user(text, user);
    }
    let imports = imports.iter().map(import);
    for (word, lines) in [
        ("exports", exports.collect::<Vec<_>>()),
        ("imports", imports.collect()),
    ] {
        let _ = writeln!(text, "    ]\n    {word}: [");
        for line in lines {
            let _ = writeln!(text, "      {line}");
        }
    }
    let _ = writeln!(text, "    ]\n  }}");
}

fn import((kind, from, subject): &Import<'_>) -> String {
    let word = kind.word();
    format!("{{ {word}: {{ account: \"{from}\", subject: \"{subject}\" }} }}")
}

/// Lets `takers` have it. None must be there that nobody takes: without takers it would be everybody's.
fn export(kind: Kind, subject: &str, takers: &BTreeSet<String>) -> String {
    let word = kind.word();
    let takers: Vec<&str> = takers.iter().map(String::as_str).collect();
    let takers = takers.join("\", \"");
    let mut line = format!("{{ {word}: \"{subject}\", accounts: [\"{takers}\"]");
    if kind == Kind::Service {
        let (response, within) = answers_of(subject);
        let _ = write!(
            line,
            ", response_type: {response}, response_threshold: \"{within}\""
        );
    }
    line.push_str(" }");
    line
}

/// How many answers there are to what is asked on `subject`, and until when they may come.
fn answers_of(subject: &str) -> (&'static str, &'static str) {
    let page = subject.strip_prefix("$JS.API.DIRECT.GET.");
    if page.is_some_and(|stream| !stream.contains('.')) {
        ("stream", PAGE_WITHIN)
    } else if subject.starts_with("$JS.API.CONSUMER.MSG.NEXT.") {
        ("stream", PULL_WITHIN)
    } else if subject.starts_with('$') {
        ("singleton", ANSWER_WITHIN)
    } else {
        ("singleton", SERVICE_WITHIN)
    }
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Service => "service",
        }
    }
}

fn put_user(text: &mut String, user: &User) {
    let Permissions {
        publish,
        publish_not,
        subscribe,
        answers,
        account: _,
    } = &user.permissions;
    let _ = writeln!(text, "    # {}", user.name);
    let _ = writeln!(
        text,
        "    {{ nkey: \"{}\", permissions: {{",
        user.public_key
    );
    let _ = writeln!(text, "      publish: {{");
    list(text, "allow", publish);
    list(text, "deny", publish_not);
    let _ = writeln!(text, "      }}\n      subscribe: {{");
    list(text, "allow", subscribe);
    let _ = writeln!(text, "      }}");
    if *answers {
        let _ = writeln!(
            text,
            "      allow_responses: {{ max: 1, expires: \"{ANSWER_WITHIN}\" }}"
        );
    }
    let _ = writeln!(text, "    }} }}");
}

/// A list of subjects. An empty list of what is denied denies nothing, and one of what is allowed would allow everything.
fn list(text: &mut String, word: &str, subjects: &[String]) {
    if subjects.is_empty() {
        if word == "allow" {
            let _ = writeln!(text, "        deny: [\">\"]");
        }
        return;
    }
    let _ = writeln!(text, "        {word}: [");
    for subject in subjects {
        let _ = writeln!(text, "          \"{subject}\"");
    }
    let _ = writeln!(text, "        ]");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, account: Account) -> User {
        User {
            name: WriterId::new(name).unwrap(),
            public_key: format!("U-{name}"),
            permissions: Permissions {
                publish: vec!["a.*".into(), "$JS.API.DIRECT.GET.S".into()],
                publish_not: vec!["a.b".into()],
                subscribe: Vec::new(),
                answers: true,
                account,
            },
        }
    }

    #[test]
    fn users_and_their_accounts_read_as_the_server_wants_them() {
        let own = Account::Own {
            heard: vec!["h.>".into()],
            served: vec!["ping.w1".into()],
        };
        let users = [user("w1", own), user("d", Account::Fleet)];
        let text = accounts(&Names::default(), &users);
        let words: Vec<&str> = text.split_whitespace().collect();
        let permissions = "permissions: { \
             publish: { allow: [ \"a.*\" \"$JS.API.DIRECT.GET.S\" ] deny: [ \"a.b\" ] } \
             subscribe: { deny: [\">\"] } \
             allow_responses: { max: 1, expires: \"1m\" } }";
        let takers = "accounts: [\"gatewright.w1\"]";
        assert_eq!(
            words.join(" "),
            format!(
                "accounts {{ \"gatewright\": {{ jetstream: enabled mappings: {{ \"fleet.peer.*\": \"fleet.ping.$1\" }} \
                 users: [ # d {{ nkey: \"U-d\", {permissions} }} ] exports: [ \
                 {{ stream: \"h.>\", {takers} }} \
                 {{ service: \"$JS.API.DIRECT.GET.S\", {takers}, response_type: stream, response_threshold: \"30s\" }} \
                 {{ service: \"a.*\", {takers}, response_type: singleton, response_threshold: \"11m\" }} ] imports: [ \
                 {{ service: {{ account: \"gatewright.w1\", subject: \"ping.w1\" }} }} ] }} \
                 \"gatewright.w1\": {{ \
                 users: [ # w1 {{ nkey: \"U-w1\", {permissions} }} ] exports: [ \
                 {{ service: \"ping.w1\", accounts: [\"gatewright\"], response_type: singleton, response_threshold: \"11m\" }} ] imports: [ \
                 {{ service: {{ account: \"gatewright\", subject: \"a.*\" }} }} \
                 {{ service: {{ account: \"gatewright\", subject: \"$JS.API.DIRECT.GET.S\" }} }} \
                 {{ stream: {{ account: \"gatewright\", subject: \"h.>\" }} }} ] }} }}"
            )
        );
    }
}
