//! The real binary: exit codes and the contract with scripts.
#![expect(clippy::disallowed_methods, reason = "a real process, seen from outside: wall time, threads, entropy")]

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use netcode::channel::Table;
use netcode::crypto::{ClusterKey, OsEntropy, Psk};
use netcode::token::{ConnectBundle, ServerEntry};
use server::dev_token::{Issuer, TokenEntry, TokenRequest};

fn bots(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bots")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for args in [
        &[][..],
        &["dance"],
        &["swarm", "--clients", "3", "--seconds", "1"],
        &["swarm", "--server", "nowhere", "--clients", "3", "--seconds", "1"],
        &["swarm", "--server", "127.0.0.1:1", "--clients", "0", "--seconds", "1"],
        &["swarm", "--server", "127.0.0.1:1", "--clients", "1", "--seconds", "1", "--loss", "101"],
        &["swarm", "--server", "127.0.0.1:1", "--clients", "1", "--seconds", "0"],
        &["swarm", "--server", "127.0.0.1:1", "--clients", "1", "--seconds", "1", "--light", "1.1"],
        &["swarm", "--server", "127.0.0.1:1", "--clients", "1", "--seconds", "1", "--light-every", "0"],
        &["swarm", "--server", "127.0.0.1:1", "--clients", "1", "--seconds", "1", "--light-every", "5"],
        &["swarm", "--server", "127.0.0.1:1", "--clients", "1", "--seconds", "1", "--settle", "0"],
        &["swarm", "--server", "127.0.0.1:1", "--clients", "1", "--seconds", "1", "--churn", "601"],
        &["swarm", "--server", "127.0.0.1:1", "--clients", "1", "--seconds", "1", "--rebind", "-1"],
        &["swarm", "--server", "127.0.0.1:1", "--clients", "1", "--seconds", "1", "--every", "0"],
        &["arena", "--clients", "3"],
        &["arena", "--clients", "3", "--seconds", "0"],
        &["trace"],
        &["transfer", "--cap", "0"],
        &["echo", "--bundles", "2"],
        &["flood", "--server", "192.0.2.1:7777", "--kind", "random", "--seconds", "1"],
    ] {
        let output = bots(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn what_only_a_scenario_knows_is_refused_without_one_with_what_to_do() {
    for (flag, value) in
        [("--rtt", "50"), ("--jitter", "0"), ("--loss", "1"), ("--rate", "30"), ("--max-rewind-ms", "0")]
    {
        let output = bots(&["arena", "--clients", "2", "--seconds", "1", flag, value]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flag}: {stderr}");
        assert!(stderr.contains(flag) && stderr.contains("--scenario solo, fight, hits or cheats"), "{stderr}");
    }
}

#[test]
fn the_help_of_the_arena_tells_each_range_and_the_parser_holds_it() {
    let help = text(&bots(&["arena", "--help"]).stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    let path = [("--rtt", 0, 2000), ("--jitter", 0, 1000), ("--rate", 10, 128), ("--max-rewind-ms", 0, 400)];
    for (flag, least, most) in path {
        let about = &help[help.find(&format!("{flag} <")).unwrap()..];
        let about = &about[..about[2..].find(" --").unwrap()];
        assert!(about.contains(&least.to_string()) && about.contains(&format!("to {most}")), "{about}");
        let above = (most + 1).to_string();
        let output = bots(&["arena", "--scenario", "solo", "--seconds", "1", flag, &above]);
        assert_eq!(output.status.code(), Some(2), "{flag} {above}");
    }
}

#[test]
fn a_rulebook_that_is_none_ends_the_swarm_with_2_before_it_asks_for_tokens() {
    let file = std::env::temp_dir().join(format!("zonewire-swarm-rules-{}.toml", std::process::id()));
    std::fs::write(&file, "[player]\nhealth = 1\n").unwrap();
    let bad = file.to_str().unwrap().to_owned();
    for (rules, why) in [
        (bad.as_str(), "unknown field `health`"),
        ("/dev/zero", "it has more than 65536 bytes"),
        ("/nonexistent/rules.toml", "cannot read it"),
    ] {
        let output = bots(&["swarm", "--server", "127.0.0.1:1", "--clients", "1", "--seconds", "1", "--rules", rules]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(&format!("--rules {rules}: ")) && stderr.contains(why), "{stderr}");
    }
    std::fs::remove_file(file).unwrap();
    assert_eq!(bots(&["trace", "/dev/zero"]).status.code(), Some(1));
}

#[test]
fn no_server_exits_with_1_and_says_what_to_do() {
    // A port that was free a moment ago, and is not listened on.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = format!("127.0.0.1:{port}");
    let output = bots(&["swarm", "--server", &at, "--http", &at, "--clients", "1", "--seconds", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--http"), "{}", text(&output.stderr));
}

#[test]
fn both_addresses_that_were_tried_are_named_and_the_json_is_printed_all_the_same() {
    let output = bots(&["swarm", "--server", "127.0.0.1:1", "--clients", "4", "--seconds", "1", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("127.0.0.1:1: ") && stderr.contains("127.0.0.1:2: "), "{stderr}");
    assert_all_failed(&text(&output.stdout), 4);
}

/// The last line of `stdout` is a summary in which nobody got in, for one reason.
fn assert_all_failed(stdout: &str, clients: u64) {
    let summary: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["connected"], &summary["failed"]), (&0.into(), &clients.into()));
    let causes: Vec<_> = summary["failed_by_cause"].as_object().unwrap().values().collect();
    assert_eq!(causes, [&clients]);
}

#[test]
fn a_watched_client_is_explained_on_stderr() {
    let arena = ["arena", "--seed", "1", "--clients", "12", "--seconds", "2", "--json"];
    let (plain, watched) = (bots(&arena), bots(&[&arena[..], &["--watch", "4"]].concat()));
    assert_eq!(text(&plain.stdout), text(&watched.stdout), "to watch changes nothing");
    let stderr = text(&watched.stderr);
    let lines: Vec<serde_json::Value> = stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(lines.len() > 50, "{stderr}");
    let terms = ["tick", "entity", "slot", "class", "distance", "relation", "error", "loss", "age", "score", "bits"];
    for line in &lines {
        assert!(line["client"] == 4 && line["sent"].is_boolean() && line["tier"].is_string(), "{line}");
        assert!(terms.iter().all(|term| line[term].is_u64()), "{line}");
    }
    assert_eq!(bots(&[&arena[..], &["--seeds", "2", "--watch", "4"]].concat()).status.code(), Some(2));
}

#[test]
fn a_full_disk_under_stdout_exits_with_1() {
    for json in [&[][..], &["--json"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bots"));
        command.args(["arena", "--clients", "2", "--seconds", "1"]).args(json);
        let output = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("cannot write to stdout"));
    }
}

#[test]
fn a_reader_of_stdout_that_leaves_does_not_change_the_exit_code() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bots"));
    command.args(["arena", "--clients", "2", "--seconds", "1"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

/// Gives tokens for a UDP address to whoever asks, until the test's process ends.
fn token_source(udp: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let issuer = Issuer {
        key: ClusterKey { epoch: 0, key: Psk::new([7; 32]) },
        server: ServerEntry { id: 1, addr: udp },
        group: 0,
        life_ms: 60_000,
    };
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // Small requests come in one piece; what they ask for is always the same here.
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let request = TokenRequest { count: Some(2), ..TokenRequest::default() };
            let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
            let reply = issuer.issue(&request, unix_ms, &mut OsEntropy::new()).unwrap();
            let body = serde_json::to_string(&reply).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    at
}

/// Its end, which must come in time.
fn wait(child: &mut Child, limit: Duration) -> Option<i32> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    panic!("it still ran after {limit:?}");
}

#[test]
fn a_swarm_whose_stderr_is_closed_and_that_nobody_lets_in_gives_up_long_before_its_time() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let http = token_source(silent.local_addr().unwrap()).to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bots"));
    command.args(["swarm", "--server", &http, "--clients", "2", "--seconds", "600", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(wait(&mut child, Duration::from_secs(30)), Some(1));
    assert_all_failed(&text(&child.wait_with_output().unwrap().stdout), 2);
}

#[test]
fn an_arena_prints_its_options_first_and_its_report_last() {
    let output = bots(&["arena", "--seed", "3", "--clients", "8", "--seconds", "3"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stdout).starts_with("seed 3: 8 clients, 3 s; rate"));
}

#[test]
fn the_json_of_an_arena_has_what_scripts_rely_on() {
    let output = bots(&["arena", "--seed", "3", "--seeds", "2", "--clients", "8", "--seconds", "3", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let stdout = text(&output.stdout);
    let reports: Vec<serde_json::Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(reports.len(), 2);
    for (report, seed) in reports.iter().zip(3..) {
        assert_eq!(report["seed"], seed);
        assert_eq!(
            (&report["clients"], &report["violations"], &report["corrections"]),
            (&8.into(), &0.into(), &0.into())
        );
        assert!(report["ticks"].as_u64().unwrap() > 60);
        assert_eq!(report["digest"].as_str().unwrap().len(), 16);
    }
}

#[test]
fn an_echo_server_says_all_that_a_client_must_know() {
    let output = bots(&["echo", "--listen", "127.0.0.1:0", "--bundles", "3", "--seconds", "0.1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    let introduction: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let bundles = introduction["bundles"].as_array().unwrap();
    assert_eq!(introduction["channel_hash"], format!("{:#018x}", Table::lab().hash()));
    assert_eq!(introduction["channels"].as_array().unwrap().len(), Table::lab().0.len());
    assert_eq!(bundles.len(), 3);
    for bundle in bundles {
        let entry: TokenEntry = serde_json::from_value(bundle.clone()).unwrap();
        assert!(ConnectBundle::try_from(&entry).is_ok());
        assert_eq!(bundle["servers"][0]["addr"], introduction["addr"]);
    }
}

#[test]
fn every_kind_of_junk_arrives() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let at = socket.local_addr().unwrap();
    let http = token_source(at).to_string();
    let mut buffer = [0; 2048];
    for (kind, first, len) in
        [("header", 0x40, 24..=223), ("hello", 1, 1200..=1200), ("replayed-hello", 1, 1200..=1200)]
    {
        let args = ["--kind", kind, "--seconds", "0.2", "--rate", "50", "--http", &http];
        let output = bots(&[&["flood", "--server", &at.to_string()], &args[..]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let sent: u64 = text(&output.stdout).split(' ').next().unwrap().parse().unwrap();
        assert!((1..=20).contains(&sent), "{sent}");
        for _ in 0..sent {
            let (got, _) = socket.recv_from(&mut buffer).unwrap();
            assert!(buffer[0] == first && len.contains(&got), "{kind}: {got} bytes from {:02x}", buffer[0]);
        }
    }
}

/// Starts it, and sends SIGINT once it has said that many lines on that stream (1: stdout, 2: stderr). Exit code, and what it said.
#[cfg(target_os = "linux")]
fn interrupted(args: &[&str], stream: u8, lines: usize) -> (Option<i32>, String, String) {
    use rustix::process::{Pid, Signal, kill_process};
    use std::io::{BufRead as _, BufReader};

    let mut command = Command::new(env!("CARGO_BIN_EXE_bots"));
    let mut child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let (mut stdout, mut stderr) = (String::new(), String::new());
    for _ in 0..lines {
        let _ = if stream == 1 { out.read_line(&mut stdout) } else { err.read_line(&mut stderr) }.unwrap();
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let code = wait(&mut child, Duration::from_secs(20));
    out.read_to_string(&mut stdout).unwrap();
    err.read_to_string(&mut stderr).unwrap();
    (code, stdout, stderr)
}

/// The system ended it, and what had been run for minutes was lost.
#[test]
#[cfg(target_os = "linux")]
fn an_interrupted_arena_tells_what_was_run_and_ends_with_130() {
    let (code, stdout, stderr) = interrupted(&["arena", "--clients", "20", "--seconds", "86400"], 1, 1);
    assert_eq!((code, stderr.as_str()), (Some(130), "bots: interrupted\n"), "{stdout}");
    assert!(stdout.contains("seed 1: 0 violations") && stdout.contains("interrupted before its end"), "{stdout}");
    let seeds = ["arena", "--clients", "4", "--seconds", "2", "--seeds", "100000", "--json"];
    let (code, stdout, stderr) = interrupted(&seeds, 1, 3);
    assert_eq!(code, Some(130), "{stderr}");
    let reports: Vec<serde_json::Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, whole) = reports.split_last().unwrap();
    assert!(whole.len() >= 2 && whole.iter().all(|report| report["interrupted"] == false), "{stdout}");
    assert!(last["interrupted"].is_boolean());
    let totals = format!("{} seeds: 0 violations", reports.len());
    assert!(stderr.contains(&totals) && stderr.ends_with("bots: interrupted\n"), "{totals}: {stderr}");
}

#[test]
#[cfg(target_os = "linux")]
fn an_interrupted_scenario_tells_what_was_played_and_judges_nothing() {
    // It says nothing before its end, by which to know that it has begun.
    let args = ["arena", "--scenario", "fight", "--seconds", "86400", "--json"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_bots"));
    let child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_secs(1));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(130), "bots: interrupted\n".into()));
    let outcome: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!((&outcome["interrupted"], &outcome["failed"]), (&true.into(), &serde_json::json!([])));
    assert!((1..86_400).contains(&outcome["seconds"].as_u64().unwrap()), "{outcome}");
}

#[test]
fn of_a_negative_number_the_range_is_told_and_not_that_it_is_an_argument() {
    for args in [
        &["swarm", "--server", "127.0.0.1:1", "--seconds", "1", "--clients", "-1"][..],
        &["arena", "--scenario", "solo", "--seconds", "1", "--rtt", "-1"],
        &["arena", "--clients", "2", "--seconds", "-1"],
        &["transfer", "--cap", "-1"],
    ] {
        let output = bots(args);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains("-1 is not in "), "{args:?}: {said}");
    }
}
