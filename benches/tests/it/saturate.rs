//! `saturate` on a small scale: the contract with scripts, errors that say what to do, and no process left behind.
//!
//! The server and the bots are packages of their own, which a test of this one cannot have built: where they are not
//! beside `saturate`, the runs are left out, with a word.
#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "real processes, seen from outside: wall time")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const SATURATE: &str = env!("CARGO_BIN_EXE_saturate");

fn saturate(args: &[&str]) -> Output {
    Command::new(SATURATE).args(args).args(["--bots-core", other_core()]).output().unwrap()
}

/// Machines with one core have it for both.
fn other_core() -> &'static str {
    if thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) { "1" } else { "0" }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Whether there is something to run.
fn has_programs() -> bool {
    let there = ["server", "bots"].iter().all(|name| Path::new(SATURATE).with_file_name(name).is_file());
    if !there {
        eprintln!("left out: build the packages server and bots first");
    }
    there
}

#[test]
fn twenty_players_are_measured_and_every_figure_of_the_contract_is_there() {
    let _alone = crate::alone();
    if !has_programs() {
        return;
    }
    let output = saturate(&["--players", "20", "--seconds", "1", "--settle", "1", "--full-bots", "10", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json: Value = serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap();
    let number = |name: &str| json[name].as_f64().unwrap_or_else(|| panic!("{name}: {json}"));
    assert_eq!((number("players"), &json["scenario"]), (20.0, &"spread".into()));
    assert!(["none", "server", "bots", "other"].contains(&json["bottleneck"].as_str().unwrap()));
    for (name, least, most) in [
        ("us_per_player_tick", 1.0, 5000.0),
        ("floor_us_per_player_tick", 0.5, 5000.0),
        ("ratio", 0.1, 1000.0),
        ("tick_ms_p50", 0.001, 1000.0),
        ("tick_ms_p99", 0.001, 5000.0),
        ("staleness_ticks_p99", 0.1, 200.0),
        ("bytes_down_per_player_s", 100.0, 30_000.0),
        ("rss_kb_per_player", 0.0, 2000.0),
        ("players_connected", 20.0, 20.0),
    ] {
        assert!((least..=most).contains(&number(name)), "{name}: {json}");
    }
    // The floor moved as much as the server.
    let ratio = number("floor_packets_out_per_s") / number("packets_out_per_s");
    assert!((0.7..1.4).contains(&ratio), "{ratio}: {json}");
}

#[test]
fn a_server_of_two_workers_shares_its_cores_with_bots_that_take_their_turn_in_every_fourth_tick() {
    let _alone = crate::alone();
    if !has_programs() {
        return;
    }
    let mut args =
        vec!["--players", "40", "--seconds", "2", "--settle", "1", "--full-bots", "4", "--json", "--no-floor"];
    let cores = format!("0,{}", other_core());
    args.extend(["--workers", "2", "--server-core", &cores, "--bots-core", "0", "--bot-threads", "2"]);
    args.extend(["--light-every", "4"]);
    let output = saturate(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json: Value = serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap();
    let number = |name: &str| json[name].as_f64().unwrap_or_else(|| panic!("{name}: {json}"));
    assert_eq!((number("players_connected"), number("light_every")), (40.0, 4.0), "{json}");
    assert_eq!(json["bots_share_a_core"], true, "{json}");
    // Of 4 whole ones 80 to 240 a second, of 36 light ones 180.
    assert!((200.0..500.0).contains(&number("packets_in_per_s")), "{json}");
    for thread in ["worker-0", "worker-1"] {
        assert!(json["us_per_player_tick_by_thread"][thread].as_f64() > Some(0.0), "{json}");
    }
}

#[test]
fn players_come_and_go_change_their_addresses_and_lose_datagrams_and_nobody_is_lost() {
    let _alone = crate::alone();
    if !has_programs() {
        return;
    }
    let plot = std::env::temp_dir().join(format!("saturate-test-{}.svg", std::process::id()));
    let series = plot.with_extension("soak.svg");
    let mut args =
        vec!["--players", "60", "--full-bots", "20", "--seconds", "10", "--settle", "1", "--json", "--no-floor"];
    args.extend(["--churn", "300", "--rebind", "300", "--loss", "1", "--soak", "--plot", plot.to_str().unwrap()]);
    let output = saturate(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json: Value = serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap();
    let number = |name: &str| json[name].as_f64().unwrap_or_else(|| panic!("{name}: {json}"));
    // 60 players three times a minute for ten seconds: 30 of each, and as many as the bots' longer window has more.
    for (name, least, most) in [
        ("leaves", 25.0, 60.0),
        ("reconnects", 15.0, 60.0),
        ("rebinds", 25.0, 60.0),
        ("rebinds_survived", 20.0, 60.0),
        ("disconnects", 15.0, number("leaves")),
        ("roams", 15.0, 60.0),
        ("reconnects_failed", 0.0, 0.0),
        ("rebinds_lost", 0.0, 0.0),
        ("players_connected", 60.0, 60.0),
        ("players_disconnected", 0.0, 0.0),
        ("players_failed", 0.0, 0.0),
        ("left_behind", 0.0, 0.0),
        ("snapshot_rate", 0.9, 0.995),
    ] {
        assert!((least..=most).contains(&number(name)), "{name}: {json}");
    }
    for name in ["players_disconnected_by_cause", "players_failed_by_cause"] {
        assert_eq!(json[name].as_object().map(|causes| causes.len()), Some(0), "{json}");
    }
    let rows = json["series"].as_array().unwrap();
    assert!((9..=11).contains(&rows.len()), "{json}");
    for row in rows {
        assert!(row["rss_kb"].as_f64() > Some(1000.0) && row["tick_ms_p99"].as_f64() > Some(0.0), "{row}");
        assert!((1..=60).contains(&row["players"].as_u64().unwrap()), "{row}");
    }
    assert!(rows.iter().filter(|row| row["staleness_ticks_p99"].as_f64() > Some(0.1)).count() > 5, "{json}");
    for key in ["rss_kb", "tick_ms_p99", "staleness_ticks_p99", "us_per_player_tick"] {
        assert!(["steady", "unclear", "grows"].contains(&json["drift"][key]["verdict"].as_str().unwrap()), "{json}");
    }
    for file in [plot, series] {
        assert!(fs::read_to_string(&file).unwrap().ends_with("</svg>\n"));
        fs::remove_file(file).unwrap();
    }
}

/// Each step began 3 s after the last one was in, while the server still shed what it need not.
#[test]
fn a_search_for_the_most_measures_when_the_server_is_calm() {
    let _alone = crate::alone();
    if !has_programs() {
        return;
    }
    // As many descriptors as 20 players take: that many are the most there can be.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 84; exec \"$0\" \"$@\"", SATURATE, "--bots-core", other_core()]);
    command.args(["--players", "max", "--seconds", "1", "--no-floor", "--json"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json: Value = serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap();
    assert_eq!((&json["players"], &json["players_connected"].as_f64()), (&20.into(), &Some(20.0)), "{json}");
    // Five seconds alike: at least four and a part of one. Nothing is stirred up here, so not all of the time that there is.
    assert!((3.5..35.0).contains(&json["settled_s"].as_f64().unwrap()), "{json}");
}

#[test]
fn a_soak_takes_a_number_of_players_and_one_run() {
    for args in [&["--soak", "--players", "max"][..], &["--soak", "--runs", "3"]] {
        let output = saturate(args);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    }
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_anything_is_measured() {
    for flag in ["--out", "--plot"] {
        let begun = Instant::now();
        let programs = ["--server", "/bin/true", "--bots", "/bin/true"];
        let args = ["--players", "20", "--seconds", "60", flag, "/dev/null/figures"];
        let output = saturate(&[&programs[..], &args].concat());
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output.stderr);
        assert!(said.contains(&format!("{flag}: cannot write /dev/null/figures")), "{said}");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}

#[test]
fn what_cannot_be_measured_says_what_to_do() {
    let _alone = crate::alone();
    let bots = "/bin/true";
    let output = saturate(&["--server", bots, "--bots", bots]);
    assert!(text(&output.stderr).contains("the server ended too early"), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_the_command_line_names_and_is_not_there_ends_it_with_2_before_a_file_is_made() {
    let out = std::env::temp_dir().join(format!("saturate-test-{}.json", std::process::id()));
    for (args, words) in [
        (&["--server", "/nowhere/server"][..], "--server /nowhere/server: there is no such program"),
        (&["--bots", "/nowhere/bots"], "--bots /nowhere/bots: there is no such program"),
        (&["--bots", "/etc/passwd"], "this is no file that can be run"),
        (&["--server-core", "999"], "--server-core 999: this process may use cores 0"),
        (&["--bots-core", "999"], "--bots-core 999: this process may use cores 0"),
        (&["--server-core", "0,0"], "--server-core: core 0 is named twice"),
        (&["--players", "50", "--full-bots", "51"], "--full-bots 51: "),
        (&["--players", "0"], "a number from 1 to 9936, or max"),
        (&["--workers", "-1"], "-1 is not in 1..=8"),
    ] {
        let mut command = Command::new(SATURATE);
        for (flag, value) in [("--server", "/bin/true"), ("--bots", "/bin/true"), ("--bots-core", other_core())] {
            if args[0] != flag {
                command.args([flag, value]);
            }
        }
        let output = command.arg("--out").arg(&out).args(args).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(words), "{args:?}: {said}");
        assert!(!out.exists(), "{args:?}");
    }
}

/// A run whose server ends at once, with nothing to be found but what it is told of.
fn saturate_without_tools(args: &[&str]) -> Output {
    let mut command = Command::new(SATURATE);
    command.env("PATH", "/nowhere").args(["--server", "/bin/true", "--bots", "/bin/true", "--server-core", "0"]);
    command.args(args).output().unwrap()
}

#[test]
fn a_program_of_the_system_that_is_missing_is_told_by_its_name_and_what_brings_it() {
    let output = saturate_without_tools(&["--bots-core", "0"]);
    let said = text(&output.stderr);
    assert!(said.contains("chrt(1) is not there") && said.contains("apt install util-linux"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    if other_core() != "0" {
        let perf = std::env::temp_dir().join(format!("saturate-test-{}.perf", std::process::id()));
        let output = saturate_without_tools(&["--bots-core", other_core(), "--perf", perf.to_str().unwrap()]);
        assert!(text(&output.stderr).contains("perf(1) is not there"), "{}", text(&output.stderr));
        assert!(!perf.exists());
    }
}

#[test]
fn without_setpriv_it_measures_all_the_same_and_warns_once() {
    if other_core() == "0" {
        return;
    }
    let output = saturate_without_tools(&["--bots-core", other_core()]);
    let said = text(&output.stderr);
    assert_eq!(said.matches("without setpriv(1)").count(), 1, "{said}");
    assert!(said.contains("the server ended too early"), "{said}");
}

/// A field of what the system says of a process after its name: 0 is its state, 1 its parent.
fn field(pid: u32, at: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(at).map(str::to_owned)
}

fn state(pid: u32) -> Option<String> {
    field(pid, 0)
}

/// The processes whose parent that is.
fn children(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| field(*pid, 1) == Some(parent.to_string());
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}

/// A run that measures for a minute, and its server and bots.
fn start_saturate(args: &[&str]) -> (Child, Vec<u32>) {
    let mut command = Command::new(SATURATE);
    command.args(["--players", "20", "--seconds", "60", "--bots-core", "0"]).args(args);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let mut started = Vec::new();
    while started.len() != 2 {
        assert!(begun.elapsed() < Duration::from_secs(30), "server and bots did not start");
        thread::sleep(Duration::from_millis(20));
        started = children(child.id());
    }
    (child, started)
}

/// Server and bots went on for ever, and had the cores to themselves.
#[test]
fn a_run_that_is_killed_leaves_no_process_behind() {
    let _alone = crate::alone();
    if !has_programs() {
        return;
    }
    if Command::new("setpriv").args(["--pdeathsig", "KILL", "true"]).status().is_err() {
        eprintln!("left out: there is no setpriv");
        return;
    }
    // The server starts itself anew, and the bots are started through chrt: the signal must last through both.
    let (mut child, started) = start_saturate(&["--huge-pages"]);
    let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let begun = Instant::now();
    while !["server\n", "bots\n"].iter().all(|wanted| started.iter().any(|pid| name(pid) == *wanted)) {
        assert!(begun.elapsed() < Duration::from_secs(30), "server and bots did not start");
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let begun = Instant::now();
    // One that is dead, and that nobody has waited for, is gone.
    while let Some(pid) = started.iter().find(|pid| state(**pid).is_some_and(|state| state != "Z")) {
        assert!(begun.elapsed() < Duration::from_secs(5), "process {pid}, {}, is left", name(pid));
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_interrupted_run_leaves_no_process_behind() {
    let _alone = crate::alone();
    if !has_programs() {
        return;
    }
    let (mut child, started) = start_saturate(&[]);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    for pid in started {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is left");
    }
}
