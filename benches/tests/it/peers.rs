//! Both programs of the echo workload, as whoever compares transports starts them.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::alone;

/// Starts both, and gives what the server and the client report.
fn run(mode: &str, clients: u16) -> (Value, Value) {
    // A port that was free a moment ago.
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let command = |program: &str| {
        let mut command = Command::new(program);
        command.args(["--port", &port.to_string(), "--clients", &clients.to_string(), "--secs", "1", "--mode", mode]);
        command.stdout(Stdio::piped());
        command
    };
    let mut server = command(env!("CARGO_BIN_EXE_peer-server")).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("LISTENING"));
    let client = command(env!("CARGO_BIN_EXE_peer-client")).output().unwrap();
    let report = lines.find(|line| line.starts_with('{')).unwrap_or_default();
    assert!(server.wait().unwrap().success(), "{report}");
    let client = String::from_utf8(client.stdout).unwrap();
    (serde_json::from_str(&report).unwrap(), serde_json::from_str(&client).unwrap())
}

#[test]
fn twenty_clients_echo_for_a_second_and_nothing_is_lost() {
    let _alone = alone();
    let (server, client) = run("echo", 20);
    for (from, to) in [(&server, &client), (&client, &server)] {
        assert_eq!((&from["ok"], &from["connected"], &from["misordered"]), (&true.into(), &20.into(), &0.into()));
        for kind in ["u", "r"] {
            let (sent, received) = (&from[format!("sent_{kind}")], &to[format!("recv_{kind}")]);
            assert_eq!(sent, received, "server {server}\nclient {client}");
            assert!(sent.as_u64() > Some(0), "server {server}\nclient {client}");
        }
    }
    assert!(client["lat_us"]["p50"].as_u64() > Some(0));
}

#[test]
fn a_flood_of_a_second_arrives_whole() {
    let _alone = alone();
    let (server, client) = run("flood", 1);
    assert_eq!((&server["ok"], &client["ok"]), (&true.into(), &true.into()));
    assert_eq!(server["recv"], client["sent"], "server {server}\nclient {client}");
    assert!(client["sent"].as_u64() > Some(1000));
}

#[test]
fn a_flood_of_several_clients_and_a_negative_number_are_refused_with_why() {
    for program in [env!("CARGO_BIN_EXE_peer-server"), env!("CARGO_BIN_EXE_peer-client")] {
        for (args, words) in [
            (["--mode", "flood", "--clients", "5"], "--clients 5: with --mode flood one client"),
            (["--mode", "echo", "--clients", "-5"], "-5 is not in 1..=32000"),
        ] {
            let output = Command::new(program).args(["--port", "1", "--secs", "1"]).args(args).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(2) && said.contains(words), "{program} {args:?}: {said}");
        }
    }
}
