//! Work that changes a store, several pieces of it at once: when one fails no further one is begun, and those that are under way are waited
//! for, so that what was done is known.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use crate::error::{Error, Result};

/// Does these, so many at once, and takes what comes of each.
///
/// # Errors
/// The first failure, when nothing is under way any more.
pub(crate) async fn each<T, W: Future<Output = Result<T>>>(
    works: impl IntoIterator<Item = W>,
    at_once: usize,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let mut works = works.into_iter();
    let mut running = FuturesUnordered::new();
    let mut failure: Option<Error> = None;
    loop {
        while failure.is_none() && running.len() < at_once {
            let Some(work) = works.next() else { break };
            running.push(work);
        }
        match running.next().await.map(|done| done.and_then(&mut take)) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                failure.get_or_insert(error);
            }
            None => return failure.map_or(Ok(()), Err),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_under_way_at_a_failure_is_finished_and_nothing_else_is_begun() {
        let works = (0..100).map(|n| async move {
            tokio::time::sleep(std::time::Duration::from_millis(if n == 2 { 1 } else { 30 })).await;
            if n == 2 { Err(Error::Internal { why: "deliberate".to_owned() }) } else { Ok(n) }
        });
        let mut done = Vec::new();
        let ended = each(works, 4, |n| {
            done.push(n);
            Ok(())
        });
        assert!(matches!(ended.await, Err(Error::Internal { .. })));
        done.sort_unstable();
        assert_eq!(done, [0, 1, 3]);
    }
}
