//! The part of a nats-server's configuration that says who may do what, in the server's own syntax.

use std::fmt::Write as _;

use gatewright_schemas::WriterId;

use crate::permissions::Permissions;

/// How long whoever is asked has to answer.
const ANSWER_WITHIN: &str = "1m";

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

/// The block `authorization`: these users and nobody else.
pub fn authorization(users: &[User]) -> String {
    let mut text = String::from("authorization {\n  users: [\n");
    for user in users {
        let Permissions {
            publish,
            publish_not,
            subscribe,
            answers,
        } = &user.permissions;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    # {}", user.name);
        let _ = writeln!(
            text,
            "    {{ nkey: \"{}\", permissions: {{",
            user.public_key
        );
        let _ = writeln!(text, "      publish: {{");
        list(&mut text, "allow", publish);
        list(&mut text, "deny", publish_not);
        let _ = writeln!(text, "      }}\n      subscribe: {{");
        list(&mut text, "allow", subscribe);
        let _ = writeln!(text, "      }}");
        if *answers {
            let _ = writeln!(
                text,
                "      allow_responses: {{ max: 1, expires: \"{ANSWER_WITHIN}\" }}"
            );
        }
        let _ = writeln!(text, "    }} }}");
    }
    text.push_str("  ]\n}\n");
    text
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

    #[test]
    fn a_user_reads_as_the_server_wants_it() {
        let user = User {
            name: WriterId::new("w1").unwrap(),
            public_key: "UABC".into(),
            permissions: Permissions {
                publish: vec!["a.*".into()],
                publish_not: vec!["a.b".into()],
                subscribe: Vec::new(),
                answers: true,
            },
        };
        let text = authorization(&[user]);
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(
            words.join(" "),
            "authorization { users: [ # w1 { nkey: \"UABC\", permissions: { \
             publish: { allow: [ \"a.*\" ] deny: [ \"a.b\" ] } \
             subscribe: { deny: [\">\"] } \
             allow_responses: { max: 1, expires: \"1m\" } } } ] }"
        );
    }
}
