//! A backup whose stream is one object that grows on Azure ends at any of its requests, before the server heard of it or after it did what it
//! was asked: the object is there whole or not at all, no archive is recorded that is not whole, and the next run works.

use std::sync::Arc;

use crate::common::back_up;
use crate::crash::{Kept, nothing_is_wrongly_committed, password, single, text};
use backstay_store::{Environment, RetryOptions, Store, StoreOptions};
use backstay_testkit::Azurite;
use backstay_testkit::faults::When;
use backstay_testkit::proxy::{Fate, Proxy};
use tokio::sync::Notify;

async fn open(path: &str, endpoint: &str) -> Store {
    let mut options = StoreOptions::default();
    options.endpoint_url = Some(endpoint.to_owned());
    options.retry = RetryOptions::never();
    let env = Environment::from_pairs(Azurite::shared().variables());
    Store::open(&format!("az://crash/{path}"), &options, &env).await.unwrap()
}

/// Lets the process end at the request with this number. It is told so when nothing more can happen: at once if the server is not to hear of the
/// request; else the answer is lost, and whatever the process would do next is where it ends.
fn mortal(number: usize, when: When, ended: &Arc<Notify>) -> Proxy {
    let (mut requests, ended) = (0, Arc::clone(ended));
    Proxy::start(Azurite::shared().address(), move |_| {
        requests += 1;
        if requests < number {
            return Fate::Pass;
        }
        if requests == number && when == When::After {
            return Fate::DropAnswer;
        }
        ended.notify_one();
        Fate::StallRequest(0)
    })
}

#[tokio::test]
async fn a_stream_to_azure_that_dies_at_any_request_is_whole_or_not_there_and_the_next_one_works() {
    let azure = Azurite::shared();
    azure.create_container("crash");
    for number in 1.. {
        let mut got_through = false;
        for when in [When::Before, When::After] {
            let path = format!("{number}-{when:?}");
            let store = open(&path, &azure.endpoint).await;
            let id = back_up(&store, &text(0), single()).await.unwrap().id;
            let kept = Kept { id, content: text(0), keyring: password };
            let ended = Arc::new(Notify::new());
            let proxy = mortal(number, when, &ended);
            let behind = open(&path, &proxy.endpoint).await;
            let content = text(1);
            got_through = tokio::select! {
                made = back_up(&behind, &content, single()) => made.is_ok(),
                () = ended.notified() => false,
            };
            kept.is_whole(&store).await;
            let archives = nothing_is_wrongly_committed(&store, password, &[text(0), text(1)]).await;
            assert!((1..=2).contains(&archives) && (archives == 2 || !got_through));
            back_up(&store, &text(2), single()).await.unwrap();
            let after = nothing_is_wrongly_committed(&store, password, &[text(0), text(1), text(2)]).await;
            assert_eq!(after, archives + 1);
        }
        if got_through {
            // Three blocks, their list, the manifest, and a listing.
            assert!(number > 6, "{number}");
            return;
        }
        assert!(number < 100, "it does not end");
    }
}
