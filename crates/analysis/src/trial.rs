//! One VM's share of a trial's record, in the order of time.

use std::collections::BTreeSet;

use dunlin_record::{Case, Event, EventKind, HostId, Series, Status, TrialRecord, VmId};

use crate::AnalysisError;
use crate::samples::Samples;

/// One VM's share of a trial's record.
pub(crate) struct Trial<'a> {
    pub(crate) record: &'a TrialRecord,
    pub(crate) scenario: &'a str,
    pub(crate) case: &'a Case,
    /// Which repetition of the case.
    pub(crate) number: u32,
    pub(crate) source: &'a HostId,
    pub(crate) destination: &'a HostId,
    pub(crate) vm: VmId,
    /// Events of this VM and those of no VM in particular.
    events: Vec<&'a Event>,
}

impl<'a> Trial<'a> {
    /// Each VM's share, in the order of their ids.
    ///
    /// # Errors
    /// Where nothing says what was asked.
    pub(crate) fn each_vm(record: &'a TrialRecord) -> Result<Vec<Self>, AnalysisError> {
        let mut vms: BTreeSet<VmId> = record.events.iter().filter_map(|event| event.vm.clone()).collect();
        if vms.is_empty() {
            vms.insert(VmId::new("vm0"));
        }
        vms.into_iter().map(|vm| Self::of(record, vm)).collect()
    }

    fn of(record: &'a TrialRecord, vm: VmId) -> Result<Self, AnalysisError> {
        let is_ours = |event: &&Event| event.vm.as_ref().is_none_or(|of| *of == vm);
        let mut events: Vec<&Event> = record.events.iter().filter(is_ours).collect();
        events.sort_by_key(|event| event.t_ns);
        let started = events.iter().find_map(|event| match &event.kind {
            EventKind::TrialStarted { scenario, case, trial, source, destination } => {
                Some((scenario, case, *trial, source, destination))
            }
            _ => None,
        });
        let Some((scenario, case, number, source, destination)) = started else {
            return Err(AnalysisError::NotStarted { trial: record.id.clone() });
        };
        Ok(Self { record, scenario, case, number, source, destination, vm, events })
    }

    /// The events in the order of time.
    pub(crate) fn events(&self) -> impl DoubleEndedIterator<Item = &'a Event> {
        self.events.iter().copied()
    }

    /// The events on a host in the order of time.
    pub(crate) fn events_on(&self, host: &HostId) -> impl DoubleEndedIterator<Item = &'a Event> {
        self.events().filter(move |event| event.host.as_ref() == Some(host))
    }

    /// What `pick` takes from the events, in the order of time.
    pub(crate) fn pick<T: 'a>(
        &self,
        pick: impl Fn(&'a EventKind) -> Option<T>,
    ) -> impl DoubleEndedIterator<Item = T> {
        self.events().filter_map(move |event| pick(&event.kind))
    }

    /// A series of this VM, as in `progress`.
    pub(crate) fn vm_series(&self, what: &str) -> Option<&'a Series> {
        self.record.series.get(&format!("{}-{what}", self.vm))
    }

    /// The counters of the source's interface to the migration network.
    pub(crate) fn migration_wire(&self) -> Option<&'a Series> {
        self.record.series.get(&format!("wire-{}-migration", self.source))
    }

    /// Whether probes between the hosts used the migration network too.
    pub(crate) fn shares_wire(&self) -> bool {
        self.case.probes.between_hosts()
    }

    /// A counter of the source's links that a migration may use, all together, less what probes between the hosts had of
    /// it.
    pub(crate) fn wire(&self, column: &str) -> Samples {
        let of = |network| self.wire_of(network, column);
        of("migration").plus(&of("migration-2")).minus(&of("migration-probes"))
    }

    /// A counter of one of them.
    pub(crate) fn wire_of(&self, network: &str, column: &str) -> Samples {
        self.counters(self.source, network, column)
    }

    /// A counter of a host's interface to a network.
    pub(crate) fn counters(&self, host: &HostId, network: &str, column: &str) -> Samples {
        Samples::of(self.record.series.get(&format!("wire-{host}-{network}")), column)
    }

    /// How the trial ended; `None` where the record breaks off before that. What is said of the VM goes before what
    /// is said of the trial.
    pub(crate) fn ending(&self) -> Option<(Status, Option<&'a str>)> {
        let endings = || {
            self.events().rev().filter_map(|event| match &event.kind {
                EventKind::TrialEnded { status, error } => {
                    Some((event.vm.is_some(), (*status, error.as_deref())))
                }
                _ => None,
            })
        };
        endings().find(|(of_vm, _)| *of_vm).or_else(|| endings().next()).map(|(_, ending)| ending)
    }

    /// Whether the trial is known to have ended well.
    pub(crate) fn completed(&self) -> bool {
        matches!(self.ending(), Some((Status::Completed, _)))
    }
}
