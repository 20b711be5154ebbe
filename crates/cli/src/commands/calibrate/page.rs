//! A calibration as people read it.

use std::fmt::Write as _;

use dunlin_bench::{Calibration, Cell, PingReading, ProbeReading, Verdict};
use dunlin_report::{Table, wrapped};
use dunlin_testbed::Fault;

/// What both probes together may cost at an interval of 1 ms, in percent of one core.
const CPU_BOUND_PERCENT: f64 = 10.0;

/// The table, the costs and the verdict, in lines of at most `width` columns.
pub(super) fn text(calibration: &Calibration, width: Option<u16>) -> String {
    let head = format!(
        "Outages of known length on the service path, measured by each probe every {} ms.\n\
         Within: measured less injected is at most {} ms; 9 of 10 must be.\n",
        calibration.interval_ms, calibration.bound_ms,
    );
    let mut rest = String::new();
    if calibration.ping.is_none() {
        rest += "ping: not installed\n";
    }
    rest += &costs(calibration);
    rest += &excluded(calibration);
    rest += &verdict(calibration);
    let table = table(calibration).text(width);
    [wrapped(&head, width, "  "), table, "\n".into(), wrapped(rest.trim_end(), width, "  ")].concat()
}

fn table(calibration: &Calibration) -> Table {
    let mut table = Table::new().key("outage").figure("injected\nms");
    for probe in probes(calibration) {
        for name in ["ms", "worst error", "within"] {
            table = table.figure(&format!("{probe}\n{name}"));
        }
    }
    table = table.figure(&format!("ping lost\nx {} ms", calibration.interval_ms));
    for cell in &calibration.cells {
        table.row(row(calibration, cell));
    }
    table
}

/// The probes' names, in the order of their columns.
fn probes(calibration: &Calibration) -> Vec<&str> {
    calibration.cost.iter().map(|cost| cost.probe.as_str()).collect()
}

fn row(calibration: &Calibration, cell: &Cell) -> Vec<String> {
    let mut row = vec![name(cell.fault, cell.asked_ms), ms(cell.injected_median_ms)];
    for probe in probes(calibration) {
        let reading = cell.readings.iter().find(|reading| reading.probe == probe);
        row.extend([
            ms(reading.and_then(|reading| reading.median_ms)),
            reading
                .and_then(|reading| reading.worst_error_ms)
                .map_or_else(absent, |error| format!("{error:+.2}")),
            reading.map_or_else(absent, within),
        ]);
    }
    let ping =
        ping(calibration, cell).map_or_else(absent, |ping| format!("{:.1}", ping.lost_times_interval_ms));
    row.push(ping);
    row
}

/// As in `drop 20 ms`.
fn name(fault: Fault, asked_ms: u32) -> String {
    match fault {
        Fault::Drop => format!("drop {asked_ms} ms"),
        Fault::Hold => format!("hold {asked_ms} ms"),
    }
}

fn within(reading: &ProbeReading) -> String {
    format!("{}/{}", reading.within, reading.measured_ms.len())
}

/// What ping counted in an outage like those of a cell; it watched dropped ones only.
fn ping(calibration: &Calibration, cell: &Cell) -> Option<PingReading> {
    let accounts = calibration.ping.as_ref().filter(|_| cell.fault == Fault::Drop)?;
    accounts.iter().find(|account| account.asked_ms == cell.asked_ms)?.reading
}

fn costs(calibration: &Calibration) -> String {
    let mut text = String::new();
    for cost in &calibration.cost {
        let cpu = cost.cpu_percent.map_or_else(absent, |cpu| format!("{cpu:.1} %"));
        let lateness = cost.send_lateness_p99_ms.map_or_else(absent, |late| format!("{late:.3} ms"));
        let priority = if cost.realtime_priority { "real-time priority" } else { "no real-time priority" };
        let _ = writeln!(text, "{}: {cpu} of one core, p99 send lateness {lateness}, {priority}", cost.probe);
    }
    if let Some(cpu) = calibration.cpu_percent() {
        let _ = write!(text, "all probes together: {cpu:.1} % of one core");
        // At shorter intervals nothing was promised.
        if calibration.interval_ms >= 1.0 {
            let mark = if cpu < CPU_BOUND_PERCENT { "under" } else { "NOT under" };
            let _ = write!(text, ", {mark} {CPU_BOUND_PERCENT} %");
        }
        text.push('\n');
    }
    text
}

/// What was left out of the figures, and why, by some examples.
fn excluded(calibration: &Calibration) -> String {
    const EXAMPLES: usize = 5;
    let excluded = &calibration.excluded;
    if excluded.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "outages that told nothing, because the machine was held up while they were made: {}\n",
        excluded.len()
    );
    for one in excluded.iter().take(EXAMPLES) {
        let _ = writeln!(text, "  {}: {}", name(one.fault, one.asked_ms), one.why);
    }
    if excluded.len() > EXAMPLES {
        text += "  …\n";
    }
    text
}

fn verdict(calibration: &Calibration) -> String {
    let bound = calibration.bound_ms;
    let with = |wanted: Verdict| {
        let readings =
            calibration.cells.iter().flat_map(|cell| cell.readings.iter().map(move |one| (cell, one)));
        let wanted = readings.filter(|(_, reading)| reading.verdict == wanted);
        let words = wanted.map(|(cell, reading)| {
            format!("{} of {} by {}", within(reading), name(cell.fault, cell.asked_ms), reading.probe)
        });
        words.collect::<Vec<_>>().join(", ")
    };
    match calibration.verdict {
        Verdict::Passed => format!("PASS: every length was measured within {bound} ms by every probe\n"),
        Verdict::Failed => format!("FAIL: within {bound} ms were only {}\n", with(Verdict::Failed)),
        Verdict::Inconclusive => format!(
            "INCONCLUSIVE: of the {} outages of each kind too many told nothing: within {bound} ms were {}\n",
            calibration.repetitions,
            with(Verdict::Inconclusive)
        ),
    }
}

fn ms(value: Option<f64>) -> String {
    value.map_or_else(absent, |ms| format!("{ms:.2}"))
}

fn absent() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use dunlin_bench::{Excluded, PingAccount, ProbeCost};

    use super::*;

    fn reading(probe: &str, measured_ms: Vec<Option<f64>>, verdict: Verdict) -> ProbeReading {
        let within = u32::try_from(measured_ms.iter().flatten().count()).unwrap();
        let worst_error_ms = measured_ms.iter().all(Option::is_some).then_some(-0.12);
        ProbeReading {
            probe: probe.into(),
            median_ms: Some(19.9),
            worst_error_ms,
            within,
            measured_ms,
            verdict,
        }
    }

    fn cell(fault: Fault, readings: Vec<ProbeReading>) -> Cell {
        Cell { fault, asked_ms: 20, injected_ms: vec![20.0; 2], injected_median_ms: Some(20.0), readings }
    }

    fn cost(probe: &str, cpu_percent: Option<f64>) -> ProbeCost {
        ProbeCost {
            probe: probe.into(),
            cpu_percent,
            send_lateness_p99_ms: Some(0.05),
            realtime_priority: true,
        }
    }

    fn passed() -> Calibration {
        let good = || {
            let measured_ms = vec![Some(19.9); 2];
            vec![
                reading("icmp", measured_ms.clone(), Verdict::Passed),
                reading("udp", measured_ms, Verdict::Passed),
            ]
        };
        let ping = PingReading { sent: 1800, received: 1798, lost_times_interval_ms: 2.0 };
        Calibration {
            verdict: Verdict::Passed,
            interval_ms: 1.0,
            bound_ms: 2.0,
            repetitions: 2,
            cells: vec![cell(Fault::Drop, good()), cell(Fault::Hold, good())],
            excluded: Vec::new(),
            cost: vec![cost("icmp", Some(2.5)), cost("udp", Some(2.0))],
            ping: Some(vec![PingAccount { asked_ms: 20, injected_ms: 20.0, reading: Some(ping) }]),
        }
    }

    /// Without the blanks that pad the table's last column.
    fn trimmed(calibration: &Calibration) -> String {
        text(calibration, Some(100)).lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    #[test]
    fn a_calibration_that_passed() {
        insta::assert_snapshot!(trimmed(&passed()));
    }

    #[test]
    fn a_calibration_that_failed_says_where_and_what_was_not_measured_is_no_zero() {
        let mut calibration = passed();
        calibration.verdict = Verdict::Failed;
        calibration.cells[1].readings[1] = reading("udp", vec![Some(19.9), None], Verdict::Failed);
        calibration.cost[1] = cost("udp", None);
        calibration.ping = None;
        insta::assert_snapshot!(trimmed(&calibration));
    }

    #[test]
    fn a_calibration_that_could_not_tell_says_by_what_the_noise_showed() {
        let mut calibration = passed();
        calibration.verdict = Verdict::Inconclusive;
        calibration.cells[0].readings[0] = reading("icmp", vec![Some(19.9)], Verdict::Inconclusive);
        let late = Excluded { fault: Fault::Drop, asked_ms: 20, why: "the outage began 2.0 ms late".into() };
        calibration.excluded = vec![late; 6];
        calibration.cost[0] = cost("icmp", Some(9.0));
        insta::assert_snapshot!(trimmed(&calibration));
    }
}
