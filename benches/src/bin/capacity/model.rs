//! The model itself: everything is proportional to the players, but for what each zone's process has of its own.

use std::fmt::Write as _;

use serde_json::Value;

/// Bytes of UDP and IPv4 headers that come with each datagram.
const HEADERS: f64 = 28.0;
/// What Ethernet adds to a packet on the wire: preamble, header, check sequence, gap.
const FRAMING: f64 = 38.0;
/// Kernel memory of a worker's socket, in MiB: both buffers of the default configuration, of which Linux takes twice as much.
const SOCKET_MIB: f64 = 16.0;
/// Seconds of a month of 30 days.
const MONTH: f64 = 30.0 * 86_400.0;

/// What one run measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Costs {
    pub scenario: String,
    pub tick_hz: f64,
    pub players: f64,
    pub workers: f64,
    pub us_per_player_tick: f64,
    /// `None` where the floor was left out.
    pub floor_us_per_player_tick: Option<f64>,
    pub tick_ms_p99: f64,
    pub bytes_down_per_player_s: f64,
    pub packets_out_per_s: f64,
    pub rss_kb_empty: f64,
    pub rss_kb_per_player: f64,
    /// Whether all bounds held; costs of a server that sheds load are too low.
    pub held: bool,
}

/// What is not measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assumptions {
    pub utilisation: f64,
    pub zone_players: f64,
    pub mean_load: f64,
}

/// What so many players take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Need {
    pub cores: f64,
    pub zones: f64,
    pub memory_gib: f64,
    /// As an interface carries it.
    pub wire_gbit_s: f64,
    /// As providers bill it: IP packets, over a month.
    pub month_tb: f64,
}

impl Costs {
    /// From an object of `saturate`'s; the name of what is missing.
    pub fn read(run: &Value) -> Result<Self, &'static str> {
        let number = |name: &'static str| run.get(name).and_then(Value::as_f64).ok_or(name);
        Ok(Self {
            scenario: run.get("scenario").and_then(Value::as_str).ok_or("scenario")?.to_owned(),
            tick_hz: number("tick_hz")?,
            players: number("players")?,
            workers: number("workers")?,
            us_per_player_tick: number("us_per_player_tick")?,
            floor_us_per_player_tick: number("floor_us_per_player_tick").ok(),
            tick_ms_p99: number("tick_ms_p99")?,
            bytes_down_per_player_s: number("bytes_down_per_player_s")?,
            packets_out_per_s: number("packets_out_per_s")?,
            rss_kb_empty: number("rss_kb_empty")?,
            rss_kb_per_player: number("rss_kb_per_player")?,
            held: run.get("held").and_then(Value::as_bool).ok_or("held")?,
        })
    }

    /// What `players` take under these assumptions.
    pub fn need(&self, players: f64, assumptions: &Assumptions) -> Need {
        let Assumptions { utilisation, zone_players, mean_load } = assumptions;
        let zones = (players / zone_players).ceil();
        let packets = self.packets_out_per_s / self.players.max(1.0);
        let ip_bytes_s = players * (self.bytes_down_per_player_s + packets * HEADERS);
        let wire_bytes_s = ip_bytes_s + players * packets * FRAMING;
        let process_mib = self.rss_kb_empty / 1024.0 + SOCKET_MIB * self.workers;
        Need {
            cores: players * self.us_per_player_tick * self.tick_hz / 1e6 / utilisation,
            zones,
            memory_gib: zones * process_mib / 1024.0 + players * self.rss_kb_per_player / 1024.0 / 1024.0,
            wire_gbit_s: wire_bytes_s * 8.0 / 1e9,
            month_tb: ip_bytes_s * mean_load * MONTH / 1e12,
        }
    }
}

/// The measured costs, and a table of needs for each of them, as Markdown.
pub fn tables(costs: &[Costs], players: &[u32], assumptions: &Assumptions) -> String {
    let mut text = String::from("Measured:\n\n");
    text.push_str("| load | players | µs per player and tick | floor, µs | tick p99, ms | bytes/s down per player | KiB per player |\n");
    text.push_str("|---|---|---|---|---|---|---|\n");
    for one in costs {
        let floor = one.floor_us_per_player_tick.map_or_else(|| "-".into(), |floor| format!("{floor:.2}"));
        let _ = writeln!(
            text,
            "| {} {} Hz | {} | {:.2} | {floor} | {:.1} | {:.0} | {:.1} |",
            one.scenario,
            one.tick_hz,
            one.players,
            one.us_per_player_tick,
            one.tick_ms_p99,
            one.bytes_down_per_player_s,
            one.rss_kb_per_player
        );
    }
    let Assumptions { utilisation, zone_players, mean_load } = assumptions;
    let _ = writeln!(
        text,
        "\nNeeded, with {:.0} % of a core's time planned for, at most {zone_players} players a zone, and {:.0} % of the peak \
         online on average:",
        utilisation * 100.0,
        mean_load * 100.0
    );
    for one in costs {
        let _ = writeln!(text, "\n**{} at {} Hz**\n", one.scenario, one.tick_hz);
        if !one.held {
            let _ = writeln!(text, "One core does not hold {} players: nothing can be said from that.", one.players);
            continue;
        }
        text.push_str("| players | cores | zones | memory, GiB | egress, Gbit/s | egress, TB a month |\n|---|---|---|---|---|---|\n");
        for number in players {
            let need = one.need(f64::from(*number), assumptions);
            let Need { cores, zones, memory_gib, wire_gbit_s, month_tb } = need;
            let _ = writeln!(
                text,
                "| {} | {cores:.1} | {zones:.0} | {memory_gib:.2} | {wire_gbit_s:.3} | {month_tb:.1} |",
                grouped(*number)
            );
        }
    }
    text
}

/// With a comma before each three digits.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs() -> Costs {
        Costs {
            scenario: "spread".into(),
            tick_hz: 20.0,
            players: 1000.0,
            workers: 1.0,
            us_per_player_tick: 12.0,
            floor_us_per_player_tick: Some(8.0),
            tick_ms_p99: 9.0,
            bytes_down_per_player_s: 2000.0,
            packets_out_per_s: 20_000.0,
            rss_kb_empty: 8192.0,
            rss_kb_per_player: 16.0,
            held: true,
        }
    }

    const PLAIN: Assumptions = Assumptions { utilisation: 0.5, zone_players: 2000.0, mean_load: 0.5 };

    #[test]
    fn the_arithmetic_is_that_of_the_document() {
        let need = costs().need(10_000.0, &PLAIN);
        // 10,000 · 12 µs · 20 Hz = 2.4 cores, at half of a core's time 4.8.
        assert!((need.cores - 4.8).abs() < 1e-9 && (need.zones - 5.0).abs() < 1e-9);
        // 5 · (8 + 16) MiB + 10,000 · 16 KiB.
        assert!((need.memory_gib - (120.0 / 1024.0 + 160_000.0 / 1_048_576.0)).abs() < 1e-9);
        // 20 datagrams a second of 100 bytes, 66 more on the wire, 28 more on the bill.
        assert!((need.wire_gbit_s - 10_000.0 * 20.0 * 166.0 * 8.0 / 1e9).abs() < 1e-9);
        assert!((need.month_tb - 10_000.0 * 20.0 * 128.0 * 0.5 * MONTH / 1e12).abs() < 1e-9);
    }

    #[test]
    fn a_measurement_without_a_field_names_it() {
        let run = serde_json::json!({ "scenario": "spread", "tick_hz": 20, "players": 5 });
        assert_eq!(Costs::read(&run), Err("workers"));
    }

    #[test]
    fn from_a_load_that_was_not_held_nothing_follows() {
        let text = tables(&[Costs { held: false, ..costs() }], &[2000], &PLAIN);
        assert!(text.contains("does not hold 1000") && !text.contains("| 2,000 |"), "{text}");
    }

    #[test]
    fn every_number_of_players_has_a_line_in_every_table() {
        let text = tables(&[costs(), Costs { scenario: "crowd".into(), ..costs() }], &[2000, 1_000_000], &PLAIN);
        assert_eq!((text.matches("| 2,000 |").count(), text.matches("| 1,000,000 |").count()), (2, 2));
        assert!(text.contains("| spread 20 Hz | 1000 | 12.00 | 8.00 |"), "{text}");
    }
}
