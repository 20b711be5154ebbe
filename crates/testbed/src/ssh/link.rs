//! The way to a machine: the connection there is, made anew where it was lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_clock::{HostClock, now_ns};

use super::connection::Connection;
use super::master::Patience;
use super::{HelperProgram, Target};
use crate::helper::host_protocol::{HostAsk, HostTell};
use crate::{Result, TestbedError};

/// How long a machine that is there again may take to say what still runs there.
const ASK_LIMIT: Duration = Duration::from_secs(3);

/// For how long a vain attempt to connect again counts.
const VAIN_NS: i64 = 2_000_000_000;

/// The way to a machine.
#[derive(Debug)]
pub(super) struct Link {
    target: Target,
    program: HelperProgram,
    clock: HostClock,
    connection: Mutex<Arc<Connection>>,
    /// Held by whoever connects again.
    connecting: Mutex<Option<Failure>>,
}

/// How connecting again went wrong last, and when.
#[derive(Debug)]
struct Failure {
    t_ns: i64,
    error: TestbedError,
}

/// A program by its id and the time of its start, in the machine's own ticks: no other has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) pid: u32,
    pub(super) started: u64,
}

impl Link {
    pub(super) fn new(
        target: Target,
        program: HelperProgram,
        clock: HostClock,
        connection: Connection,
    ) -> Self {
        let connection = Mutex::new(Arc::new(connection));
        Self { target, program, clock, connection, connecting: Mutex::default() }
    }

    pub(super) fn clock(&self) -> &HostClock {
        &self.clock
    }

    /// The connection, made anew where it was lost: what had been started over the lost one is gone then.
    pub(super) fn connection(&self) -> Result<Arc<Connection>> {
        let asked_ns = now_ns();
        let current = self.current();
        if current.helper().is_well() {
            return Ok(current);
        }
        drop(current);
        let mut last = self.connecting.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current();
        if current.helper().is_well() {
            return Ok(current);
        }
        drop(current);
        // A vain attempt counts for all who ask meanwhile, and soon after.
        if let Some(Failure { t_ns, error }) = &*last
            && *t_ns >= asked_ns - VAIN_NS
        {
            return Err(self.once_more(error));
        }
        match Connection::open(&self.target, self.program, &self.clock, Patience::AGAIN) {
            Ok(connection) => {
                let connection = Arc::new(connection);
                let old = std::mem::replace(&mut *self.lock(), Arc::clone(&connection));
                drop(old);
                Ok(connection)
            }
            Err(error) => {
                let told = self.once_more(&error);
                *last = Some(Failure { t_ns: now_ns(), error });
                Err(told)
            }
        }
    }

    /// Why connecting again went wrong, for one more who wanted it.
    fn once_more(&self, error: &TestbedError) -> TestbedError {
        match error {
            TestbedError::Ssh { host, doing, why, mend } => {
                let [host, doing, why, mend] = [host, doing, why, mend].map(String::clone);
                TestbedError::Ssh { host, doing, why, mend }
            }
            other => self.target.failed("connect to it again", other),
        }
    }

    pub(super) fn current(&self) -> Arc<Connection> {
        Arc::clone(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a machine that was lost whether a program of the lost connection runs there still; absent where it is not there
    /// yet. Nobody is kept waiting for it to come back: that is tried beside.
    pub(super) fn still_runs(self: &Arc<Self>, known: Known) -> Option<bool> {
        let current = self.current();
        if !current.helper().is_well() {
            self.connect_beside();
            return None;
        }
        let ask = HostAsk::IsThere { pid: known.pid, started: known.started };
        match current.ask(ask, "whether a program still runs there", ASK_LIMIT) {
            Ok(HostTell::There(there)) => Some(there),
            _ => None,
        }
    }

    /// Connects again on a thread of its own, unless somebody does.
    fn connect_beside(self: &Arc<Self>) {
        if self.connecting.try_lock().is_err() {
            return;
        }
        let link = Arc::clone(self);
        let connect = move || drop(link.connection());
        // Whoever asks again starts it again.
        let _ = std::thread::Builder::new().name("connect-again".into()).spawn(connect);
    }
}
