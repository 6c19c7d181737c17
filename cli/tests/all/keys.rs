//! The keys to the HTTP API, as an operator handles them.

use crate::support::Fleet;

#[test]
fn a_key_is_shown_once_listed_without_its_secret_and_revoked() {
    let fleet = Fleet::start();
    let create = |rest: &[&str]| fleet.run(&[&["key", "create"], rest].concat());
    let made = create(&["--role", "submitter", "--workspace", "acme", "--for", "job"]);
    let made = made.ends(0);
    let key = made.out.trim();
    let parts: Vec<&str> = key.split('_').collect();
    assert!(matches!(parts[..], ["gw", id, secret] if id.len() == 12 && secret.len() == 64));

    let list = fleet.run(&["key", "list", "--json"]);
    assert!(!list.out.contains(parts[2]), "{}", list.out);
    let found = &list.json()["items"][0];
    assert_eq!(
        (&found["id"], &found["name"]),
        (&parts[1].into(), &"job".into())
    );
    assert!(found["revoked_at"].is_null());
    fleet.run(&["key", "revoke", parts[1]]).ends(0);
    let list = fleet.run(&["key", "list", "--json"]);
    assert!(list.json()["items"][0]["revoked_at"].is_string());

    create(&["--role", "viewer", "--workspace", "*"]).ends(2);
    create(&["--role", "submitter,approver", "--workspace", "acme"]).ends(2);
    create(&["--role", "admin", "--workspace", "*"]).ends(0);
}
