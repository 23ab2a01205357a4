//! Tickets resolve when, and only when, what they cover is durable or the log stopped.

use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(ticket: &mut Ticket, count: &Arc<Count>) -> Poll<Result<(), StoreError>> {
    let waker = Waker::from(count.clone());
    Pin::new(ticket).poll(&mut Context::from_waker(&waker))
}

#[test]
fn a_future_is_woken_once_its_sequence_is_durable_and_not_before() {
    let progress = Arc::new(Progress::default());
    let count = Arc::new(Count::default());
    let mut ticket = progress.ticket(5);
    assert!(poll(&mut ticket, &count).is_pending());
    assert!(poll(&mut ticket, &count).is_pending());
    progress.publish(4);
    assert_eq!(count.0.load(Ordering::SeqCst), 0);
    assert!(!ticket.is_done());
    progress.publish(5);
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert!(matches!(poll(&mut ticket, &count), Poll::Ready(Ok(()))));
    assert!(ticket.wait().is_ok());
}

#[test]
fn dropped_futures_leave_no_waker_behind() {
    let progress = Arc::new(Progress::default());
    let count = Arc::new(Count::default());
    let mut ticket = progress.ticket(5);
    assert!(poll(&mut ticket, &count).is_pending());
    drop(ticket);
    assert!(progress.state.lock().wakers.is_empty());
}

#[test]
fn merged_tickets_need_both() {
    let (a, b) = (Arc::new(Progress::default()), Arc::new(Progress::default()));
    let merged = a.ticket(3).and(a.ticket(9)).and(b.ticket(2)).and(Ticket::done()).and(a.ticket(4));
    a.publish(8);
    b.publish(2);
    assert!(!merged.is_done());
    a.publish(9);
    assert!(merged.is_done());
    assert!(merged.wait().is_ok());
}

#[test]
fn closing_fails_what_is_not_durable_and_nothing_else() {
    let progress = Arc::new(Progress::default());
    let (early, late) = (progress.ticket(1), progress.ticket(2));
    let waiter = {
        let late = late.clone();
        std::thread::spawn(move || late.wait())
    };
    progress.publish(1);
    progress.close("sync failed");
    progress.close("something later");
    assert!(early.wait().is_ok());
    assert!(matches!(late.wait(), Err(StoreError::Closed { reason }) if &*reason == "sync failed"));
    assert!(waiter.join().unwrap().is_err());
}
