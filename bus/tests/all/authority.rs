use std::time::Duration;

use gatewright_bus::{authority::LiveSnapshot, clock};
use gatewright_schemas::{CapabilityToken, CapabilityTokenId, PrincipalId, Scopes};

use crate::support::{acme, bus};

fn token(revoked: bool) -> CapabilityToken {
    CapabilityToken {
        token_id: CapabilityTokenId::new("cap1").unwrap(),
        workspace_id: acme(),
        issued_to_principal_id: PrincipalId::new("p1").unwrap(),
        granted_by_principal_id: PrincipalId::new("p0").unwrap(),
        parent_token_id: None,
        scopes: Scopes::default(),
        valid_until: None,
        granted_at: clock::now(),
        revoked_at: revoked.then(clock::now),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_reaches_a_watching_gate_and_a_slow_grant_does_not_undo_it() {
    let bus = bus().await;
    let live = LiveSnapshot::watch(&bus.fleet);
    assert!(
        !live
            .fresh(Duration::from_secs(10), Duration::from_millis(100))
            .await,
        "nothing ticked yet"
    );
    bus.fleet.put_capability(1, &token(false)).await.unwrap();
    bus.fleet.tick().await.unwrap();
    assert!(
        live.fresh(Duration::from_secs(10), Duration::from_secs(5))
            .await
    );
    let revoked = |live: &LiveSnapshot| {
        live.read(|s| {
            s.token(&acme(), &CapabilityTokenId::new("cap1").unwrap())
                .unwrap()
                .revoked_at
                .is_some()
        })
    };
    assert!(!revoked(&live));

    bus.fleet.put_capability(2, &token(true)).await.unwrap();
    // The dispatcher that granted it was slow, or does its work again.
    bus.fleet.put_capability(1, &token(false)).await.unwrap();
    let sent = std::time::Instant::now();
    while !revoked(&live) {
        assert!(
            sent.elapsed() < Duration::from_secs(5),
            "the revocation did not arrive"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(revoked(&live));
    assert!(
        bus.fleet
            .authority_now()
            .await
            .unwrap()
            .token(&acme(), &CapabilityTokenId::new("cap1").unwrap())
            .is_some()
    );
}
