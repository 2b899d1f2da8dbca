//! Preparing what is needed next while the present is being used.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

/// Prepares `items` on a thread of its own, at most `depth` of them before they are asked for, in order.
///
/// The first error is the last thing it gives. A panic of `items` or `prepare` goes on in the thread that asks for the
/// item. Dropping the iterator waits for the item in hand and prepares no more. `depth` 0 counts as 1.
pub fn ahead<T, U, E>(
    depth: usize,
    items: impl Iterator<Item = T> + Send + 'static,
    prepare: impl Fn(T) -> Result<U, E> + Send + 'static,
) -> Ahead<U, E>
where
    U: Send + 'static,
    E: Send + 'static,
{
    // One more item is in hand, or waits to be sent.
    let (send, receive) = sync_channel(depth.saturating_sub(1));
    let work = move || {
        for item in items {
            let prepared = prepare(item);
            let last = prepared.is_err();
            if send.send(prepared).is_err() || last {
                return;
            }
        }
    };
    let thread = thread::Builder::new()
        .name("ahead".into())
        .spawn(work)
        .expect("a thread can be started");
    Ahead {
        receive: Some(receive),
        thread: Some(thread),
    }
}

/// Items prepared in the background: the iterator that [`ahead`] gives.
#[derive(Debug)]
pub struct Ahead<U, E> {
    receive: Option<Receiver<Result<U, E>>>,
    thread: Option<JoinHandle<()>>,
}

impl<U, E> Iterator for Ahead<U, E> {
    type Item = Result<U, E>;

    fn next(&mut self) -> Option<Self::Item> {
        let received = self.receive.as_ref()?.recv();
        if received.is_err() {
            self.receive = None;
            if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
                resume_unwind(panic);
            }
        }
        received.ok()
    }
}

impl<U, E> Drop for Ahead<U, E> {
    fn drop(&mut self) {
        // Without a receiver the thread stops at its next item.
        self.receive = None;
        if let Some(thread) = self.thread.take() {
            // Nobody waits for the item that made it panic.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn items_come_in_order_and_end() {
        let squares = ahead(3, 0..100_u32, |i| Ok::<_, ()>(i * i));
        let found: Vec<u32> = squares.map(Result::unwrap).collect();
        assert_eq!(found, (0..100).map(|i| i * i).collect::<Vec<_>>());
    }

    #[test]
    fn no_more_than_the_depth_is_prepared_before_it_is_asked_for() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let mut items = ahead(2, 0..100, move |i| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok::<_, ()>(i)
        });
        assert_eq!(items.next(), Some(Ok(0)));
        thread::sleep(Duration::from_millis(100));
        let made = made.load(Ordering::SeqCst);
        assert!((2..=3).contains(&made), "{made}");
    }

    #[test]
    fn the_first_error_is_the_last_item() {
        let odd = ahead(4, 0..10, |i| if i == 3 { Err(i) } else { Ok(i) });
        let found: Vec<_> = odd.collect();
        assert_eq!(found, [Ok(0), Ok(1), Ok(2), Err(3)]);
    }

    #[test]
    fn a_panic_reaches_who_asks_after_the_items_before_it() {
        let mut items = ahead(1, 0..10, |i| {
            assert_ne!(i, 1, "bad item");
            Ok::<_, ()>(i)
        });
        assert_eq!(items.next(), Some(Ok(0)));
        let panic = catch_unwind(AssertUnwindSafe(|| items.next())).unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().contains("bad item"));
        assert_eq!(items.next(), None);
    }

    #[test]
    fn dropping_it_stops_an_endless_preparation() {
        let alive = Arc::new(());
        let held = alive.clone();
        let mut items = ahead(4, 0.., move |i: u64| {
            let _ = &held;
            Ok::<_, ()>(i)
        });
        assert_eq!(items.next(), Some(Ok(0)));
        drop(items);
        assert_eq!(Arc::strong_count(&alive), 1, "the thread has ended");
    }
}
