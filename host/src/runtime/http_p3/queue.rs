//! The queue (FIFO) of requests that wait for an instance, one for each thread.
//!
//! A queued request never starves: an available instance takes it, or a new one is started for it. Both sides ensure
//! that, each in this order:
//!
//! ```text
//! the request's task                     an instance that becomes unavailable
//! 1. pushes the request                  1. counts itself out
//! 2. none available? pops a request,     2. none available? pops a request,
//!    starts an instance for it              starts an instance for it
//! ```
//!
//! The queue's lock orders the two. Where the instance looked into the queue before the push, it had
//! counted itself out before that, and the request's task sees it. So the count itself needs no more
//! than `Relaxed`: both write it or read it on the same side of the same lock.

use crate::sync::lock;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Context;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The queue of one thread. Requests and instances stay in theirs.
pub struct ThreadQueue<T> {
    requests: Mutex<VecDeque<T>>,
    /// Notified once for each request that is pushed.
    pushed: Notify,
    /// Instances that would take a request now.
    available: AtomicUsize,
}

impl<T> Default for ThreadQueue<T> {
    fn default() -> Self {
        Self {
            requests: Mutex::default(),
            pushed: Notify::new(),
            available: AtomicUsize::new(0),
        }
    }
}

impl<T> ThreadQueue<T> {
    /// Queues `request` when an instance is available for it. Returns a request, this one or the first
    /// of the queue, that needs a new instance.
    #[must_use]
    pub fn push(&self, request: T) -> Option<T> {
        if self.available.load(Relaxed) == 0 {
            return Some(request);
        }
        lock(&self.requests).push_back(request);
        self.pushed.notify_one();
        // The last available instance may have counted itself out in between.
        self.pop_unattended()
    }

    /// Completes when a request was pushed; each push wakes one waiting instance.
    pub fn pushed(&self) -> Notified<'_> {
        self.pushed.notified()
    }

    /// The first request, if no instance is available to take it.
    fn pop_unattended(&self) -> Option<T> {
        if self.available.load(Relaxed) > 0 {
            return None;
        }
        lock(&self.requests).pop_front()
    }
}

/// An instance as its queue sees it: available or not. Unavailable once it is dropped.
pub struct Taker<'p, 'q, T, S: Fn(T)> {
    queue: &'q ThreadQueue<T>,
    pushed: Pin<&'p mut Notified<'q>>,
    /// Starts a new instance for a request.
    start: S,
    is_available: bool,
}

impl<'p, 'q, T, S: Fn(T)> Taker<'p, 'q, T, S> {
    /// A taker that is not available yet. `pushed` comes from [`ThreadQueue::pushed`] of this queue.
    pub fn new(queue: &'q ThreadQueue<T>, pushed: Pin<&'p mut Notified<'q>>, start: S) -> Self {
        Self {
            queue,
            pushed,
            start,
            is_available: false,
        }
    }

    pub fn is_available(&self) -> bool {
        self.is_available
    }

    pub fn set_available(&mut self, is_available: bool) {
        if is_available == self.is_available {
            return;
        }
        self.is_available = is_available;
        if is_available {
            self.queue.available.fetch_add(1, Relaxed);
            return;
        }
        self.queue.available.fetch_sub(1, Relaxed);
        // Or it would be first in line for the next notification, and keep it.
        self.pushed.set(self.queue.pushed());
        if let Some(request) = self.queue.pop_unattended() {
            (self.start)(request);
        }
        // Passes a notification that this one received on to another.
        self.queue.pushed.notify_one();
    }

    /// The next request. When there is none, the task is woken for the next one that is pushed.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Option<T> {
        loop {
            // Before the queue is read, so that a push in between wakes this one, too.
            self.pushed.as_mut().enable();
            if let Some(request) = lock(&self.queue.requests).pop_front() {
                return Some(request);
            }
            if self.pushed.as_mut().poll(context).is_pending() {
                return None;
            }
            self.pushed.set(self.queue.pushed());
        }
    }
}

impl<T, S: Fn(T)> Drop for Taker<'_, '_, T, S> {
    fn drop(&mut self) {
        self.set_available(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker_ref;
    use std::cell::RefCell;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::task::{Wake, Waker};

    /// Whether a task was woken.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }

    #[test]
    fn a_request_that_finds_no_available_instance_needs_a_new_one() {
        let queue = ThreadQueue::default();
        assert_eq!(queue.push(1), Some(1));
        let pushed = pin!(queue.pushed());
        let mut taker = Taker::new(&queue, pushed, |_| unreachable!("nothing is queued"));
        assert_eq!(queue.push(2), Some(2), "it is not available yet");
        taker.set_available(true);
        assert_eq!(queue.push(3), None);
        taker.poll_next(&mut Context::from_waker(noop_waker_ref()));
    }

    #[test]
    fn requests_are_taken_in_their_order() {
        let queue = ThreadQueue::default();
        let pushed = pin!(queue.pushed());
        let mut taker = Taker::new(&queue, pushed, |_| unreachable!("all are taken"));
        let mut context = Context::from_waker(noop_waker_ref());
        taker.set_available(true);
        assert!((1..=3).all(|request| queue.push(request).is_none()));
        let taken: Vec<i32> = std::iter::from_fn(|| taker.poll_next(&mut context)).collect();
        assert_eq!(taken, [1, 2, 3]);
    }

    #[test]
    fn the_last_instance_that_becomes_unavailable_starts_one_for_a_queued_request() {
        let queue = ThreadQueue::default();
        let started = RefCell::new(Vec::new());
        let start = |request| started.borrow_mut().push(request);
        let (first, second) = (pin!(queue.pushed()), pin!(queue.pushed()));
        let mut first = Taker::new(&queue, first, start);
        let mut second = Taker::new(&queue, second, start);
        first.set_available(true);
        second.set_available(true);
        assert_eq!(queue.push(1), None);
        first.set_available(false);
        assert!(started.borrow().is_empty(), "the second is available still");
        drop(second);
        assert_eq!(*started.borrow(), [1]);
        assert_eq!(queue.push(2), Some(2));
    }

    #[test]
    fn a_waiting_instance_is_woken_for_a_request() {
        let queue = ThreadQueue::default();
        let pushed = pin!(queue.pushed());
        let mut taker = Taker::new(&queue, pushed, |_: i32| unreachable!("it is available"));
        taker.set_available(true);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        assert_eq!(taker.poll_next(&mut context), None);
        assert_eq!(queue.push(1), None);
        assert!(woken.0.load(Relaxed));
        assert_eq!(taker.poll_next(&mut context), Some(1));
    }

    #[test]
    fn a_notification_for_an_instance_that_is_dropped_goes_to_another() {
        let queue = ThreadQueue::default();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let pushed = pin!(queue.pushed());
        let mut stays = Taker::new(&queue, pushed, |_: i32| unreachable!("one stays available"));
        {
            let pushed = pin!(queue.pushed());
            let mut leaves = Taker::new(&queue, pushed, |_: i32| unreachable!("one stays available"));
            leaves.set_available(true);
            leaves.poll_next(&mut Context::from_waker(noop_waker_ref()));
            stays.set_available(true);
            stays.poll_next(&mut Context::from_waker(&waker));
            assert_eq!(queue.push(1), None, "it is notified to the first that waits");
            assert!(!woken.0.load(Relaxed));
        }
        assert!(woken.0.load(Relaxed));
        assert_eq!(stays.poll_next(&mut Context::from_waker(&waker)), Some(1));
    }

    #[test]
    fn an_instance_that_is_unavailable_gets_no_notification() {
        let queue = ThreadQueue::default();
        let (first, second) = (pin!(queue.pushed()), pin!(queue.pushed()));
        let start = |_: i32| unreachable!("one stays available");
        let (mut draining, mut stays) = (Taker::new(&queue, first, start), Taker::new(&queue, second, start));
        stays.set_available(true);
        stays.poll_next(&mut Context::from_waker(noop_waker_ref()));
        draining.set_available(true);
        draining.poll_next(&mut Context::from_waker(noop_waker_ref()));
        draining.set_available(false);
        // Takes the notification that came of that, and waits behind the other.
        stays.poll_next(&mut Context::from_waker(noop_waker_ref()));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        stays.poll_next(&mut Context::from_waker(&waker));
        assert_eq!(queue.push(1), None);
        assert!(woken.0.load(Relaxed));
        assert_eq!(stays.poll_next(&mut Context::from_waker(&waker)), Some(1));
    }
}
