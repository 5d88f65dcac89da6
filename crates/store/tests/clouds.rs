//! Every cloud, each against the best server that there is: the same contract, the same failures.

use backstay_testkit::{Azurite, GcsServer, Moto, S3Server, Served, contract};

#[tokio::test]
async fn an_s3_bucket_that_checks_signatures_and_checksums_keeps_the_contract() {
    let server = S3Server::with_bucket("contract");
    let served = Served::s3(&server, "contract");
    served.run().await;
    contract::a_name_with_a_backslash_round_trips(&served.open().await).await;
}

#[tokio::test]
async fn an_s3_bucket_of_moto_keeps_the_contract() {
    let served = Served::moto(Moto::shared(), "contract");
    served.run().await;
    contract::a_name_with_a_backslash_round_trips(&served.open().await).await;
}

/// In a bucket with versions nothing that was stored is gone, and still a name that is free again can be taken.
#[tokio::test]
async fn a_bucket_with_versions_keeps_the_contract_too() {
    let server = Moto::shared();
    let served = Served::moto(server, "versioned");
    let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    server.ask("PUT", "/versioned?versioning", enabled.as_bytes());
    let store = served.open().await;
    contract::creating_the_same_bytes_again_is_confirmed(&store).await;
    contract::creating_other_bytes_is_refused_and_changes_nothing(&store).await;
    contract::racing_creates_have_one_winner(&store).await;
    contract::deleting_removes_one_object(&store).await;
    // What the contract deleted and created again is there twice, with the mark of the deletion between.
    let versions = server.ask("GET", "/versioned?versions&prefix=deep/er/del-1", b"");
    assert_eq!(versions.matches("<Version>").count(), 3, "{versions}");
    assert_eq!(versions.matches("<DeleteMarker>").count(), 1, "{versions}");
    assert_eq!(versions.matches("<VersionId>null").count(), 0, "the bucket has versions: {versions}");
}

#[tokio::test]
async fn a_container_of_azure_keeps_the_contract() {
    Served::azurite(Azurite::shared(), "contract").run().await;
}

#[tokio::test]
async fn a_gcs_bucket_keeps_the_contract() {
    let server = GcsServer::with_bucket("contract");
    let served = Served::gcs(&server, "contract");
    served.run().await;
    contract::a_name_with_a_backslash_round_trips(&served.open().await).await;
}
