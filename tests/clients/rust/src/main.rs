//! The `zookeeper-client` crate against a server: nodes, one-shot and persistent watches, multi, locks.
//! Usage: `zookeeper-client-smoke host:port`; ends with status 0 when all is as expected.

use std::time::Duration;

use zookeeper_client as zk;

const OPEN: zk::Acls<'static> = zk::Acls::anyone_all();

async fn nodes(client: &zk::Client) -> Result<(), zk::Error> {
    let persistent = zk::CreateMode::Persistent.with_acls(OPEN);
    let (_, created) = client.check_and_watch_stat("/r").await?;
    let (stat, _) = client.create("/r", b"one", &persistent).await?;
    assert_eq!(created.changed().await.event_type, zk::EventType::NodeCreated);
    assert_eq!(client.get_data("/r").await?, (b"one".to_vec(), stat));
    let again = client.create("/r", b"", &persistent).await;
    assert_eq!(again.unwrap_err(), zk::Error::NodeExists);

    let (children, _, watcher) = client.get_and_watch_children("/r").await?;
    assert!(children.is_empty());
    let sequential = zk::CreateMode::EphemeralSequential.with_acls(OPEN);
    let (_, sequence) = client.create("/r/s-", b"", &sequential).await?;
    assert_eq!(sequence.to_string(), "0000000000");
    assert_eq!(watcher.changed().await.event_type, zk::EventType::NodeChildrenChanged);
    let stat = client.set_data("/r", b"two", Some(0)).await?;
    assert_eq!(stat.version, 1);
    let wrong = client.set_data("/r", b"three", Some(0)).await;
    assert_eq!(wrong.unwrap_err(), zk::Error::BadVersion);
    assert_eq!(client.delete("/r", None).await.unwrap_err(), zk::Error::NotEmpty);
    let container = zk::CreateMode::Container.with_acls(OPEN);
    client.create("/r/container", b"", &container).await?;
    Ok(())
}

async fn persistent_watch(client: &zk::Client) -> Result<(), zk::Error> {
    let mut watcher = client.watch("/r", zk::AddWatchMode::PersistentRecursive).await?;
    let persistent = zk::CreateMode::Persistent.with_acls(OPEN);
    client.create("/r/deep", b"", &persistent).await?;
    client.delete("/r/deep", None).await?;
    let (first, second) = (watcher.changed().await, watcher.changed().await);
    assert_eq!((first.event_type, &*first.path), (zk::EventType::NodeCreated, "/r/deep"));
    assert_eq!((second.event_type, &*second.path), (zk::EventType::NodeDeleted, "/r/deep"));
    drop(watcher);
    Ok(())
}

async fn multi(client: &zk::Client) -> Result<(), zk::Error> {
    let persistent = zk::CreateMode::Persistent.with_acls(OPEN);
    let mut writer = client.new_multi_writer();
    writer.add_create("/m", b"", &persistent)?;
    writer.add_check_version("/r", 77)?;
    assert!(writer.commit().await.is_err());
    assert_eq!(client.check_stat("/m").await?, None);
    let mut writer = client.new_multi_writer();
    writer.add_create("/m", b"data", &persistent)?;
    writer.add_check_version("/r", 1)?;
    assert_eq!(writer.commit().await.expect("a multi").len(), 2);
    let mut reader = client.new_multi_reader();
    reader.add_get_data("/m")?;
    reader.add_get_children("/r")?;
    assert_eq!(reader.commit().await?.len(), 2);
    Ok(())
}

async fn all(server: &str) -> Result<(), zk::Error> {
    let client = zk::Client::connect(server).await?;
    nodes(&client).await?;
    persistent_watch(&client).await?;
    multi(&client).await?;
    let locker = client.clone();
    let lock = locker.lock(
        zk::LockPrefix::new_curator("/locks", "lock")?,
        b"",
        zk::LockOptions::new(OPEN)
            .with_ancestor_options(zk::CreateMode::Persistent.with_acls(OPEN))?,
    );
    drop(lock.await?);
    client.auth("digest", b"u:p").await?;
    assert!(client.list_auth_users().await?.iter().any(|user| user.user() == "u"));
    Ok(())
}

#[tokio::main]
async fn main() {
    let server = std::env::args().nth(1).expect("host:port");
    match tokio::time::timeout(Duration::from_secs(40), all(&server)).await {
        Ok(Ok(())) => println!("zookeeper-client: as expected"),
        Ok(Err(error)) => panic!("zookeeper-client: {error}"),
        Err(_) => panic!("zookeeper-client: no end in time"),
    }
}
