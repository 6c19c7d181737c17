use gatewright_policy::redact::{Marks, Parts, Vault, take_out};
use gatewright_schemas::{Digest, RunId, WorkspaceId};
use serde_json::json;

use crate::support::{acme, bus, run};

fn vault(secret: &str) -> Vault {
    let mut input = json!({ "password": secret });
    let parts = Parts {
        inputs: vec![&mut input],
        ..Parts::default()
    };
    take_out(parts, &Marks::default()).unwrap()
}

fn content(text: &str) -> Digest {
    Digest::of_bytes(text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_kept_once_and_forgotten() {
    let bus = bus().await;
    let (fleet, digest) = (&bus.fleet, content("one"));
    assert_eq!(
        fleet.secrets(&acme(), &run("r1"), &digest).await.unwrap(),
        None
    );

    let (first, second) = (vault("hush-one"), vault("hush-two"));
    fleet
        .keep_secrets(&acme(), &run("r1"), &digest, &first)
        .await
        .unwrap();
    // Whoever submits the run again changes nothing.
    fleet
        .keep_secrets(&acme(), &run("r1"), &digest, &second)
        .await
        .unwrap();
    let kept = fleet.secrets(&acme(), &run("r1"), &digest).await.unwrap();
    assert_eq!(kept, Some(first));

    fleet.forget_secrets(&acme(), &run("r1"), &digest).await;
    assert_eq!(
        fleet.secrets(&acme(), &run("r1"), &digest).await.unwrap(),
        None
    );
    assert_eq!(fleet.kept_secrets().await.unwrap(), []);
    // Forgetting what is forgotten does no harm, and the key can be used again.
    fleet.forget_secrets(&acme(), &run("r1"), &digest).await;
    fleet
        .keep_secrets(&acme(), &run("r1"), &digest, &second)
        .await
        .unwrap();
    let kept = fleet.secrets(&acme(), &run("r1"), &digest).await.unwrap();
    assert_eq!(kept, Some(second));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_content_under_the_same_run_id_has_its_own_secrets() {
    let bus = bus().await;
    let (one, two) = (vault("hush-one"), vault("hush-two"));
    for (text, secrets) in [("one", &one), ("two", &two)] {
        bus.fleet
            .keep_secrets(&acme(), &run("r1"), &content(text), secrets)
            .await
            .unwrap();
    }
    for (text, secrets) in [("one", one), ("two", two)] {
        let kept = bus.fleet.secrets(&acme(), &run("r1"), &content(text)).await;
        assert_eq!(kept.unwrap(), Some(secrets));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_listed_by_run() {
    let bus = bus().await;
    let other = WorkspaceId::new("other").unwrap();
    for (workspace, id) in [(acme(), "r1"), (other, "_r-2")] {
        let run = RunId::new(id).unwrap();
        let digest = content(id);
        bus.fleet
            .keep_secrets(&workspace, &run, &digest, &vault("hush-hush"))
            .await
            .unwrap();
    }
    let mut kept = bus.fleet.kept_secrets().await.unwrap();
    kept.sort_by_key(|kept| kept.workspace_id.clone());
    let told: Vec<String> = kept
        .iter()
        .map(|kept| format!("{}/{}", kept.workspace_id, kept.run_id))
        .collect();
    assert_eq!(told, ["acme/r1", "other/_r-2"]);
    bus.fleet.forget_kept(&kept[0]).await;
    assert_eq!(bus.fleet.kept_secrets().await.unwrap(), kept[1..]);
}
