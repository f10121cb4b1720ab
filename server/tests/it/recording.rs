//! Recordings of the real process, and what `server replay` says of them.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sim::log::InputLog;
use sim::replay::header;
use sim::{Input, SCHEMA, World, WorldConfig};

use crate::player::Player;
use crate::running::{Running, run_to_end};

/// A directory that is gone when the test is over.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("zonewire-{name}-{}", std::process::id())))
    }

    fn as_str(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// Its only file.
    fn file(&self) -> PathBuf {
        let mut files = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let file = files.next().unwrap();
        assert_eq!(files.next(), None);
        file
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::create_dir_all(&self.0).unwrap();
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Exit code, report and standard error of a replay.
fn replay(file: &Path, more: &[&str]) -> (Option<i32>, Value, String) {
    let mut args = vec!["replay", file.to_str().unwrap(), "--json"];
    args.extend(more);
    let (code, stdout, stderr) = run_to_end(&args);
    (code, serde_json::from_str(&stdout).unwrap_or_default(), stderr)
}

/// Records some seconds of players who come, stay and go; the process is killed, or told to stop. The last tick that a status
/// line told.
fn record(dir: &Dir, workers: &str, kill: bool) -> u64 {
    let mut running =
        Running::start(&["--record", dir.as_str(), "--workers", workers, "--half-extent", "40", "--gates", "2"]);
    let mut stays = Player::connect(&running);
    let mut goes = Player::connect(&running);
    stays.play_until(|player| player.snapshots >= 10);
    goes.play_until(|player| player.snapshots >= 5);
    drop(goes);
    let tick = running.wait_for("status")["tick"].as_u64().unwrap();
    if kill {
        running.signal(9);
    } else {
        running.signal(signal_hook::consts::SIGTERM);
    }
    assert_eq!(running.wait().code(), if kill { None } else { Some(0) });
    tick
}

#[test]
fn a_recording_replays_to_its_end_with_any_number_of_workers() {
    for workers in ["1", "3"] {
        let dir = Dir::new(&format!("recorded-{workers}"));
        let tick = record(&dir, workers, false);
        let (code, report, stderr) = replay(&dir.file(), &[]);
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!((&report["divergence"], &report["error"]), (&Value::Null, &Value::Null));
        assert!(report["ticks"].as_u64().unwrap() >= tick, "{report}");
        assert_eq!(report["dropped_bytes"], 0);
        assert!(report["speed_x"].as_f64().unwrap() > 1.0, "{report}");
        let name = dir.file().file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("zone1-20") && name.ends_with("Z-seed1.zwil"), "{name}");
    }
}

#[test]
fn a_server_that_is_killed_loses_at_most_the_last_tick() {
    let dir = Dir::new("killed");
    let told = record(&dir, "2", true);
    let (code, report, stderr) = replay(&dir.file(), &[]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(report["divergence"], Value::Null);
    let ticks = report["ticks"].as_u64().unwrap();
    assert!(ticks >= told, "{told} ticks were told, {report}");

    // However it is cut, it replays to the last whole tick.
    let whole = std::fs::read(dir.file()).unwrap();
    let (code, cut, stderr) = replay(&dir.write("cut", &whole[..whole.len() - 3]), &[]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!((cut["ticks"].as_u64(), &cut["divergence"]), (Some(ticks - 1), &Value::Null));
    assert!(cut["dropped_bytes"].as_u64().unwrap() > 0);
}

/// A log of a player who walks; in tick `meddle` something moved it by half a metre.
fn walked(meddle: Option<u64>) -> Vec<u8> {
    let config = WorldConfig { npcs: 3, ..WorldConfig::default() };
    let mut world = World::new(config).unwrap();
    let mut log = InputLog::new(&SCHEMA, &header(&world, true)).unwrap();
    let id = world.spawn_player().unwrap();
    log.join(id);
    for tick in 1..=10 {
        if meddle == Some(tick) {
            world.edit(id, |state, _| state[sim::schema::Z] += 128);
        }
        let input = Input { move_x: 15, ..Input::default() };
        world.step(&[(id, input)]);
        log.tick([(id, input.to_state())].into_iter(), &world.frame());
    }
    log.take_bytes()
}

#[test]
fn the_first_divergence_is_printed_with_both_states_difference() {
    let dir = Dir::new("meddled");
    let file = dir.write("meddled", &walked(Some(6)));
    let (code, report, stderr) = replay(&file, &[]);
    assert_eq!(code, Some(1));
    assert_eq!((&report["ticks"], &report["divergence"]), (&5.into(), &6.into()), "{report}");
    assert!(stderr.contains("tick 6 diverged"), "{stderr}");
    let list = report["differences"]["list"].as_array().unwrap();
    let z = list.iter().find(|one| one["field"] == "z").unwrap();
    assert_eq!((&z["kind"], &z["unit"]), (&"player".into(), &"m".into()));
    assert_eq!(z["recorded"].as_f64().unwrap() - z["replayed"].as_f64().unwrap(), 0.5);

    let (code, stdout, stderr) = run_to_end(&["replay", file.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("tick 6 diverged") && !stdout.contains("diverged"), "it is said once: {stdout}{stderr}");
    assert!(stdout.contains("5 ticks the same") && stdout.contains(": z: recorded "), "{stdout}");
}

#[test]
fn a_tick_is_sought_and_everybodys_state_printed() {
    let dir = Dir::new("sought");
    let file = dir.write("meddled", &walked(Some(6)));
    let (code, report, stderr) = replay(&file, &["--tick", "5"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!((&report["ticks"], &report["divergence"]), (&5.into(), &Value::Null));
    let state = report["state"].as_array().unwrap();
    assert_eq!(state.iter().filter(|one| one["kind"] == "npc").count(), 3);
    let player = state.iter().find(|one| one["kind"] == "player").unwrap();
    assert!(player["vx"].as_f64().unwrap() > 0.0, "{player}");
    assert_eq!(replay(&file, &["--tick", "6"]).0, Some(1), "it diverges on the way");
    let (_, stdout, _) = run_to_end(&["replay", file.to_str().unwrap(), "--tick", "1"]);
    assert!(stdout.starts_with("1 tick the same: 0.050 s at 20 Hz"), "{stdout}");

    let whole = Dir::new("short");
    let mut world = World::new(WorldConfig::default()).unwrap();
    let mut log = InputLog::new(&SCHEMA, &header(&world, true)).unwrap();
    world.step(&[]);
    log.tick([].into_iter(), &world.frame());
    let (code, _, stderr) = replay(&whole.write("short", log.bytes()), &["--tick", "2"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("the last tick of the recording, which is 1"), "{stderr}");
}

#[test]
fn a_damaged_file_is_told_with_the_tick_and_what_is_no_recording_as_such() {
    let dir = Dir::new("damaged");
    let good = walked(None);
    let mut bytes = good.clone();
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    let (code, report, stderr) = replay(&dir.write("middle", &bytes), &[]);
    assert_eq!((code, &report["divergence"]), (Some(1), &Value::Null), "{report}");
    assert!(stderr.contains("the record after tick ") && stderr.contains(" is damaged"), "{stderr}");
    let refused = |name: &str, bytes: &[u8], text: &str| {
        let (code, report, stderr) = replay(&dir.write(name, bytes), &[]);
        assert_eq!((code, &report["ticks"]), (Some(1), &0.into()));
        assert!(stderr.contains(name) && stderr.contains(text), "{stderr}");
    };
    refused("other", b"hello, world", "not an input log");
    refused("empty", b"", "shorter than its header");
    refused("header", &good[..40], "shorter than its header");
    let mut newer = good;
    newer[4] = 99;
    refused("newer", &newer, "version 99");
}

#[test]
fn what_cannot_be_recorded_or_replayed_is_a_mistake_of_the_operator() {
    let (code, _, stderr) = run_to_end(&["replay", "/nonexistent/zone.zwil"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("cannot read /nonexistent/zone.zwil"), "{stderr}");
    assert_eq!(run_to_end(&["replay"]).0, Some(2));
    let (code, stdout, stderr) = run_to_end(&["replay", "--json", "/tmp"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("/tmp is a directory: replay takes one recording"), "{stderr}");
    let udp = ["--listen", "127.0.0.1:0", "--http", ""];
    let (code, _, stderr) = run_to_end(&[&udp[..], &["--record", "/proc/zonewire"]].concat());
    assert_eq!(code, Some(2));
    assert!(stderr.contains("cannot write /proc/zonewire"), "{stderr}");
    let dir = Dir::new("rules");
    let file = dir.write("file", b"");
    let (code, _, stderr) = run_to_end(&[&udp[..], &["--record", file.to_str().unwrap()]].concat());
    assert_eq!(code, Some(2));
    assert!(stderr.contains("file is no directory: record.dir (--record) takes one"), "{stderr}");
    let rules = dir.write("rules.toml", b"[player]\nhealth = 1\n");
    let (code, _, stderr) = run_to_end(&[&udp[..], &["--rules", rules.to_str().unwrap()]].concat());
    assert_eq!(code, Some(2));
    assert!(stderr.contains("rules.toml: "), "{stderr}");
}

#[test]
fn a_world_by_other_rules_is_recorded_with_them() {
    let dir = Dir::new("other-rules");
    let text = sim::game::Rulebook::standard().text().to_owned();
    let rules = dir.write("rules.toml", format!("# house rules\n{text}").as_bytes());
    let recordings = Dir::new("other-recordings");
    let running = Running::start(&["--rules", rules.to_str().unwrap(), "--record", recordings.as_str()]);
    let player = {
        let mut player = Player::connect(&running);
        player.play_until(|player| player.snapshots >= 3);
        player
    };
    drop((player, running));
    drop(dir);
    let (code, report, stderr) = replay(&recordings.file(), &[]);
    assert_eq!((code, &report["divergence"]), (Some(0), &Value::Null), "{stderr}");
    assert!(std::fs::read(recordings.file()).unwrap().windows(13).any(|bytes| bytes == b"# house rules"));
}

/// It said so in its log, and ended with 0.
#[test]
#[cfg(unix)]
fn a_recording_that_a_full_disk_cut_short_ends_the_server_with_1() {
    let recordings = Dir::new("full-disk");
    // Files may have 16 KiB (some shells: 32); who writes more is told so, since the signal is ignored.
    let limits = ["-c", "trap '' XFSZ; ulimit -f 32; exec \"$0\" \"$@\""];
    let mut running = Running::start_through("sh", &limits, &["--record", recordings.as_str(), "--tick-rate", "128"]);
    running.wait_for("the recording ends: it cannot be written");
    running.signal(signal_hook::consts::SIGTERM);
    assert_eq!(running.wait().code(), Some(1));
    let (code, report, stderr) = replay(&recordings.file(), &[]);
    assert_eq!(code, Some(0), "what is there is whole up to a tick: {report} {stderr}");
}
