//! What a bench asks of an agent, in the record's words.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use dunlin_agent_proto::{Ask, GuestMemory, MemoryWrite, Network, Ready, Reply, WriteRate};
use dunlin_clock::epoch_ns;
use dunlin_record::{Achieved, Rate, Workload};

use crate::{AgentClient, GuestError, Result};

const ENTROPY_BYTES: usize = 64;
const MIB: f64 = 1024.0 * 1024.0;
const PAGE_MIB: f64 = 4096.0 / MIB;
const SECOND_NS: f64 = 1e9;

/// Requests by name; each waits `limit` at most for its reply.
///
/// The errors are those of [`AgentClient::request`].
impl AgentClient {
    /// Waits for the agent to say who it is: the guest is up then.
    ///
    /// # Errors
    /// As of a request.
    pub fn identify(&self, limit: Duration) -> Result<Ready> {
        match self.request(Ask::Identify, limit)? {
            Reply::Ready(ready) => Ok(ready),
            reply => Err(unexpected("who are you", &reply)),
        }
    }

    /// There and back.
    ///
    /// # Errors
    /// As of a request.
    pub fn ping(&self, number: u64, limit: Duration) -> Result<()> {
        match self.request(Ask::Ping(number), limit)? {
            Reply::Pong(answered) if answered == number => Ok(()),
            reply => Err(unexpected("ping", &reply)),
        }
    }

    /// Brings a guest out of a template into the present: the clock is set and new entropy stirred in, so that two
    /// guests of one template do not draw the same random numbers.
    ///
    /// # Errors
    /// As of a request, or where this machine gives no entropy.
    pub fn refresh(&self, limit: Duration) -> Result<()> {
        let mut entropy = vec![0; ENTROPY_BYTES];
        let source = "/dev/urandom";
        let outcome = File::open(source).and_then(|mut file| file.read_exact(&mut entropy));
        outcome.map_err(GuestError::io("read", source))?;
        self.done(Ask::SetClock { epoch_ns: epoch_ns() }, limit)?;
        self.done(Ask::AddEntropy(entropy), limit)
    }

    /// Gives the guest this address instead of the one it has, and neighbours it need not ask for.
    ///
    /// # Errors
    /// As of a request.
    pub fn configure_network(&self, network: Network, limit: Duration) -> Result<()> {
        self.done(Ask::ConfigureNetwork(network), limit)
    }

    /// Starts a workload; returns when it runs.
    ///
    /// # Errors
    /// As of a request; refused where one runs already or the guest has too little memory for it.
    pub fn start_workload(&self, workload: &Workload, limit: Duration) -> Result<()> {
        let Workload::MemoryWrite { working_set_mib, rate_mib_s } = *workload;
        let rate = match rate_mib_s {
            Rate::Full => WriteRate::Full,
            Rate::MibPerSecond(rate) => WriteRate::MibPerSecond(rate),
        };
        match self.request(Ask::StartMemoryWrite(MemoryWrite { working_set_mib, rate }), limit)? {
            Reply::WorkloadStarted => Ok(()),
            reply => Err(unexpected("start the workload", &reply)),
        }
    }

    /// Stops the workload and says what it did.
    ///
    /// # Errors
    /// As of a request; refused where none runs.
    pub fn stop_workload(&self, limit: Duration) -> Result<Achieved> {
        match self.request(Ask::StopWorkload, limit)? {
            Reply::WorkloadAchieved(achieved) => Ok(in_the_records_words(&achieved)),
            reply => Err(unexpected("stop the workload", &reply)),
        }
    }

    /// How the guest's memory is used.
    ///
    /// # Errors
    /// As of a request.
    pub fn memory(&self, limit: Duration) -> Result<GuestMemory> {
        match self.request(Ask::QueryMemory, limit)? {
            Reply::Memory(memory) => Ok(memory),
            reply => Err(unexpected("how is memory used", &reply)),
        }
    }

    fn done(&self, ask: Ask, limit: Duration) -> Result<()> {
        match self.request(ask, limit)? {
            Reply::Done => Ok(()),
            reply => Err(unexpected("do this", &reply)),
        }
    }
}

fn in_the_records_words(achieved: &dunlin_agent_proto::Achieved) -> Achieved {
    let elapsed_s = achieved.elapsed_ns as f64 / SECOND_NS;
    // Stopped at once, nothing was written: a rate of 0, not of 0/0.
    let rate_mib_s = if elapsed_s > 0.0 { achieved.pages_written as f64 * PAGE_MIB / elapsed_s } else { 0.0 };
    Achieved { elapsed_s, rate_mib_s, passes: achieved.passes, corrupt_pages: achieved.corrupt_pages }
}

fn unexpected(asked: &str, reply: &Reply) -> GuestError {
    GuestError::Unexpected { asked: asked.into(), reply: format!("{reply:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_counts_pages_of_4_kib() {
        let achieved = dunlin_agent_proto::Achieved {
            elapsed_ns: 2_000_000_000,
            pages_written: 10_240,
            passes: 2,
            corrupt_pages: 0,
        };
        let said = in_the_records_words(&achieved);
        assert!((said.rate_mib_s - 20.0).abs() < 1e-9, "{said:?}");
        assert!((said.elapsed_s - 2.0).abs() < 1e-9, "{said:?}");
    }
}
