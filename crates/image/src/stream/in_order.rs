//! Work on several threads whose results come in the order in which it was given.

use std::sync::mpsc::{Receiver, RecvError, SendError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

/// How many results wait for their turn, for each thread: so many blocks are in memory.
const WAITING: usize = 2;

/// Where work is given. Dropping it ends the threads when all is done.
pub(super) struct Giver<In, Out> {
    work: SyncSender<(In, SyncSender<Out>)>,
    order: SyncSender<Receiver<Out>>,
}

/// Where results come. Dropping it ends the threads, and whoever gives work learns of it.
pub(super) struct Taker<Out>(Receiver<Receiver<Out>>);

/// Starts threads that work, each with what `make` makes for it.
pub(super) fn in_order<'scope, In, Out, Work>(
    scope: &'scope Scope<'scope, '_>,
    threads: u32,
    make: impl Fn() -> Work,
) -> (Giver<In, Out>, Taker<Out>)
where
    In: Send + 'scope,
    Out: Send + 'scope,
    Work: FnMut(In) -> Out + Send + 'scope,
{
    let waiting = threads as usize * WAITING;
    let (work, to_do) = sync_channel::<(In, SyncSender<Out>)>(waiting);
    let (order, results) = sync_channel(waiting);
    let to_do = Arc::new(Mutex::new(to_do));
    for _ in 0..threads {
        let to_do = Arc::clone(&to_do);
        let mut work = make();
        scope.spawn(move || {
            loop {
                let next = to_do.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok((what, answer)) = next else { return };
                // Where nobody takes results any more, no more work will be given.
                let _ = answer.send(work(what));
            }
        });
    }
    (Giver { work, order }, Taker(results))
}

impl<In, Out> Giver<In, Out> {
    /// Gives work, once there is room for it.
    ///
    /// # Errors
    /// Where nobody takes results any more.
    pub(super) fn give(&self, what: In) -> Result<(), SendError<()>> {
        let (answer, result) = sync_channel(1);
        self.order.send(result).map_err(|_| SendError(()))?;
        self.work.send((what, answer)).map_err(|_| SendError(()))
    }
}

impl<Out> Taker<Out> {
    /// The next result; absent once all have come and no more work will be given.
    ///
    /// # Errors
    /// Where the thread that worked on it is gone without one.
    pub(super) fn take(&self) -> Option<Result<Out, RecvError>> {
        self.0.recv().ok().map(|result| result.recv())
    }
}
