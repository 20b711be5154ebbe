//! The lab of a calibration: a host that answers, behind the relay that makes the outages.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use dunlin_clock::{Cancel, Deadline, now_ns, sleep_until};
use dunlin_probe::DEFAULT_UDP_PORT;
use dunlin_record::Links;
use dunlin_testbed::{Fault, Helper, Host, Injection, Inside, Lab, LabSpec, Network, Relay, TestbedError};

use crate::{BenchError, Result};

/// How often a wait looks whether the user wants an end.
const LOOK_UP: Duration = Duration::from_millis(50);
/// How long after its planned end an outage may be told to be over.
const INJECTION_LIMIT_NS: i64 = 10 * dunlin_clock::SECOND_NS;

/// The lab of a calibration.
pub(super) struct Rig<'a> {
    cancel: &'a Cancel,
    target: Ipv4Addr,
    // Before the lab, so that the helper ends in peace.
    _echo: Helper,
    lab: Lab,
}

impl<'a> Rig<'a> {
    /// Makes the lab; its first host answers ICMP by its kernel, UDP by a helper.
    pub(super) fn up(inside: &Inside, cancel: &'a Cancel) -> Result<Self> {
        let lab = Lab::up(inside, &LabSpec { injector: true, ..LabSpec::new(Links::default()) })?;
        let host = &lab.hosts()[0];
        let target = host.address(Network::Service);
        let echo = host.helper()?;
        echo.echo_udp(SocketAddrV4::new(target, DEFAULT_UDP_PORT))?;
        Ok(Self { cancel, target, _echo: echo, lab })
    }

    /// The address that answers.
    pub(super) fn target(&self) -> Ipv4Addr {
        self.target
    }

    /// Makes an outage from `at_ns` for `for_ns` and waits until frames pass again.
    pub(super) fn inject(&self, fault: Fault, at_ns: i64, for_ns: i64) -> Result<Injection> {
        let pending = self.relay()?.inject(fault, at_ns, for_ns)?;
        let deadline = Deadline::at(at_ns + for_ns + INJECTION_LIMIT_NS);
        loop {
            self.check_cancel()?;
            match pending.wait(deadline.step(LOOK_UP)) {
                Err(TestbedError::Timeout { .. }) if !deadline.passed() => {}
                done => return Ok(done?),
            }
        }
    }

    /// Lets time pass.
    pub(super) fn rest_until(&self, until_ns: i64) -> Result<()> {
        let deadline = Deadline::at(until_ns);
        while !deadline.passed() {
            self.check_cancel()?;
            sleep_until(until_ns.min(now_ns() + LOOK_UP.as_nanos() as i64));
        }
        Ok(())
    }

    fn check_cancel(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(BenchError::Cancelled) } else { Ok(()) }
    }

    fn relay(&self) -> Result<&Relay, TestbedError> {
        self.lab.injector().ok_or_else(|| TestbedError::Unsupported {
            what: "an outage of known length".into(),
            because: "the lab was made without an injector".into(),
        })
    }
}
