//! Puts a thread ahead of ordinary work, so that its waits end when they should.
#![expect(unsafe_code, reason = "neither std nor nix sets a thread's scheduling policy or timer slack")]

/// Above ordinary work, below the kernel's own threads and anything an administrator put there on purpose.
const PRIORITY: libc::c_int = 5;

/// Gives the calling thread real-time priority and exact timers; says whether it may have the priority.
pub(crate) fn enter() -> bool {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: thread 0 is the calling one; `parameters` lives across the call.
    let code = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    // Ordinary threads' timers may be 50 us late on purpose, to save wake-ups; real-time ones' never are.
    // SAFETY: PR_SET_TIMERSLACK takes a number and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) };
    code == 0
}
