//! What watches a trial: counters and passages on the hosts, probes on the bench.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_hypervisor::Vm;
use dunlin_hypervisor::qemu::QemuVm;
use dunlin_probe::{DEFAULT_UDP_PORT, PAYLOAD_BYTES, ProbeKind, ProbeRows, ProbeSpec, RunningProbe};
use dunlin_record::{EventKind, Journal, Probe, in_one_line, shapes};
use dunlin_testbed::{HelperTask, Network};
use dunlin_wire::{Recording, count_switch_port};

use super::{Guest, Run, event};
use crate::Result;
use crate::recording::SeriesHandle;

/// How long late answers are waited for once sending has ended.
const LATE_ANSWERS: Duration = Duration::from_millis(300);
/// How long a helper may take to end a record.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The records that the hosts' helpers make during a trial.
pub(super) struct Observation {
    /// Each with the number of its helper.
    tasks: Vec<(usize, HelperTask, SeriesHandle, Kind)>,
    /// What the switch says of its ports.
    switch: Vec<(Recording, SeriesHandle)>,
}

/// Which of the two hosts: the number of its helper.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Source,
    Destination,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counters,
    Passages,
}

impl Observation {
    /// Begins to count and to watch on both hosts.
    pub(super) fn start(run: &Run<'_>, guests: &[Guest], journal: &mut Journal) -> Result<Self> {
        let mut observation = Self { tasks: Vec::new(), switch: Vec::new() };
        observation.ask_switch(run, journal)?;
        for (number, (helper, host)) in run.world.helpers()?.iter().zip(run.world.hosts()?).enumerate() {
            let id = host.id();
            let series = run.recording.series(&format!("wire-{id}-migration"), shapes::WIRE)?;
            let task = helper.count(host.interface(Network::Migration), series.sink())?;
            observation.tasks.push((number, task, series, Kind::Counters));
            if number == 0 {
                // Both hosts are one machine here.
                let series = run.recording.series(&format!("cpu-{id}"), shapes::CPU)?;
                let task = helper.count_cpu(series.sink())?;
                observation.tasks.push((number, task, series, Kind::Counters));
            }
            for guest in guests {
                let series =
                    run.recording.series(&format!("{}-passages-{id}", guest.id), shapes::PASSAGES)?;
                let task = helper.watch_passages(&guest.spec.tap, series.sink())?;
                observation.tasks.push((number, task, series, Kind::Passages));
            }
        }
        for guest in guests {
            observation.count_vm(run, Side::Source, &guest.source)?;
        }
        Ok(observation)
    }

    /// Begins to count the CPU time of a VM's hypervisor.
    pub(super) fn count_vm(&mut self, run: &Run<'_>, side: Side, vm: &QemuVm) -> Result<()> {
        let number = side as usize;
        let name = format!("{}-cpu-{}", vm.id(), vm.host());
        let series = run.recording.series(&name, shapes::PROCESS_CPU)?;
        let helper = &run.world.helpers()?[number];
        let task = helper.count_process_cpu(vm.pid(), vm.vcpu_threads()?, series.sink())?;
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
        for (number, task, series, kind) in self.tasks {
            match run.world.helpers()?[number].stop(task, STOP_LIMIT) {
                Ok(summary) if kind == Kind::Passages => lost += summary.dropped.unwrap_or(0),
                Ok(_) => {}
                // The others are ended all the same.
                Err(error) => first_error = first_error.or(Some(error)),
            }
            series.finish();
        }
        for (recording, series) in self.switch {
            let ended = recording.stop();
            series.finish();
            if let Err(error) = ended {
                let warning = EventKind::Warning { text: in_one_line(&error) };
                journal.keep(&event(None, None, warning))?;
            }
        }
        journal.keep(&event(None, None, EventKind::PassagesEnded { drops: lost }))?;
        first_error.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// The probes of one guest's service.
pub(super) struct Probing {
    running: Vec<Running>,
}

struct Running {
    name: String,
    probe: RunningProbe,
    series: [SeriesHandle; 2],
    answered: Arc<AtomicBool>,
}

impl Probing {
    /// Starts the probes that the case asks for.
    pub(super) fn start(run: &Run<'_>, guest: &Guest, journal: &mut Journal) -> Result<Self> {
        let probes = &run.trial.case.probes;
        let mut probing = Self { running: Vec::new() };
        let kinds =
            [(ProbeKind::Icmp, &probes.icmp), (ProbeKind::Udp { port: DEFAULT_UDP_PORT }, &probes.udp)];
        for (kind, asked) in kinds {
            if let Some(probe) = asked {
                probing.add(run, guest, kind, probe, journal)?;
            }
        }
        Ok(probing)
    }

    fn add(
        &mut self,
        run: &Run<'_>,
        guest: &Guest,
        kind: ProbeKind,
        asked: &Probe,
        journal: &mut Journal,
    ) -> Result<()> {
        let name = kind.to_string();
        let series = |what, shape| run.recording.series(&format!("{}-probe-{name}-{what}", guest.id), shape);
        let sent = series("sent", shapes::PROBE_SENT)?;
        let answers = series("answers", shapes::PROBE_ANSWERS)?;
        let handles = [sent.clone(), answers.clone()];
        let answered = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&answered);
        let sink = Box::new(move |rows: ProbeRows<'_>| match rows {
            ProbeRows::Sent(rows) => sent.push(rows.as_flattened()),
            ProbeRows::Answers(rows) => {
                seen.store(true, Ordering::Relaxed);
                answers.push(rows.as_flattened());
            }
        });
        let spec = ProbeSpec {
            kind,
            target: guest.address,
            interval_ns: (asked.interval_ms * 1e6) as i64,
            payload_bytes: PAYLOAD_BYTES,
        };
        let probe = dunlin_probe::start(&spec, sink)?;
        let started = EventKind::ProbeStarted {
            probe: name.clone(),
            interval_ms: asked.interval_ms,
            realtime_priority: probe.realtime_priority().is_some(),
        };
        journal.keep(&event(None, Some(&guest.id), started))?;
        self.running.push(Running { name, probe, series: handles, answered });
        Ok(())
    }

    /// The first probe that has not been answered yet.
    pub(super) fn unanswered(&self) -> Option<&str> {
        let silent = self.running.iter().find(|running| !running.answered.load(Ordering::Relaxed));
        silent.map(|running| running.name.as_str())
    }

    /// Ends the probes and tells what they cost.
    pub(super) fn stop(self, guest: &Guest, journal: &mut Journal) -> Result<()> {
        for running in &self.running {
            running.probe.end_sending();
        }
        let answers_until = Deadline::after(LATE_ANSWERS);
        for Running { name, probe, series, .. } in self.running {
            let summary = probe.stop(answers_until);
            series.iter().for_each(SeriesHandle::finish);
            if let Some(error_ns) = summary.clock_error_ns {
                let mapped = EventKind::ClockMapped { clock: name.clone(), offset_ns: 0, error_ns };
                journal.keep(&event(None, Some(&guest.id), mapped))?;
            }
            let ended = EventKind::ProbeEnded {
                probe: name,
                cpu_ns: summary.cpu_ns,
                wall_ns: summary.wall_ns,
                send_errors: summary.send_errors,
                drops: summary.drops,
            };
            journal.keep(&event(None, Some(&guest.id), ended))?;
        }
        Ok(())
    }
}
