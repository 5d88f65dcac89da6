//! Work in order, as much of it at once as it takes: little while its results are there when they are wanted, all that is allowed while they are
//! waited for.
//!
//! A store that is far away needs many requests under way. One that is near answers faster than anything is decoded, and there what has arrived and
//! lies about only pushes the rest out of the processor's caches.

use std::task::Poll;

use futures::stream::{self, BoxStream, FuturesOrdered, Stream, StreamExt as _};

/// Work that is under way even if all its results are there when they are wanted.
const FEW: usize = 4;

/// The results of `work` in its order. At most `most` pieces of it have been begun and not been taken; beyond a few, one is begun only when the
/// next result is wanted and is not there.
pub(crate) fn ahead<W>(work: impl Stream<Item = W> + Send + 'static, most: usize) -> BoxStream<'static, W::Output>
where
    W: Future + Send + 'static,
    W::Output: Send,
{
    let mut work = work.boxed().fuse();
    let mut begun = FuturesOrdered::new();
    let results = stream::poll_fn(move |cx| {
        for at_once in [FEW.min(most), most] {
            while begun.len() < at_once {
                let Poll::Ready(Some(next)) = work.poll_next_unpin(cx) else { break };
                begun.push_back(next);
            }
            match begun.poll_next_unpin(cx) {
                Poll::Ready(None) if work.is_done() => return Poll::Ready(None),
                // There is nothing to wait for yet.
                Poll::Ready(None) => return Poll::Pending,
                Poll::Ready(result) => return Poll::Ready(result),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    });
    results.boxed()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn more_than_a_few_are_under_way_only_while_they_are_waited_for() {
        let (begun, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let work = {
            let (begun, answers) = (Arc::clone(&begun), Arc::clone(&answers));
            stream::iter(0..100).map(move |n| {
                begun.fetch_add(1, Ordering::Relaxed);
                let answers = Arc::clone(&answers);
                async move {
                    answers.acquire().await.unwrap().forget();
                    n
                }
            })
        };
        let mut results = ahead(work, 10);
        assert!(futures::poll!(results.next()).is_pending());
        assert_eq!(begun.load(Ordering::Relaxed), 10, "nothing has come");
        answers.add_permits(100);
        for n in 0..50 {
            assert_eq!(results.next().await, Some(n));
        }
        assert_eq!(begun.load(Ordering::Relaxed), 50 + FEW - 1, "everything is there when it is wanted");
        assert_eq!(results.collect::<Vec<_>>().await, (50..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_comes_late_and_nothing_at_all_come_to_an_end() {
        let late = stream::once(tokio::task::yield_now()).map(|()| std::future::ready(7));
        assert_eq!(ahead(late, 2).collect::<Vec<_>>().await, [7]);
        assert!(ahead(stream::empty::<std::future::Ready<u8>>(), 2).next().await.is_none());
    }
}
