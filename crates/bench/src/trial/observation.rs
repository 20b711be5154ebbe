//! What watches the hosts and the switch during a trial: counters, and passages of the probes' frames.

use std::time::Duration;

use dunlin_hypervisor::{Side, Vm};
use dunlin_record::{EventKind, Journal, in_one_line, shapes};
use dunlin_testbed::{HelperTask, Network};
use dunlin_traffic::TCP_TEST_PORT;
use dunlin_wire::{Filter, Recording, Summary, count_switch_port};

use super::{Guest, Run, event};
use crate::Result;
use crate::recording::SeriesHandle;

/// How long a helper may take to end a record.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The records that the hosts' helpers make during a trial.
pub(super) struct Observation {
    /// Each with the number of its helper.
    tasks: Vec<(usize, HelperTask, SeriesHandle, Kind)>,
    /// What the switch says of its ports.
    switch: Vec<(Recording, SeriesHandle)>,
    /// What is counted on the bench's own machine, where that is none of the hosts'.
    own: Vec<(Recording, SeriesHandle)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counters,
    Passages,
    Flow,
}

impl Observation {
    /// Begins to count and to watch on both hosts.
    pub(super) fn start(run: &Run<'_>, guests: &[Guest], journal: &mut Journal) -> Result<Self> {
        let mut observation = Self { tasks: Vec::new(), switch: Vec::new(), own: Vec::new() };
        observation.ask_switch(run, journal)?;
        for (number, (helper, host)) in run.world.helpers()?.iter().zip(run.world.hosts()?).enumerate() {
            let Some(helper) = helper else { continue };
            let id = host.id();
            if let Some(interface) = host.interface(Network::Migration) {
                let series = run.recording.series(&format!("wire-{id}-migration"), shapes::WIRE)?;
                let task = helper.count(interface, series.sink())?;
                observation.tasks.push((number, task, series, Kind::Counters));
                if number == 0 && run.trial.case.probes.between_hosts() {
                    // What the probes had of the source's counters is none of the migration's.
                    let name = format!("wire-{id}-migration-probes");
                    let series = run.recording.series(&name, shapes::WIRE)?;
                    let filter = Filter::tcp_port(TCP_TEST_PORT);
                    let task = helper.count_flow(interface, &filter, series.sink())?;
                    observation.tasks.push((number, task, series, Kind::Flow));
                }
            }
            if let Some(interface) = host.interface(Network::Storage) {
                let series = run.recording.series(&format!("wire-{id}-storage"), shapes::WIRE)?;
                let task = helper.count(interface, series.sink())?;
                observation.tasks.push((number, task, series, Kind::Counters));
            }
            if let Some(device) = run.world.second_link()? {
                let series = run.recording.series(&format!("wire-{id}-{device}"), shapes::WIRE)?;
                let task = helper.count(device, series.sink())?;
                observation.tasks.push((number, task, series, Kind::Counters));
            }
            if number == 0 || !run.world.testbed()?.is_one_machine() {
                let series = run.recording.series(&format!("cpu-{id}"), shapes::CPU)?;
                let task = helper.count_cpu(series.sink())?;
                observation.tasks.push((number, task, series, Kind::Counters));
            }
            for (guest, tap) in guests.iter().filter_map(|guest| Some((guest, guest.tap()?))) {
                let series =
                    run.recording.series(&format!("{}-passages-{id}", guest.id), shapes::PASSAGES)?;
                let task = helper.watch_passages(tap, series.sink())?;
                observation.tasks.push((number, task, series, Kind::Passages));
            }
        }
        if !run.world.testbed()?.is_one_machine() {
            let series = run.recording.series("cpu-bench", shapes::CPU)?;
            observation.own.push((dunlin_wire::count_cpu(series.sink())?, series));
        }
        for guest in guests {
            observation.count_vm(run, Side::Source, &*guest.source)?;
        }
        Ok(observation)
    }

    /// Begins to count the CPU time of a VM's hypervisor, where both can be had.
    pub(super) fn count_vm(&mut self, run: &Run<'_>, side: Side, vm: &dyn Vm) -> Result<()> {
        let number = side as usize;
        let Some(helper) = &run.world.helpers()?[number] else { return Ok(()) };
        let (Some(pid), Some(vcpu_threads)) = (vm.pid(), vm.vcpu_threads()?) else { return Ok(()) };
        let name = format!("{}-cpu-{}", vm.id(), vm.host());
        let series = run.recording.series(&name, shapes::PROCESS_CPU)?;
        let task = helper.count_process_cpu(pid, vcpu_threads, series.sink())?;
        self.tasks.push((number, task, series, Kind::Counters));
        Ok(())
    }

    /// Begins to ask the switch about its ports. One that does not answer leaves the trial without its figures.
    fn ask_switch(&mut self, run: &Run<'_>, journal: &mut Journal) -> Result<()> {
        let (Some((agent, ports)), Some(snmp)) = (run.world.switch()?, &run.trial.case.switch.snmp) else {
            return Ok(());
        };
        for (host, port) in ports {
            let series = run.recording.series(&format!("switch-{host}-migration"), shapes::SWITCH)?;
            match count_switch_port(agent, &port, (snmp.interval_ms * 1e6) as i64, series.sink()) {
                Ok(recording) => self.switch.push((recording, series)),
                Err(error) => {
                    series.finish();
                    let text = in_one_line(&error);
                    journal.keep(&event(Some(&host), None, EventKind::Warning { text }))?;
                }
            }
        }
        Ok(())
    }

    /// Ends all records and tells what they lost.
    pub(super) fn stop(self, run: &Run<'_>, journal: &mut Journal) -> Result<()> {
        let mut lost = 0;
        let mut first_error = None;
        let watched = self.tasks.iter().any(|(.., kind)| *kind == Kind::Passages);
        for (number, task, series, kind) in self.tasks {
            let Some(helper) = &run.world.helpers()?[number] else { continue };
            match helper.stop(task, STOP_LIMIT) {
                Ok(summary) if kind == Kind::Passages => lost += summary.dropped.unwrap_or(0),
                Ok(Summary { dropped: Some(frames @ 1..), .. }) if kind == Kind::Flow => {
                    let text = format!(
                        "{frames} frames of the TCP probes between the hosts were not counted, and so are taken for the \
                         migration's"
                    );
                    journal.keep(&event(None, None, EventKind::Warning { text }))?;
                }
                Ok(_) => {}
                // The others are ended all the same.
                Err(error) => first_error = first_error.or(Some(error)),
            }
            series.finish();
        }
        for (recording, series) in self.switch.into_iter().chain(self.own) {
            let ended = recording.stop();
            series.finish();
            if let Err(error) = ended {
                let warning = EventKind::Warning { text: in_one_line(&error) };
                journal.keep(&event(None, None, warning))?;
            }
        }
        if watched {
            journal.keep(&event(None, None, EventKind::PassagesEnded { drops: lost }))?;
        }
        first_error.map_or(Ok(()), |error| Err(error.into()))
    }
}
