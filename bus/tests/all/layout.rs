use gatewright_bus::{ConnectError, Fleet, layout::LayoutError};

use crate::support::{bus, connection};

#[tokio::test(flavor = "multi_thread")]
async fn provisioning_again_changes_nothing() {
    let bus = bus().await;
    bus.fleet.provision(1).await.unwrap();
    assert_eq!(bus.fleet.check_layout().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_stream_is_refused_with_every_difference() {
    let bus = bus().await;
    let mut other = connection(&bus.server.url(), "writer-1");
    other.names = gatewright_bus::Names::new("blue").unwrap();
    let client = async_nats::connect(bus.server.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    jetstream
        .create_stream(async_nats::jetstream::stream::Config {
            name: "blue-EVENTS".into(),
            subjects: vec!["blue.events.>".into()],
            max_messages: 10,
            ..Default::default()
        })
        .await
        .unwrap();
    let refused = Fleet::connect(&other).await.unwrap().provision(1).await;
    let Err(LayoutError::Foreign(differences)) = refused else {
        panic!("{refused:?}")
    };
    let settings: Vec<_> = differences.iter().map(|d| d.setting).collect();
    for setting in [
        "subjects",
        "deny_delete",
        "deny_purge",
        "max_msgs",
        "allow_direct",
    ] {
        assert!(
            settings.contains(&setting),
            "{setting} is missing in {settings:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_named_without_its_password() {
    let away = connection("nats://me:secret@127.0.0.1:1", "writer-1");
    let error = Fleet::connect_once(&away).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }) && error.is_transient());
    assert!(!error.to_string().contains("secret"), "{error}");
}
