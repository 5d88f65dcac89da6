//! Every cloud, each against the best server that there is: the same contract, the same failures.

#![allow(clippy::unwrap_used, clippy::panic)]

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
