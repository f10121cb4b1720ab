//! The real binary: exit codes and the contract with scripts.

use std::process::{Command, Output};

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
        &["arena", "--clients", "3"],
        &["arena", "--clients", "3", "--seconds", "0"],
    ] {
        let output = bots(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn no_server_exits_with_1_and_says_what_to_do() {
    // A port that was free a moment ago, and is not listened on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = format!("127.0.0.1:{port}");
    let output = bots(&["swarm", "--server", &at, "--http", &at, "--clients", "1", "--seconds", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--http"), "{}", text(&output.stderr));
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
