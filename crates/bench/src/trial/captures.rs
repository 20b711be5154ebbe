//! Captures of the networks during a trial, where the case asks for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_record::{EventKind, Journal, file_name};
use dunlin_testbed::{Helper, Host, HostCapture, Network};
use dunlin_wire::{Capture, CaptureSpec, CaptureSummary, Filter};

use super::{Guest, Run, event};
use crate::{BenchError, Result};

/// How long a capture may take to be whole: its last packets go to a disk that others use too.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// The captures of a trial. Dropping them ends them.
pub(super) struct Captures<'a> {
    running: Vec<(String, Capturer<'a>)>,
    folder: PathBuf,
    hosts: [Arc<dyn Host>; 2],
}

/// Where the capture is made.
enum Capturer<'a> {
    Bench(Capture),
    Host(HostCapture<'a>),
}

impl<'a> Captures<'a> {
    /// Begins to capture what the case asks for. What hosts capture stays there until the end, so that it does not travel
    /// beside what is measured.
    pub(super) fn start(run: &Run<'a>, guests: &[Guest]) -> Result<Self> {
        let asked = run.trial.case.capture;
        let folder = run.trial.folder.captures_path(&run.trial.id);
        let folder = std::path::absolute(&folder)
            .map_err(|source| BenchError::Io { doing: format!("find {}", folder.display()), source })?;
        let spec = |interface: &str, description: String| CaptureSpec {
            interface: interface.to_owned(),
            description,
            filter: Filter::default(),
            snap_bytes: asked.snap_bytes,
        };
        let mut captures = Self { running: Vec::new(), folder: folder.clone(), hosts: run.world.hosts()? };
        if !(asked.migration || asked.service) {
            return Ok(captures);
        }
        let create = format!("create {}", folder.display());
        std::fs::create_dir_all(&folder).map_err(|source| BenchError::Io { doing: create, source })?;
        for (helper, host) in run.world.helpers()?.iter().zip(run.world.hosts()?) {
            let (Some(helper), id) = (helper, host.id()) else { continue };
            let outbox = host.outbox(&folder)?;
            if let Some(interface) = host.interface(Network::Migration).filter(|_| asked.migration) {
                let spec = spec(interface, format!("{id}: migration network"));
                captures.add(helper, &spec, &outbox, format!("{id}-migration.pcapng"))?;
            }
            let tapped = guests.iter().filter_map(|guest| Some((guest, guest.tap()?)));
            for (guest, tap) in tapped.filter(|_| asked.service) {
                let spec = spec(tap, format!("{id}: service network, tap of {}", guest.id));
                captures.add(
                    helper,
                    &spec,
                    &outbox,
                    format!("{id}-{}.pcapng", file_name(guest.id.as_str())),
                )?;
            }
        }
        let own = run.world.testbed()?.bench_interface(Network::Service);
        if let Some(interface) = own.filter(|_| asked.service) {
            let file = "bench-service.pcapng".to_owned();
            let capture =
                dunlin_wire::capture(&spec(interface, "bench: service network".into()), &folder.join(&file))?;
            captures.running.push((file, Capturer::Bench(capture)));
        }
        Ok(captures)
    }

    fn add(&mut self, helper: &'a Helper, spec: &CaptureSpec, folder: &Path, file: String) -> Result<()> {
        let capture = helper.capture(spec, &folder.join(&file))?;
        self.running.push((file, Capturer::Host(capture)));
        Ok(())
    }

    /// Ends all captures and tells what each came to.
    pub(super) fn stop(self, journal: &mut Journal) -> Result<()> {
        let mut first_error = None;
        if self.running.is_empty() {
            return Ok(());
        }
        let mut files = Vec::new();
        for (file, capturer) in self.running {
            files.push(file.clone());
            match capturer.stop() {
                Ok(summary) => journal.keep(&event(None, None, ended(file, summary)))?,
                // The others are ended all the same.
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        for host in &self.hosts {
            if let Err(error) = host.collect(&self.folder) {
                first_error = first_error.or(Some(error.into()));
            }
        }
        // What a host has captured is only here if it was brought.
        if let Some(lost) = files.iter().find(|file| !self.folder.join(file).is_file()) {
            let doing = format!("find the capture {lost}, which its host had");
            let source = std::io::ErrorKind::NotFound.into();
            first_error = first_error.or(Some(BenchError::Io { doing, source }));
        }
        first_error.map_or(Ok(()), Err)
    }
}

impl Capturer<'_> {
    fn stop(self) -> Result<CaptureSummary> {
        match self {
            Self::Bench(capture) => Ok(capture.stop()?),
            Self::Host(capture) => Ok(capture.stop(STOP_LIMIT)?),
        }
    }
}

fn ended(file: String, summary: CaptureSummary) -> EventKind {
    EventKind::CaptureEnded {
        file,
        packets: summary.accepted,
        drops: summary.dropped,
        written: summary.written,
        bytes: summary.bytes,
        clock_offset_ns: summary.clock_offset_ns,
        clock_error_ns: summary.clock_error_ns,
        cut_short: summary.cut_short,
    }
}
