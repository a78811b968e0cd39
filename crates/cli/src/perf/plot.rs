//! `--plot`: throughput and latency over time, as one SVG file that needs nothing else.
//!
//! Pure: points in, text out. Colours follow the viewer's light or dark scheme.

use std::fmt::Write;

use super::figures::{Produced, digits};
use super::latency::Stamp;
use crate::produce::report::{duration, grouped, rate};

/// How many records were acknowledged by a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Count {
    pub(super) seconds: f64,
    pub(super) records: u64,
}

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 560.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 24.0;
const PANEL_WIDTH: f64 = WIDTH - LEFT - RIGHT;
const THROUGHPUT: Panel = Panel { top: 96.0, height: 180.0 };
const LATENCY: Panel = Panel { top: 326.0, height: 170.0 };
/// At most so many steps along the time axis.
const BINS_MAX: usize = 120;
/// Fewer counts than these in a step say more about the clock than about the run.
const COUNTS_PER_BIN: usize = 3;
/// Fewer latencies than these in a step have no percentiles worth drawing.
const STAMPS_PER_BIN: usize = 20;

const STYLE: &str = "\
  svg { --ground: #ffffff; --ink: #1c2733; --soft: #5b6b7b; --grid: #e3e8ee; --rate: #0b6e99; --half: #2e8b57; --tail: #c2571a; }
  @media (prefers-color-scheme: dark) {
    svg { --ground: #12181f; --ink: #e6edf3; --soft: #9aa8b5; --grid: #2a343f; --rate: #4cb8e6; --half: #5fcf94; --tail: #f0965a; }
  }
  text { font-family: system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; font-size: 13px; fill: #5b6b7b; fill: var(--soft); }
  .ground { fill: #ffffff; fill: var(--ground); }
  .title { font-size: 19px; font-weight: 600; fill: #1c2733; fill: var(--ink); }
  .name { font-weight: 600; fill: #1c2733; fill: var(--ink); }
  .grid { stroke: #e3e8ee; stroke: var(--grid); stroke-width: 1; fill: none; }
  .axis { stroke: #5b6b7b; stroke: var(--soft); stroke-width: 1; fill: none; }
  .rate { stroke: #0b6e99; stroke: var(--rate); }
  .area { fill: #0b6e99; fill: var(--rate); fill-opacity: 0.14; }
  .half { stroke: #2e8b57; stroke: var(--half); }
  .tail { stroke: #c2571a; stroke: var(--tail); }
  .line { stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; fill: none; }
  .dot { stroke-width: 5; }
  .end { text-anchor: end; }
  .middle { text-anchor: middle; }
";

/// The whole picture.
pub(super) fn draw(run: &Produced, counts: &[Count], stamps: &[Stamp]) -> String {
    let end = counts.last().map_or(run.figures.seconds, |last| last.seconds).max(1e-3);
    let rates = throughput(counts, end);
    let latency = latency(stamps, end);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" role=\"img\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\n",
        escape(&title(run)),
    );
    text(&mut svg, 24.0, 36.0, "title", &title(run));
    text(&mut svg, 24.0, 60.0, "", &subtitle(run));

    let time = Axis::to(end);
    let scale = Axis::to(rates.iter().map(|&(_, rate)| rate).fold(0.0, f64::max));
    frame(&mut svg, THROUGHPUT, &time, &scale, "records/s", &rate);
    let top: Vec<(f64, f64)> = steps(&rates, end)
        .into_iter()
        .map(|(seconds, rate)| (time.x(seconds), THROUGHPUT.y(&scale, rate)))
        .collect();
    if let (Some(first), Some(last)) = (top.first(), top.last()) {
        let floor = THROUGHPUT.y(&scale, 0.0);
        let area = format!("M{:.1} {floor:.1}L{}L{:.1} {floor:.1}Z", first.0, points(&top), last.0);
        let _ = writeln!(svg, "<path class=\"area\" d=\"{area}\"/>");
    }
    line(&mut svg, "rate", &[top]);
    legend(&mut svg, THROUGHPUT, &[("rate", "throughput".to_owned())]);

    let highest = latency.iter().map(|bin| bin.p99).fold(0.0, f64::max);
    let scale = Axis::to(highest);
    frame(&mut svg, LATENCY, &time, &scale, "latency, ms", &|ms| {
        if ms == 0.0 { "0".to_owned() } else { trim(ms) }
    });
    for (class, pick) in [("tail", (|bin: &Bin| bin.p99) as fn(&Bin) -> f64), ("half", |bin: &Bin| bin.p50)] {
        line(&mut svg, class, &runs(&latency, &time, |bin| LATENCY.y(&scale, pick(bin))));
    }
    let of_run = |name: &str, value: Option<f64>| match value {
        Some(ms) => format!("{name} (whole run {} ms)", digits(ms)),
        None => format!("{name}: none sampled"),
    };
    let (p50, p99) = run.latency_ms.shown();
    legend(&mut svg, LATENCY, &[("half", of_run("p50", p50)), ("tail", of_run("p99", p99))]);
    for (seconds, label) in time.ticks() {
        let y = LATENCY.top + LATENCY.height + 20.0;
        text(&mut svg, time.x(seconds), y, "middle", &label);
    }
    text(&mut svg, LEFT + PANEL_WIDTH / 2.0, HEIGHT - 18.0, "middle", "seconds since the start");
    svg.push_str("</svg>\n");
    svg
}

fn title(run: &Produced) -> String {
    let figures = &run.figures;
    format!(
        "{} records of {} B to '{}' in {}",
        grouped(figures.records),
        grouped(run.size.into()),
        figures.topic,
        duration(figures.seconds)
    )
}

fn subtitle(run: &Produced) -> String {
    let figures = &run.figures;
    let mut line = format!(
        "{} records/s, {:.1} MB/s, {} partition{}",
        rate(figures.records_per_second),
        figures.megabytes_per_second,
        figures.partitions,
        if figures.partitions == 1 { "" } else { "s" }
    );
    if let (Some(user), Some(system)) = (figures.cpu_user_us_per_record, figures.cpu_system_us_per_record) {
        let _ = write!(line, "; CPU per record {:.3} µs", user + system);
    }
    let _ = write!(line, "; failed {}, retries {}", grouped(run.failed), grouped(run.retries));
    line
}

/// Records per second in each step: the time at which it begins, and the rate.
fn throughput(counts: &[Count], end: f64) -> Vec<(f64, f64)> {
    let bins = (counts.len() / COUNTS_PER_BIN).clamp(1, BINS_MAX);
    let at = |seconds: f64| -> f64 {
        // between two counts the records came evenly, as far as anyone knows
        let after = counts.partition_point(|count| count.seconds < seconds);
        let before = after.checked_sub(1).map_or(Count { seconds: 0.0, records: 0 }, |before| counts[before]);
        let Some(after) = counts.get(after) else { return before.records as f64 };
        let span = (after.seconds - before.seconds).max(1e-9);
        let part = ((seconds - before.seconds) / span).clamp(0.0, 1.0);
        before.records as f64 + part * (after.records.saturating_sub(before.records)) as f64
    };
    let width = end / bins as f64;
    let rate = |bin: usize| {
        let from = bin as f64 * width;
        (from, (at(from + width) - at(from)).max(0.0) / width)
    };
    (0..bins).map(rate).collect()
}

/// The latencies of the records that were acknowledged in one step of time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bin {
    /// Its middle, in seconds, and its number.
    seconds: f64,
    number: usize,
    /// In ms.
    p50: f64,
    p99: f64,
}

/// Steps in which nothing was sampled are left out.
fn latency(stamps: &[Stamp], end: f64) -> Vec<Bin> {
    let bins = (stamps.len() / STAMPS_PER_BIN).clamp(1, BINS_MAX);
    let width = end / bins as f64;
    let mut micros: Vec<Vec<u32>> = vec![Vec::new(); bins];
    for stamp in stamps {
        let bin = (f64::from(stamp.at_ms) / 1000.0 / width) as usize;
        micros[bin.min(bins - 1)].push(stamp.micros);
    }
    let bin = |(number, mut micros): (usize, Vec<u32>)| {
        micros.sort_unstable();
        // the smallest value that so many percent do not exceed
        let at =
            |percent: usize| micros.get((micros.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        let ms = |micros: u32| f64::from(micros) / 1000.0;
        Some(Bin { seconds: (number as f64 + 0.5) * width, number, p50: ms(at(50)?), p99: ms(at(99)?) })
    };
    micros.into_iter().enumerate().filter_map(bin).collect()
}

/// A staircase from values that each hold for one step.
fn steps(values: &[(f64, f64)], end: f64) -> Vec<(f64, f64)> {
    let ends = values.iter().skip(1).map(|&(from, _)| from).chain([end]);
    values.iter().zip(ends).flat_map(|(&(from, value), to)| [(from, value), (to, value)]).collect()
}

/// One line for each run of neighbouring bins: a gap stays a gap.
fn runs(bins: &[Bin], time: &Axis, y: impl Fn(&Bin) -> f64) -> Vec<Vec<(f64, f64)>> {
    bins.chunk_by(|a, b| a.number + 1 == b.number)
        .map(|run| run.iter().map(|bin| (time.x(bin.seconds), y(bin))).collect())
        .collect()
}

#[derive(Clone, Copy)]
struct Panel {
    top: f64,
    height: f64,
}

impl Panel {
    fn y(self, axis: &Axis, value: f64) -> f64 {
        self.top + self.height * (1.0 - value / axis.end)
    }
}

/// From 0 to `end`, a label every `step`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    end: f64,
    step: f64,
    /// The largest value that is to be seen; for time, the end of the axis.
    highest: f64,
}

impl Axis {
    /// Steps of 1, 2 or 5 times a power of ten, at most six.
    fn to(highest: f64) -> Axis {
        let highest = if highest > 0.0 && highest.is_finite() { highest } else { 1.0 };
        let rough = highest / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        Axis { end: (highest / step).ceil() * step, step, highest }
    }

    /// As a time axis, which ends where the run ends.
    fn x(&self, seconds: f64) -> f64 {
        LEFT + PANEL_WIDTH * (seconds / self.highest).clamp(0.0, 1.0)
    }

    fn values(&self) -> impl Iterator<Item = f64> + use<> {
        let (step, count) = (self.step, (self.end / self.step).round() as u32);
        (0..=count).map(move |n| f64::from(n) * step)
    }

    /// The labels of a time axis.
    fn ticks(&self) -> Vec<(f64, String)> {
        let within = self.highest * 1.0001;
        self.values().filter(|seconds| *seconds <= within).map(|seconds| (seconds, trim(seconds))).collect()
    }
}

fn frame(
    svg: &mut String,
    panel: Panel,
    time: &Axis,
    axis: &Axis,
    name: &str,
    label: &dyn Fn(f64) -> String,
) {
    for value in axis.values() {
        let y = panel.y(axis, value);
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{LEFT} {y:.1}h{PANEL_WIDTH}\"/>");
        text(svg, LEFT - 10.0, y + 4.5, "end", &label(value));
    }
    let bottom = panel.top + panel.height;
    for (seconds, _) in time.ticks() {
        let _ = writeln!(svg, "<path class=\"axis\" d=\"M{:.1} {bottom}v5\"/>", time.x(seconds));
    }
    let _ = writeln!(svg, "<path class=\"axis\" d=\"M{LEFT} {bottom}h{PANEL_WIDTH}\"/>");
    text(svg, LEFT, panel.top - 12.0, "name", name);
}

/// At the right, above the panel.
fn legend(svg: &mut String, panel: Panel, entries: &[(&str, String)]) {
    let mut x = LEFT + PANEL_WIDTH;
    let y = panel.top - 12.0;
    for (class, name) in entries.iter().rev() {
        text(svg, x, y, "end", name);
        // about the width of the text: it is not known here
        x -= name.chars().count() as f64 * 6.9 + 30.0;
        let _ = writeln!(svg, "<path class=\"line {class}\" d=\"M{x:.1} {:.1}h20\"/>", y - 4.5);
        x -= 18.0;
    }
}

fn line(svg: &mut String, class: &str, lines: &[Vec<(f64, f64)>]) {
    for line in lines.iter().filter(|line| !line.is_empty()) {
        // a single point is drawn by the line's round ends
        let dot = if line.len() == 1 { " dot" } else { "" };
        let _ = writeln!(svg, "<path class=\"line {class}{dot}\" d=\"M{}h0\"/>", points(line));
    }
}

fn points(line: &[(f64, f64)]) -> String {
    line.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect::<Vec<_>>().join("L")
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, words: &str) {
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(words));
}

/// 2.5, 10, 0.25: no digit too many.
fn trim(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_reaches_its_highest_value_in_a_few_round_steps() {
        for highest in [0.0, 1e-6, 0.3, 1.0, 7.0, 99.9, 100.0, 2.4e6] {
            let axis = Axis::to(highest);
            let values: Vec<f64> = axis.values().collect();
            assert!(axis.end >= highest && values.len() <= 7, "{highest}: {values:?}");
            let digit = axis.step / 10f64.powf(axis.step.log10().floor());
            assert!([1.0, 2.0, 5.0, 10.0].iter().any(|n| (digit - n).abs() < 1e-6), "{highest}: {axis:?}");
        }
    }

    #[test]
    fn throughput_is_the_slope_of_the_counts() {
        // 1000 records/s for a second, then 3000
        let counts: Vec<Count> = (0..=200u64)
            .map(|n| Count { seconds: n as f64 / 100.0, records: n * 10 + n.saturating_sub(100) * 20 })
            .collect();
        let rates = throughput(&counts, 2.0);
        assert!((rates[0].1 - 1000.0).abs() < 1.0, "{rates:?}");
        assert!((rates[rates.len() - 1].1 - 3000.0).abs() < 1.0, "{rates:?}");
        let width = 2.0 / rates.len() as f64;
        let sum: f64 = rates.iter().map(|(_, rate)| rate * width).sum();
        assert!((sum - 4000.0).abs() < 1.0, "no record is lost between the steps: {sum}");
    }

    #[test]
    fn a_step_without_samples_leaves_a_gap_in_the_line() {
        let stamps: Vec<Stamp> = (0..1000u32)
            .filter(|ms| !(400..600).contains(ms))
            .map(|at_ms| Stamp { at_ms, micros: at_ms * 10 })
            .collect();
        let bins = latency(&stamps, 1.0);
        assert!(bins.iter().all(|bin| bin.p50 <= bin.p99));
        assert_eq!(runs(&bins, &Axis::to(1.0), |bin| bin.p50).len(), 2);
        assert!(latency(&[], 1.0).is_empty());
    }

    #[test]
    fn names_cannot_break_the_picture() {
        assert_eq!(escape("a<b>&c"), "a&lt;b&gt;&amp;c");
    }
}
