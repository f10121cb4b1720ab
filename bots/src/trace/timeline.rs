//! Draws a trace: packets, round-trip time, rate, and what happened when, over one time axis.

use std::collections::BTreeMap;

use super::axis::Axis;
use super::reader::Log;
use super::record::{Carries, Event, Record, Role};
use super::summary::Summary;
use super::svg::{Anchor, Svg};

const WIDTH: f64 = 1280.0;
const HEIGHT: f64 = 800.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 1256.0;
const LEGEND_LEFT: f64 = 640.0;
/// From top to bottom, in pixels.
const HEAD: f64 = 28.0;
const LINE: f64 = 16.0;
const MARK_LABELS: f64 = 172.0;
const MARK_ROWS: usize = 3;
const PACKETS: (f64, f64) = (226.0, 466.0);
const RTT: (f64, f64) = (502.0, 602.0);
const RATE: (f64, f64) = (638.0, 738.0);
/// Rough width of a letter of a mark's label.
const LETTER: f64 = 6.0;
/// Bars of the throughput curves over the whole width, at most.
const BINS: u64 = 200;
/// The shortest time that a throughput is an average of.
const SHORTEST_BIN_US: u64 = 100_000;

const STYLE: &str = "text{font:11px sans-serif;fill:#333}.title{font-size:15px;font-weight:bold}\
    .mark{font-size:10px;fill:#555}.frame{fill:none;stroke:#999}.grid{stroke:#eee}.middle{stroke:#666}\
    .vertical{stroke:#888;stroke-dasharray:3 3}path,polyline{fill:none;stroke:currentColor;stroke-width:1.2}\
    .key{fill:currentColor}.snapshot{color:#2a6fdb}.messages{color:#1e9e55}.probe{color:#b060d0}\
    .control{color:#e09020}.ack{color:#aaa}.lost{color:#d22}.dropped{color:#000}.rtt{color:#d0542a}\
    .budget{color:#111}.up{color:#1e9e55}.down{color:#2a6fdb}";

/// What a packet is coloured by: the first of these that it carries.
const KINDS: [(&str, &str); 5] = [
    ("probe", "MTU probe"),
    ("snapshot", "snapshot"),
    ("messages", "messages"),
    ("control", "control"),
    ("ack", "ack only, or not told"),
];
const OTHERS: [(&str, &str); 6] = [
    ("lost", "lost (at the packet sent)"),
    ("dropped", "datagram dropped on arrival"),
    ("rtt", "round-trip time"),
    ("budget", "budget"),
    ("up", "sent"),
    ("down", "received"),
];

fn kind(carries: &Carries) -> &'static str {
    let [probe, snapshot, messages, control, ack] = KINDS.map(|(class, _)| class);
    match carries {
        Carries { probe: true, .. } => probe,
        Carries { snapshot: 1.., .. } => snapshot,
        Carries { channels, .. } if !channels.is_empty() => messages,
        Carries { control: true, .. } => control,
        _ => ack,
    }
}

/// The timeline as an SVG document.
#[must_use]
pub fn draw(log: &Log) -> String {
    let times = || log.records.iter().map(|record| record.time);
    let (start, end) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    let page = Svg::new(WIDTH, HEIGHT, STYLE);
    let x = Axis::new((start as f64, end as f64), (LEFT, RIGHT));
    let mut picture = Picture { log, x, start, end, page };
    picture.head();
    picture.legend();
    picture.time_axis();
    picture.marks();
    picture.packets();
    picture.round_trips();
    picture.rates();
    picture.page.finish()
}

struct Picture<'a> {
    log: &'a Log,
    /// Microseconds to pixels.
    x: Axis,
    start: u64,
    end: u64,
    page: Svg,
}

impl Picture<'_> {
    fn place(&self, time: u64) -> f64 {
        self.x.place(time as f64)
    }

    fn head(&mut self) {
        let header = &self.log.header;
        let role = match header.role {
            Role::Client => "client",
            Role::Server => "server",
        };
        let conn = header.conn.map_or_else(|| "unknown".into(), |conn| format!("{conn:08x}"));
        let title = format!("Zonewire connection {conn}, seen by the {role}");
        self.page.label("title", (LEFT, HEAD), Anchor::Start, &title);
        for (line, y) in Summary::of(self.log).lines().iter().zip(1..) {
            let y = HEAD + 6.0 + f64::from(y) * LINE;
            self.page.label("summary", (LEFT, y), Anchor::Start, line);
        }
    }

    fn legend(&mut self) {
        for ((class, text), at) in KINDS.iter().chain(&OTHERS).zip(0u8..) {
            let x = LEGEND_LEFT + 300.0 * f64::from(at / 6);
            let y = HEAD + 6.0 + LINE * f64::from(1 + at % 6);
            self.page.rect(&format!("key {class}"), (x, y - 8.0), (14.0, 8.0));
            self.page.label("legend", (x + 20.0, y), Anchor::Start, text);
        }
    }

    fn time_axis(&mut self) {
        let seconds = Axis::new((0.0, self.end.saturating_sub(self.start) as f64 / 1e6), (LEFT, RIGHT));
        for tick in seconds.ticks(12) {
            let x = seconds.place(tick);
            for (top, bottom) in [PACKETS, RTT, RATE] {
                self.page.line("grid", (x, top), (x, bottom));
            }
            self.page.label("tick", (x, RATE.1 + 16.0), Anchor::Middle, &short(tick));
        }
        let text = format!("time in s since {:.3} s of the trace", self.start as f64 / 1e6);
        self.page.label("unit", (f64::midpoint(LEFT, RIGHT), RATE.1 + 36.0), Anchor::Middle, &text);
    }

    /// A frame, its name and unit, and ticks of what it shows.
    fn panel(&mut self, (top, bottom): (f64, f64), title: &str, axes: &[Axis]) {
        self.page.rect("frame", (LEFT, top), (RIGHT - LEFT, bottom - top));
        self.page.label("unit", (LEFT, top - 5.0), Anchor::Start, title);
        for axis in axes {
            for tick in axis.ticks(4) {
                let y = axis.place(tick);
                self.page.line("grid", (LEFT, y), (RIGHT, y));
                self.page.label("tick", (LEFT - 6.0, y + 4.0), Anchor::End, &short(tick));
            }
        }
    }

    fn packets(&mut self) {
        let (top, bottom) = PACKETS;
        let middle = f64::midpoint(top, bottom);
        let bytes = |event: &Event| match event {
            Event::PacketSent { bytes, .. } | Event::PacketReceived { bytes, .. } => *bytes,
            _ => 0,
        };
        let largest = f64::from(self.log.records.iter().map(|record| bytes(&record.event)).max().unwrap_or(0));
        let up = Axis::new((0.0, largest), (middle, top + 6.0));
        let down = Axis::new((0.0, largest), (middle, bottom - 6.0));
        self.panel(PACKETS, "packets: bytes of each, sent (up) and received (down)", &[up, down]);
        self.page.line("middle", (LEFT, middle), (RIGHT, middle));
        for (class, _) in KINDS {
            let stroke = |event: &Event| match event {
                Event::PacketSent { bytes, carries, .. } if kind(carries) == class => Some(up.place((*bytes).into())),
                Event::PacketReceived { bytes, carries, .. } if kind(carries) == class => {
                    Some(down.place((*bytes).into()))
                }
                _ => None,
            };
            let records = self.log.records.iter();
            let strokes = records.filter_map(|record| Some((self.place(record.time), stroke(&record.event)?)));
            let strokes: Vec<_> = strokes.map(|(x, y)| ((x, middle), (x, y))).collect();
            self.page.strokes(class, &strokes);
        }
        self.losses(&up);
        self.drops();
    }

    /// A cross on top of each packet that was lost; where the trace lacks that packet, when the loss was noticed.
    fn losses(&mut self, up: &Axis) {
        let (mut sent, mut strokes) = (BTreeMap::new(), Vec::new());
        for record in &self.log.records {
            match &record.event {
                Event::PacketSent { pn, bytes, .. } => {
                    sent.insert(*pn, (record.time, *bytes));
                }
                Event::PacketLost { pn } => {
                    let (time, bytes) = sent.get(pn).copied().unwrap_or((record.time, 0));
                    let (x, y) = (self.place(time), up.place(bytes.into()));
                    strokes.push(((x - 3.0, y - 3.0), (x + 3.0, y + 3.0)));
                    strokes.push(((x - 3.0, y + 3.0), (x + 3.0, y - 3.0)));
                }
                _ => {}
            }
        }
        self.page.strokes("lost", &strokes);
    }

    fn drops(&mut self) {
        let bottom = PACKETS.1;
        let records = self.log.records.iter();
        let drops = records.filter(|record| matches!(record.event, Event::PacketDropped { .. }));
        let strokes: Vec<_> =
            drops.map(|record| self.place(record.time)).map(|x| ((x, bottom), (x, bottom - 6.0))).collect();
        self.page.strokes("dropped", &strokes);
    }

    fn round_trips(&mut self) {
        let sample = |record: &Record| match record.event {
            Event::PacketAcked { rtt_us: Some(rtt), .. } => Some((record.time, rtt as f64 / 1e3)),
            _ => None,
        };
        let samples: Vec<_> = self.log.records.iter().filter_map(sample).collect();
        let y = Axis::new((0.0, largest(&samples)), (RTT.1, RTT.0 + 4.0));
        self.panel(RTT, "round-trip time in ms", &[y]);
        self.curve("rtt", &samples, &y);
    }

    fn rates(&mut self) {
        let mut budget: Vec<(u64, f64)> = Vec::new();
        for record in &self.log.records {
            if let Event::RateUpdated { bytes_per_s } = record.event {
                // It holds until the next one: a step.
                budget.extend(budget.last().map(|(_, before)| (record.time, *before)));
                budget.push((record.time, f64::from(bytes_per_s) / 1e3));
            }
        }
        budget.extend(budget.last().map(|(_, last)| (self.end, *last)));
        let up = self.throughput(|event| matches!(event, Event::PacketSent { .. }));
        let down = self.throughput(|event| matches!(event, Event::PacketReceived { .. }));
        let top = [&budget, &up, &down].into_iter().map(|curve| largest(curve)).fold(0.0, f64::max);
        let y = Axis::new((0.0, top), (RATE.1, RATE.0 + 4.0));
        self.panel(RATE, "budget and throughput in kB/s", &[y]);
        self.curve("down", &down, &y);
        self.curve("up", &up, &y);
        self.curve("budget", &budget, &y);
    }

    /// kB/s, averaged over bins.
    fn throughput(&self, wanted: impl Fn(&Event) -> bool) -> Vec<(u64, f64)> {
        let bin = (self.end.saturating_sub(self.start) / BINS).max(SHORTEST_BIN_US);
        let mut bins: BTreeMap<u64, u64> = BTreeMap::new();
        for record in self.log.records.iter().filter(|record| wanted(&record.event)) {
            if let Event::PacketSent { bytes, .. } | Event::PacketReceived { bytes, .. } = record.event {
                *bins.entry((record.time - self.start) / bin).or_default() += u64::from(bytes);
            }
        }
        let Some((last, _)) = bins.last_key_value() else { return Vec::new() };
        let rate = |at: u64| bins.get(&at).copied().unwrap_or(0) as f64 / bin as f64 * 1e3;
        // More bins than `BINS` there are not, since the last one begins before the end.
        (0..=*last).map(|at| (self.start + at * bin + bin / 2, rate(at))).collect()
    }

    fn curve(&mut self, class: &str, samples: &[(u64, f64)], y: &Axis) {
        let points: Vec<_> = samples.iter().map(|(time, value)| (self.place(*time), y.place(*value))).collect();
        self.page.polyline(class, &thinned(&points));
    }

    /// A vertical line through all panels for each thing that happens rarely, with a label where there is room.
    fn marks(&mut self) {
        let mut row_ends = [f64::MIN; MARK_ROWS];
        for record in &self.log.records {
            let Some(text) = mark(&record.event) else { continue };
            let x = self.place(record.time);
            self.page.line("vertical", (x, PACKETS.0), (x, RATE.1));
            let width = text.chars().count() as f64 * LETTER;
            // At the right edge it ends where it would begin elsewhere.
            let (anchor, left) = if x + width > RIGHT { (Anchor::End, x - width) } else { (Anchor::Start, x) };
            let free = row_ends.iter_mut().zip(0u8..).find(|(end, _)| **end < left);
            if let Some((end, row)) = free {
                *end = left + width + LETTER;
                let y = MARK_LABELS + f64::from(row) * 13.0;
                self.page.label("mark", (x, y), anchor, &text);
                self.page.line("vertical", (x, y + 2.0), (x, PACKETS.0));
            }
        }
    }
}

fn mark(event: &Event) -> Option<String> {
    Some(match event {
        Event::KeyRolled { sending, generation } => {
            format!("{} keys {generation}", if *sending { "own" } else { "peer's" })
        }
        Event::MtuUpdated { bytes } => format!("mtu {bytes}"),
        Event::PathUpdated { step, address } => format!("{step} {address}"),
        Event::StateUpdated { state, reason: Some(reason) } => format!("{state}: {reason}"),
        Event::StateUpdated { state, reason: None } => state.clone(),
        Event::EventsMissed { events } => format!("{events} events missing"),
        _ => return None,
    })
}

fn largest(samples: &[(u64, f64)]) -> f64 {
    samples.iter().map(|(_, value)| *value).fold(0.0, f64::max)
}

/// Of the points within one pixel's width only the highest and the lowest, in their order.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut out = Vec::new();
    for column in points.chunk_by(|a, b| a.0.floor() == b.0.floor()) {
        let key = |at: &usize| column.get(*at).map_or(0.0, |point| point.1);
        let by_height = |a: &usize, b: &usize| key(a).total_cmp(&key(b));
        let lowest = (0..column.len()).min_by(by_height);
        let highest = (0..column.len()).max_by(by_height);
        let mut kept = [lowest, highest];
        kept.sort_unstable();
        let [first, second] = kept;
        out.extend(first.and_then(|at| column.get(at)));
        out.extend(second.filter(|_| first != second).and_then(|at| column.get(at)));
    }
    out
}

/// A number with no more digits than it needs.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
