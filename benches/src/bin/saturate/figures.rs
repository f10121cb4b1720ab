//! What a run shows: costs per player, what broke, and what it was that ran out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::drift::{Drift, FEWEST_ROWS};
use crate::floor::Floor;
use crate::measure::Measured;
use crate::series::{Row, drifts, measures};
use crate::setup::{Scenario, Setup};

/// A tick may take that long at its 99th percentile, in milliseconds; or a period, if that is less.
const MAX_TICK_MS: f64 = 50.0;
/// What a client knows of anybody may be that old at the 99th percentile, in ticks. In a crowd this is the newest snapshot's
/// bound: who is not among the nearest has his turn once in 0.95 s, and of who keeps his course nothing is told even then,
/// so that how long ago somebody was confirmed says nothing.
const MAX_STALENESS_TICKS: f64 = 2.0;
/// In a crowd somebody may be shown elsewhere than he is for so many seconds at the 99th percentile (a round of turns), and at
/// all (a round, and as long again as his record may wait for room), and in either case for so many ticks of a round trip.
const MAX_UNTOLD_S: [f64; 2] = [1.0, 2.0];
const ROUND_TRIP_TICKS: f64 = 3.0;
/// The least share of the snapshots due, and not lost on purpose, that must arrive; ...
const MIN_SNAPSHOTS: f64 = 0.99;
/// ... but for so many for each new address: until the client's next packet tells the server of it, until the client, which may
/// look at its socket once a tick, has answered the server's question, and that twice, for a question may be lost.
const SNAPSHOTS_PER_REBIND: f64 = 5.0;
/// A thread that is awake in so much of the time, on a core or waiting for one, has no more to give.
/// (Linux leaves real-time threads no more than 95 %.)
const FULL: f64 = 0.94;
/// Where a bound broke, the bots are to blame from here on: who looks at what has come that late says of the server nothing.
const BOTS_LATE: f64 = 0.85;

/// The figures of one run.
#[derive(Clone, Debug)]
pub struct Figures {
    setup: Setup,
    /// By name, what is a number; each name ends in its unit.
    numbers: BTreeMap<&'static str, f64>,
    /// Microseconds of a core per player and tick, by the server's thread.
    threads: BTreeMap<String, f64>,
    /// What the bots say of connections that ended unwanted and of attempts that failed: causes, and how many.
    causes: [Value; 2],
    broken: Vec<String>,
    /// Of a soak.
    rows: Vec<Row>,
    drifts: Vec<Drift>,
    /// What ran out first.
    pub bottleneck: Bottleneck,
    /// Of a search for the most: what more broke at.
    limit: Option<Limit>,
}

/// A number of players that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub players: u16,
    /// What broke.
    pub broken: Vec<String>,
    /// What ran out.
    pub bottleneck: Bottleneck,
    /// It could not even be measured.
    pub failed: bool,
}

impl Limit {
    /// Of that run.
    pub fn of(figures: &Figures) -> Self {
        let (players, broken) = (figures.players(), figures.broken.clone());
        Self { players, broken, bottleneck: figures.bottleneck, failed: false }
    }
}

/// What ran out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bottleneck {
    /// All bounds held, and every thread had time left.
    None,
    /// A thread of the server had no time left.
    Server,
    /// A thread of the bots had none: more players might have been held.
    Bots,
    /// Some bound broke although every thread had time left.
    Other,
}

impl Bottleneck {
    /// As in the JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Server => "server",
            Self::Bots => "bots",
            Self::Other => "other",
        }
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

impl Figures {
    /// Of that run, and of the floor that was measured beside it.
    pub fn new(setup: &Setup, measured: &Measured, floor: Option<&Floor>) -> Self {
        let mut figures = Self {
            setup: setup.clone(),
            numbers: BTreeMap::new(),
            threads: BTreeMap::new(),
            causes: ["disconnected_by_cause", "failed_by_cause"].map(|name| measured.summary[name].clone()),
            broken: Vec::new(),
            rows: measured.rows.clone(),
            drifts: drifts(setup.scenario, &measured.rows),
            bottleneck: Bottleneck::None,
            limit: None,
        };
        figures.costs(measured, floor);
        figures.traffic(measured);
        figures.times(measured);
        figures.seen_by_bots(&measured.summary);
        figures.coming_and_going(measured);
        figures.judge(measured);
        figures
    }

    fn set(&mut self, name: &'static str, value: f64) {
        self.numbers.insert(name, value);
    }

    /// That figure; NaN where there is none.
    pub fn get(&self, name: &str) -> f64 {
        self.numbers.get(name).copied().unwrap_or(f64::NAN)
    }

    /// How many players.
    pub const fn players(&self) -> u16 {
        self.setup.players
    }

    fn costs(&mut self, measured: &Measured, floor: Option<&Floor>) {
        let Measured { server, bots, busy, stolen, rss_kb, ticks, .. } = measured;
        let players = f64::from(self.setup.players);
        let each = players * *ticks as f64;
        let us = ratio(server.cpu_us, each);
        self.set("us_per_player_tick", us);
        self.set("user_us_per_player_tick", ratio(server.user_us, each));
        self.set("system_us_per_player_tick", ratio(server.cpu_us - server.user_us, each));
        self.set("bots_us_per_player_tick", ratio(bots.cpu_us, each));
        self.threads = server.by_thread.iter().map(|(name, cpu_us)| (name.clone(), ratio(*cpu_us, each))).collect();
        if let Some(floor) = floor {
            self.set("floor_us_per_player_tick", floor.us_per_player_tick);
            self.set("floor_user_us_per_player_tick", floor.user_us_per_player_tick);
            self.set("floor_packets_in_per_s", floor.packets_in_per_s);
            self.set("floor_packets_out_per_s", floor.packets_out_per_s);
            self.set("ratio", ratio(us, floor.us_per_player_tick));
        }
        let [server_used, bots_used] = [server, bots].map(|used| ratio(used.cpu_us / 1e6, measured.seconds));
        let [server_awake, bots_awake] = [server, bots].map(|used| ratio(used.awake_us / 1e6, measured.seconds));
        self.set("server_core_busy", busy[0]);
        self.set("bots_core_busy", busy[1]);
        self.set("server_core_stolen", stolen[0]);
        self.set("bots_core_stolen", stolen[1]);
        self.set("server_cores_used", server_used);
        self.set("bots_cores_used", bots_used);
        self.set("server_thread_awake", server_awake);
        self.set("bots_thread_awake", bots_awake);
        self.set("rss_kb_empty", rss_kb[0] as f64);
        self.set("rss_kb", rss_kb[1] as f64);
        self.set("rss_kb_per_player", ratio(rss_kb[1].saturating_sub(rss_kb[0]) as f64, players));
        self.set("context_switches_voluntary_per_s", ratio(server.voluntary as f64, measured.seconds));
        self.set("context_switches_involuntary_per_s", ratio(server.involuntary as f64, measured.seconds));
    }

    fn traffic(&mut self, measured: &Measured) {
        let Measured { status, seconds, udp_drops, .. } = measured;
        let players = f64::from(self.setup.players);
        let per_s = |count: u64| ratio(count as f64, *seconds);
        let (packets_in, packets_out) = (per_s(status.packets_in), per_s(status.packets_out));
        self.set("packets_in_per_s", packets_in);
        self.set("packets_out_per_s", packets_out);
        self.set("bytes_in_per_s", per_s(status.bytes_in));
        self.set("bytes_out_per_s", per_s(status.bytes_out));
        self.set("datagram_in_bytes", ratio(status.bytes_in as f64, status.packets_in as f64));
        self.set("datagram_out_bytes", ratio(status.bytes_out as f64, status.packets_out as f64));
        self.set("bytes_down_per_player_s", per_s(status.bytes_out) / players);
        self.set("bytes_up_per_player_s", per_s(status.bytes_in) / players);
        self.set("snapshots_cut_share", ratio(status.snapshots_cut as f64, status.snapshots as f64));
        self.set("drops_server_socket", udp_drops.here as f64);
        self.set("drops_other_sockets", (udp_drops.everywhere - udp_drops.here) as f64);
        self.set("drops_queues", status.queue_drops as f64);
        self.set("drops_send", status.send_drops as f64);
    }

    fn times(&mut self, measured: &Measured) {
        let Measured { times, status, seconds, ticks, .. } = measured;
        self.set("settled_s", measured.settled_s);
        self.set("seconds", *seconds);
        self.set("ticks", *ticks as f64);
        self.set("ticks_skipped", status.skipped as f64);
        self.set("tick_ms_p50", times.round.quantile_ms(0.5));
        self.set("tick_ms_p99", times.round.quantile_ms(0.99));
        self.set("tick_ms_max", times.round.quantile_ms(1.0));
        self.set("zone_ms_p50", times.tick.quantile_ms(0.5));
        self.set("zone_ms_p99", times.tick.quantile_ms(0.99));
        self.set("send_ms_p50", times.send.quantile_ms(0.5));
        self.set("send_ms_p99", times.send.quantile_ms(0.99));
        self.set("late_ms_p99", times.late.quantile_ms(0.99));
        self.set("late_ms_p999", times.late.quantile_ms(0.999));
    }

    fn seen_by_bots(&mut self, summary: &Value) {
        let field = |name: &str| summary.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        let connected = field("connected");
        self.set("players_connected", connected);
        self.set("players_failed", field("failed"));
        self.set("players_disconnected", field("disconnected"));
        self.set("staleness_ticks_p50", field("staleness_ticks_p50"));
        self.set("staleness_ticks_p99", field("staleness_ticks_p99"));
        self.set("view_age_ticks_p99", field("view_age_ticks_p99"));
        self.set("untold_ticks_p99", field("untold_ticks_p99"));
        self.set("untold_ticks_max", field("untold_ticks_max"));
        self.set("untold_looks", field("untold_looks"));
        self.set("rtt_ms_p50", field("rtt_ms_p50"));
        self.set("rtt_ms_p99", field("rtt_ms_p99"));
        self.set("snapshot_rate", field("snapshot_rate"));
        self.set("entities_seen_mean", field("entities_seen_mean"));
        self.set("input_margin_ticks_p1", field("input_margin_p1"));
    }

    fn coming_and_going(&mut self, measured: &Measured) {
        let field = |name: &str| measured.summary.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        for name in ["leaves", "reconnects", "reconnects_failed", "rebinds", "rebinds_survived", "rebinds_lost"] {
            self.set(name, field(name));
        }
        self.set("disconnects", measured.status.disconnects as f64);
        self.set("roams", measured.status.roams as f64);
        self.set("left_behind", measured.left_behind as f64);
    }

    /// The least share of the snapshots due that must arrive: not what was lost on purpose, nor what went to addresses that were
    /// given up.
    fn min_snapshots(&self) -> f64 {
        let Setup { loss, rebind, tick_hz, .. } = &self.setup;
        let rebinds_per_s = rebind / 100.0 / 60.0;
        let to_nobody = rebinds_per_s * SNAPSHOTS_PER_REBIND / f64::from(*tick_hz);
        MIN_SNAPSHOTS * (1.0 - loss / 100.0) * (1.0 - to_nobody)
    }

    /// Which bounds broke, and why.
    fn judge(&mut self, measured: &Measured) {
        let max_tick_ms = MAX_TICK_MS.min(self.setup.period_ms());
        let players = f64::from(self.setup.players);
        let crowd = self.setup.scenario == Scenario::Crowd;
        let untold = |seconds: f64| seconds * f64::from(self.setup.tick_hz) + ROUND_TRIP_TICKS;
        let starved = self.get("untold_ticks_p99") > untold(MAX_UNTOLD_S[0])
            || self.get("untold_ticks_max") > untold(MAX_UNTOLD_S[1]);
        // The bots' window is a little longer than the server's here, so that all of these are among theirs.
        let unwanted = self.get("disconnects") > self.get("leaves");
        let bounds = [
            (self.get("players_connected") < players, "not all got in"),
            (self.get("players_disconnected") > 0.0 || unwanted, "players were disconnected"),
            (self.get("reconnects_failed") > 0.0, "somebody who came back was not let in at once"),
            (self.get("rebinds_lost") > 0.0, "a connection did not go on at a new address"),
            (self.get("left_behind") > 0.0, "the server kept connections or players that had left"),
            (self.get("tick_ms_p99") > max_tick_ms, "tick p99 above its bound"),
            (measured.status.skipped > 0, "ticks were skipped"),
            (!crowd && self.get("staleness_ticks_p99") > MAX_STALENESS_TICKS, "staleness p99 above 2 ticks"),
            (self.get("view_age_ticks_p99") > MAX_STALENESS_TICKS, "newest snapshot's age p99 above 2 ticks"),
            (crowd && starved, "somebody is starved"),
            (self.get("snapshot_rate") < self.min_snapshots(), "snapshots are missing"),
            (self.get("drops_server_socket") > 0.0, "the server's socket overflowed"),
            (self.get("drops_queues") + self.get("drops_send") > 0.0, "the server dropped datagrams"),
        ];
        self.broken = bounds.into_iter().filter(|(broken, _)| *broken).map(|(_, what)| what.to_owned()).collect();
        self.broken.extend(self.drifts.iter().filter_map(Drift::broken));
        let bots_full = if self.broken.is_empty() { FULL } else { BOTS_LATE };
        let full = [self.get("server_thread_awake") >= FULL, self.get("bots_thread_awake") >= bots_full];
        self.bottleneck = match full.into() {
            (true, false) => Bottleneck::Server,
            (false, true) => Bottleneck::Bots,
            // Both full: the server is, if its ticks are late; the bots only look at what comes.
            (true, true) if self.get("tick_ms_p99") > max_tick_ms => Bottleneck::Server,
            (true, true) => Bottleneck::Bots,
            (false, false) if self.broken.is_empty() => Bottleneck::None,
            (false, false) => Bottleneck::Other,
        };
    }

    /// Of a soak: what happened in each few seconds.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Of a soak: whether anything grew.
    pub fn drifts(&self) -> &[Drift] {
        &self.drifts
    }

    /// Of a soak: why it is not told whether something grew, where it is not.
    pub fn no_verdict(&self) -> Option<String> {
        let told = |key: &str| self.drifts.iter().any(|drift| drift.key == key);
        let measures = measures(self.setup.scenario);
        let missing: Vec<_> =
            measures.iter().filter(|measure| !told(measure.key)).map(|measure| measure.name).collect();
        if !self.setup.soak || missing.is_empty() {
            return None;
        }
        let rows = self.rows.len();
        Some(if rows < FEWEST_ROWS {
            format!(
                "{rows} rows are too few to tell whether anything grows, it takes {FEWEST_ROWS}: give --seconds 10 or more"
            )
        } else {
            format!("too few rows have a figure to tell whether this grows: {}", missing.join(", "))
        })
    }

    /// Where the players were and what they did.
    pub const fn scenario(&self) -> Scenario {
        self.setup.scenario
    }

    /// The bounds that broke, in words; empty: all held.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    /// As the most that hold, below that limit: what ran out is what stopped more, not what is left at this number.
    pub fn below(mut self, limit: Option<Limit>) -> Self {
        if let Some(limit) = limit.as_ref().filter(|_| self.broken.is_empty()) {
            self.bottleneck = limit.bottleneck;
        }
        self.limit = limit;
        self
    }

    /// What more broke at, in words, after a search for the most.
    pub fn limit(&self) -> Option<String> {
        let Limit { players, broken, .. } = self.limit.as_ref()?;
        Some(format!("{players} players: {}", broken.join(", ")))
    }

    /// Of several runs of the same load the medians of each figure; what broke in any of them. Nothing of nothing.
    pub fn median(runs: &[Self]) -> Option<Self> {
        let mut all = runs.last()?.clone();
        for (name, number) in &mut all.numbers {
            *number = median(runs.iter().map(|run| run.get(name)));
        }
        for (name, number) in &mut all.threads {
            *number = median(runs.iter().map(|run| run.threads.get(name).copied().unwrap_or(0.0)));
        }
        all.broken = Vec::new();
        for what in runs.iter().flat_map(|run| &run.broken) {
            if !all.broken.contains(what) {
                all.broken.push(what.clone());
            }
        }
        let worst = runs.iter().find(|run| !run.broken.is_empty()).or(runs.last())?;
        all.bottleneck = worst.bottleneck;
        Some(all)
    }

    /// As scripts read it.
    pub fn json(&self) -> Value {
        let Setup { scenario, players, tick_hz, workers, full_bots, light_every, visible, churn, rebind, loss, .. } =
            &self.setup;
        let mut object = serde_json::Map::new();
        object.insert("scenario".into(), json!(scenario.name()));
        object.insert("players".into(), json!(players));
        object.insert("tick_hz".into(), json!(tick_hz));
        object.insert("workers".into(), json!(workers));
        object.insert("full_bots".into(), json!(full_bots.min(players)));
        object.insert("light_every".into(), json!(light_every));
        object.insert("huge_pages".into(), json!(self.setup.huge_pages));
        object.insert("bots_share_a_core".into(), json!(self.setup.shares_core()));
        object.insert("visible".into(), json!(visible));
        object.insert("churn_percent_per_minute".into(), json!(churn));
        object.insert("rebind_percent_per_minute".into(), json!(rebind));
        object.insert("loss_percent".into(), json!(loss));
        object.insert("bottleneck".into(), json!(self.bottleneck.name()));
        object.insert("held".into(), json!(self.broken.is_empty()));
        object.insert("broken".into(), json!(self.broken));
        if let Some(Limit { players, broken, .. }) = &self.limit {
            object.insert("limit_players".into(), json!(players));
            object.insert("limit_broken".into(), json!(broken));
        }
        for (name, number) in &self.numbers {
            object.insert((*name).into(), json!((number * 1e4).round() / 1e4));
        }
        let threads: BTreeMap<_, _> = self.threads.iter().map(|(name, us)| (name, (us * 1e4).round() / 1e4)).collect();
        object.insert("us_per_player_tick_by_thread".into(), json!(threads));
        let [disconnected, failed] = &self.causes;
        object.insert("players_disconnected_by_cause".into(), disconnected.clone());
        object.insert("players_failed_by_cause".into(), failed.clone());
        if self.setup.soak {
            let drifts: BTreeMap<_, _> = self.drifts.iter().map(|drift| (drift.key, drift.json())).collect();
            object.insert("series".into(), self.rows.iter().map(Row::json).collect());
            object.insert("drift".into(), json!(drifts));
            object.insert("no_verdict".into(), json!(self.no_verdict()));
        }
        Value::Object(object)
    }

    /// How much of the server's core strangers took, 0 to 1: what makes every figure doubtful.
    pub fn disturbance(&self) -> f64 {
        let cores = self.setup.server_cores.len() as f64;
        // Bots that share its cores are no strangers.
        let bots = if self.setup.shares_core() { self.get("bots_cores_used") } else { 0.0 };
        (self.get("server_core_busy") - (self.get("server_cores_used") + bots) / cores).max(0.0)
    }

    /// One line for the progress on standard error.
    pub fn line(&self) -> String {
        let broken = if self.broken.is_empty() { "held".to_owned() } else { self.broken.join(", ") };
        format!(
            "{} players, settled for {:.0} s: {:.2} µs per player and tick, tick p99 {:.1} ms, staleness p99 {:.2} ticks, busiest threads {:.0} % / \
             {:.0} %: {broken}",
            self.setup.players,
            self.get("settled_s"),
            self.get("us_per_player_tick"),
            self.get("tick_ms_p99"),
            self.get("staleness_ticks_p99"),
            self.get("server_thread_awake") * 100.0,
            self.get("bots_thread_awake") * 100.0,
        )
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied().unwrap_or(f64::NAN);
    if sorted.len() % 2 == 1 {
        upper
    } else {
        (upper + sorted.get(middle.wrapping_sub(1)).copied().unwrap_or(upper)) / 2.0
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::proc::Used;
    use crate::series::tests::rows;
    use crate::setup::tests::setup;

    fn measured(busy: [f64; 2], staleness: f64) -> Measured {
        let summary = json!({
            "connected": 100, "failed": 0, "disconnected": 0, "snapshot_rate": 1.0, "staleness_ticks_p99": staleness,
        });
        let [server, bots] = busy.map(|busy| Used { cpu_us: busy * 2e6, awake_us: busy * 2e6, ..Used::default() });
        Measured { seconds: 2.0, ticks: 40, busy, server, bots, summary, rss_kb: [1000, 2500], ..Measured::default() }
    }

    /// A run with so many players, all of whom got in.
    pub fn run(players: u16, busy: [f64; 2], staleness: f64) -> Figures {
        let mut measured = measured(busy, staleness);
        measured.summary["connected"] = json!(players);
        Figures::new(&setup(players, Scenario::Spread), &measured, None)
    }

    fn judged(busy: [f64; 2], staleness: f64) -> Figures {
        Figures::new(&setup(100, Scenario::Spread), &measured(busy, staleness), None)
    }

    #[test]
    fn a_run_within_its_bounds_holds() {
        let figures = judged([0.5, 0.6], 1.2);
        assert_eq!((figures.broken().len(), figures.bottleneck), (0, Bottleneck::None));
        assert!((figures.get("rss_kb_per_player") - 15.0).abs() < 1e-9);
    }

    /// What is wrong with a run in which so many left, as many per cent of the datagrams were lost, and `change` happened.
    fn of_churn(loss: f64, rebind: f64, change: impl FnOnce(&mut Measured)) -> String {
        let mut measured = measured([0.5, 0.6], 1.2);
        for (name, value) in [("leaves", 50), ("reconnects", 48), ("rebinds", 40), ("rebinds_survived", 40)] {
            measured.summary[name] = json!(value);
        }
        measured.status.disconnects = 49;
        change(&mut measured);
        let setup = Setup { churn: 300.0, rebind, loss, ..setup(100, Scenario::Spread) };
        Figures::new(&setup, &measured, None).broken().join(", ")
    }

    #[test]
    fn who_leaves_on_purpose_was_not_disconnected_and_whoever_else_goes_was() {
        assert_eq!(of_churn(0.0, 0.0, |_| {}), "");
        assert_eq!(of_churn(0.0, 0.0, |run| run.status.disconnects = 51), "players were disconnected");
        assert_eq!(of_churn(0.0, 0.0, |run| run.summary["disconnected"] = json!(1)), "players were disconnected");
        let failed = of_churn(0.0, 0.0, |run| run.summary["reconnects_failed"] = json!(1));
        assert_eq!(failed, "somebody who came back was not let in at once");
        let stuck = of_churn(0.0, 0.0, |run| run.left_behind = 1);
        assert_eq!(stuck, "the server kept connections or players that had left");
        let lost = of_churn(0.0, 0.0, |run| run.summary["rebinds_lost"] = json!(1));
        assert_eq!(lost, "a connection did not go on at a new address");
        let mut quiet = measured([0.5, 0.6], 1.2);
        quiet.status.disconnects = 1;
        let figures = Figures::new(&setup(100, Scenario::Spread), &quiet, None);
        assert_eq!(figures.broken(), ["players were disconnected"], "where nobody leaves, nobody may");
    }

    #[test]
    fn what_is_lost_on_purpose_is_not_missing_and_what_else_is_lost_is() {
        let of = |loss, rebind, rate: f64| of_churn(loss, rebind, |run| run.summary["snapshot_rate"] = json!(rate));
        assert_eq!(of(5.0, 0.0, 0.945), "");
        assert_eq!(of(5.0, 0.0, 0.935), "snapshots are missing");
        assert_eq!(of(0.0, 0.0, 0.985), "snapshots are missing");
        // Three times a minute a quarter of a second.
        assert_eq!(of(0.0, 300.0, 0.985), "");
        assert_eq!(of(0.0, 300.0, 0.97), "snapshots are missing");
    }

    #[test]
    fn a_soak_in_which_memory_grows_does_not_hold_and_says_why() {
        let soak = |leak_kb| {
            let setup = Setup { soak: true, ..setup(100, Scenario::Spread) };
            let measured = Measured { rows: rows(180, leak_kb), ..measured([0.5, 0.6], 1.2) };
            Figures::new(&setup, &measured, None)
        };
        let json = soak(0.0).json();
        assert_eq!((&json["held"], &json["drift"]["rss_kb"]["verdict"]), (&true.into(), &"steady".into()));
        assert_eq!(json["series"].as_array().unwrap().len(), 180);
        for key in ["tick_ms_p99", "staleness_ticks_p99", "us_per_player_tick"] {
            let drift = &json["drift"][key];
            let numbers = ["mean", "growth", "two_errors", "bound"];
            assert!(numbers.iter().all(|name| drift[name].is_number()), "{key}: {drift}");
        }
        let leaks = soak(20.0);
        assert_eq!((leaks.broken().len(), leaks.json()["held"].clone()), (1, false.into()));
        assert!(leaks.broken()[0].starts_with("memory grew by 6"), "{:?}", leaks.broken());
        assert!(judged([0.5, 0.6], 1.2).json()["series"].is_null(), "only a soak has a series");
    }

    #[test]
    fn a_soak_too_short_to_tell_whether_anything_grows_says_so() {
        let soak = |rows| {
            let setup = Setup { soak: true, ..setup(100, Scenario::Spread) };
            Figures::new(&setup, &Measured { rows, ..measured([0.5, 0.6], 1.2) }, None)
        };
        let short = soak(rows(8, 0.0)).json();
        assert!(short["no_verdict"].as_str().unwrap().starts_with("8 rows are too few"), "{short}");
        assert!(short["drift"].as_object().unwrap().is_empty(), "{short}");
        assert!(soak(rows(9, 0.0)).json()["no_verdict"].is_null());
        let silent = rows(180, 0.0).into_iter().map(|row| Row { staleness_ticks_p99: f64::NAN, ..row }).collect();
        assert!(soak(silent).no_verdict().unwrap().ends_with("whether this grows: staleness p99"));
        assert!(judged([0.5, 0.6], 1.2).json().get("no_verdict").is_none(), "only a soak");
    }

    #[test]
    fn the_bots_are_to_blame_where_only_their_core_is_full() {
        assert_eq!(judged([0.7, 0.99], 3.0).bottleneck, Bottleneck::Bots);
        assert_eq!(judged([0.99, 0.6], 3.0).bottleneck, Bottleneck::Server);
        assert_eq!(judged([0.99, 0.99], 3.0).bottleneck, Bottleneck::Bots);
        assert_eq!(judged([0.7, 0.9], 3.0).bottleneck, Bottleneck::Bots, "they came late to what was there");
        assert_eq!(judged([0.7, 0.9], 1.0).bottleneck, Bottleneck::None);
        let figures = judged([0.5, 0.5], 3.0);
        assert_eq!(figures.bottleneck, Bottleneck::Other);
        assert_eq!(figures.broken(), ["staleness p99 above 2 ticks"]);
    }

    #[test]
    fn in_a_crowd_nobody_may_starve_and_how_long_ago_somebody_was_confirmed_does_not_count() {
        let broken = |name: &str, value: f64| {
            let mut measured = measured([0.5, 0.6], 70.0);
            measured.summary[name] = json!(value);
            Figures::new(&setup(100, Scenario::Crowd), &measured, None).broken().join(", ")
        };
        assert_eq!(broken("untold_ticks_p99", 23.0), "");
        assert_eq!(broken("untold_ticks_max", 43.0), "");
        assert_eq!(broken("untold_ticks_p99", 24.0), "somebody is starved");
        assert_eq!(broken("untold_ticks_max", 44.0), "somebody is starved");
        assert_eq!(broken("view_age_ticks_p99", 2.1), "newest snapshot's age p99 above 2 ticks");
        assert_eq!(broken("snapshot_rate", 0.9), "snapshots are missing");
    }

    #[test]
    fn a_core_that_strangers_fill_is_not_ours_to_blame() {
        let mut run = measured([0.3, 0.3], 1.0);
        run.busy = [1.0, 1.0];
        let figures = Figures::new(&setup(100, Scenario::Spread), &run, None);
        assert_eq!(figures.bottleneck, Bottleneck::None);
        assert!((figures.disturbance() - 0.7).abs() < 1e-9);
        let shared = Setup { bots_cores: vec![0], ..setup(100, Scenario::Spread) };
        assert!((Figures::new(&shared, &run, None).disturbance() - 0.4).abs() < 1e-9, "the bots are ours");
    }

    #[test]
    fn of_several_runs_the_medians_count_and_whatever_broke() {
        let runs = [judged([0.5, 0.5], 1.0), judged([0.5, 0.5], 9.0), judged([0.5, 0.5], 1.4)];
        let all = Figures::median(&runs).unwrap();
        assert!((all.get("staleness_ticks_p99") - 1.4).abs() < 1e-9);
        assert_eq!((all.broken().len(), all.bottleneck), (1, Bottleneck::Other));
        assert!(Figures::median(&[]).is_none());
    }
}
