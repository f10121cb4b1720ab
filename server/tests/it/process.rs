//! The real process: what it answers, what it says, how it ends.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Stdio;

use netcode::token::ConnectBundle;
use serde_json::Value;
use server::config::ServerConfig;
use server::dev_token::TokenReply;

use crate::running::{PATIENCE, Running, Unread, agent, run_to_end, server};

fn scratch_file(name: &str, content: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn it_becomes_healthy_and_a_signal_ends_it_with_0() {
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        let mut running = Running::start(&[]);
        assert_eq!(running.get("/healthz"), (200, r#"{"status":"ok"}"#.into()));
        assert_eq!(running.get("/nothing").0, 404);
        running.signal(signal);
        assert_eq!(running.wait().code(), Some(0));
    }
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn the_allocator_is_told_of_large_pages_if_the_configuration_says_so_and_the_environment_nothing_else() {
    const NAME: &str = "GLIBC_TUNABLES";
    let large = scratch_file("large-pages.toml", "[memory]\nhuge_pages = true\n");
    let config = ["--config", large.to_str().unwrap()];
    let told = Running::start(&config).variable(NAME);
    assert!(told.is_some_and(|value| value.contains("glibc.malloc.hugetlb=1")));
    assert_eq!(Running::start(&[]).variable(NAME), None);
    let own = "glibc.malloc.tcache_count=5";
    assert_eq!(Running::start_with(&config, &[(NAME, own)]).variable(NAME).as_deref(), Some(own));
    // As of a program with rights of its own, which is not shown the variable: it must not start anew for ever.
    assert_eq!(Running::start_with(&config, &[("ZONEWIRE_STARTED_ANEW", "1")]).variable(NAME), None);
}

/// It started anew, read an empty pipe, and served with the defaults: on another port, and with development tokens.
#[test]
#[cfg(target_os = "linux")]
fn a_configuration_that_came_through_a_pipe_holds() {
    let text = "[world]\nseed = 4711\n[memory]\nhuge_pages = true\n";
    let running = Running::start_reading(&["--config", "/dev/stdin"], text);
    assert_eq!(running.starting["seed"], 4711);
}

#[test]
fn the_status_line_comes_every_second_with_numbers() {
    let running = Running::start(&[]);
    let (first, second) = (running.wait_for("status"), running.wait_for("status"));
    for key in ["tick", "players", "tick_us_p50", "tick_us_p99", "tick_us_max", "packets_in", "bytes_out", "late"] {
        assert!(first[key].is_u64(), "{key} in {first}");
    }
    assert!(first["drops"].is_string());
    assert!(second["tick"].as_u64() > first["tick"].as_u64());
}

#[test]
fn the_status_endpoint_tells_what_players_were_refused() {
    let running = Running::start(&[]);
    running.wait_for("status");
    let (code, body) = running.get("/v1/status");
    let status: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(code, 200, "{body}");
    assert!(status["tick"].as_u64() > Some(0) && status["players"] == 0, "{body}");
    assert!(
        status["refusals"].as_object().unwrap().is_empty() && status["most_refused"].as_array().unwrap().is_empty()
    );
}

#[test]
fn files_without_an_end_are_refused_with_the_most_they_may_have() {
    let long = scratch_file("long.toml", &"#\n".repeat(200_000));
    let refused = |args: &[&str], text: &str| {
        let (code, _, stderr) = run_to_end(&[&["--listen", "127.0.0.1:0", "--http", ""][..], args].concat());
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(text), "{stderr}");
    };
    refused(&["--config", "/dev/zero"], "/dev/zero has more than 262144 bytes");
    refused(&["--config", long.to_str().unwrap()], "long.toml has more than 262144 bytes");
    refused(&["--rules", "/dev/zero"], "/dev/zero has more than 65536 bytes");
    let key = scratch_file("no-text.toml", "");
    std::fs::write(&key, [0xff, 0xfe]).unwrap();
    refused(&["--config", key.to_str().unwrap()], "is no text (UTF-8)");
    let (code, _, stderr) = run_to_end(&["token", "--cluster-key", "/dev/zero", "--server", "127.0.0.1:1"]);
    assert_eq!((code, stderr.contains("/dev/zero has more than 4096 bytes")), (Some(2), true), "{stderr}");
    let (code, _, stderr) = run_to_end(&["replay", "/dev/zero"]);
    assert_eq!((code, stderr.as_str()), (Some(1), "server: /dev/zero: not an input log\n"));
}

#[test]
fn two_workers_share_one_port_that_nobody_else_can_take() {
    let running = Running::start(&["--workers", "2"]);
    let listen = running.udp.to_string();
    let (code, _, stderr) = run_to_end(&["--listen", &listen, "--workers", "2", "--http", ""]);
    assert_eq!(code, Some(1), "{stderr}");
}

#[test]
fn junk_is_counted_by_cause_and_answered_with_nothing() {
    let running = Running::start(&[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for junk in [&[0u8; 3][..], &[0xff; 700], &[0x01; 2000]] {
        socket.send_to(junk, running.udp).unwrap();
    }
    let drops = loop {
        let line = running.wait_for("status");
        if line["drops"] != "" {
            break line["drops"].as_str().unwrap().to_string();
        }
    };
    assert!(drops.contains('='), "{drops}");
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 2000]).is_err());
}

#[test]
fn a_development_token_is_issued_for_this_server() {
    let running = Running::start(&[]);
    let (status, body) = running.post_token("application/json", r#"{"account":7,"character":9}"#);
    assert_eq!(status, 200, "{body}");
    let reply: TokenReply = serde_json::from_str(&body).unwrap();
    let bundle = ConnectBundle::try_from(&reply.single.unwrap()).unwrap();
    assert_eq!(bundle.servers[0].addr, running.udp);
    // An empty body needs no content type.
    assert_eq!(running.post_token("text/plain", "").0, 200);
    let (status, body) = running.post_token("application/json; charset=utf-8", r#"{"count":50}"#);
    assert_eq!(status, 200, "{body}");
    let reply: TokenReply = serde_json::from_str(&body).unwrap();
    assert_eq!((reply.tokens.len(), reply.single), (50, None));
}

#[test]
fn a_body_that_is_no_token_request_is_refused_in_clear_text() {
    let running = Running::start(&[]);
    let refused = |content_type: &str, body: &str, status: u16, text: &str| {
        let (got, reply) = running.post_token(content_type, body);
        let error = serde_json::from_str::<Value>(&reply).unwrap()["error"].as_str().unwrap().to_string();
        assert_eq!(got, status, "{error}");
        assert!(error.contains(text), "{error}");
    };
    refused("text/plain", "{}", 415, "application/json");
    refused("application/json", "hello", 400, "not a token request");
    refused("application/json", r#"{"acount":1}"#, 400, "unknown field `acount`");
    refused("application/json", r#"{"account":-1}"#, 400, "-1");
    refused("application/json", "[1,2,3]", 400, "not a token request");
    refused("application/json", r#"{"account":18446744073709551615,"count":2}"#, 400, "account = ");
    refused("application/json", r#"{"count":4097}"#, 400, "from 1 to 4096");
    refused("application/json", &"x".repeat(5000), 413, "limit");
    let mut response = agent().get(format!("{}/v1/dev/token", running.http)).call().unwrap();
    assert_eq!(response.status(), 405);
    assert!(response.body_mut().read_to_string().unwrap().contains("error"));
}

#[test]
fn switched_off_development_tokens_are_not_issued() {
    let running = Running::start(&["--dev-tokens", "false"]);
    let (status, body) = running.post_token("application/json", "{}");
    assert_eq!(status, 404);
    assert!(body.contains("access.dev_tokens"), "{body}");
}

#[test]
fn a_bad_flag_ends_it_with_2() {
    let (code, _, stderr) = run_to_end(&["--lissten", "127.0.0.1:1"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--lissten"), "{stderr}");
    let (code, _, stderr) = run_to_end(&["--workers", "9"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("network.workers = 9") && stderr.contains("1 to 8"), "{stderr}");
}

#[test]
fn a_bad_configuration_ends_it_with_2_and_names_file_and_key() {
    let path = scratch_file("bad.toml", "[world]\nseeds = 1\n");
    let (code, _, stderr) = run_to_end(&["--config", path.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("bad.toml") && stderr.contains("unknown field `seeds`"), "{stderr}");
    let (code, _, stderr) = run_to_end(&["--config", "/nonexistent/zone.toml"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("/nonexistent/zone.toml"), "{stderr}");
    let (code, _, stderr) = run_to_end(&["--http", "0.0.0.0:0", "--dev-tokens", "true"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("access.dev_tokens"), "{stderr}");
}

#[test]
fn a_port_in_use_ends_it_with_1_and_names_the_port() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = udp.local_addr().unwrap().to_string();
    let (code, _, stderr) = run_to_end(&["--listen", &addr, "--http", ""]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&format!("udp {addr}")) && stderr.contains("--listen"), "{stderr}");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = tcp.local_addr().unwrap().to_string();
    let (code, _, stderr) = run_to_end(&["--listen", "127.0.0.1:0", "--http", &addr]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&format!("tcp {addr}")) && stderr.contains("--http"), "{stderr}");
}

#[test]
fn the_printed_configuration_starts_a_server() {
    let (code, printed, _) = run_to_end(&["config"]);
    assert_eq!(code, Some(0));
    assert_eq!(ServerConfig::from_toml(&printed).unwrap(), ServerConfig::default());
    let path = scratch_file("printed.toml", &printed);
    let running = Running::start(&["--config", path.to_str().unwrap()]);
    assert_eq!(running.get("/healthz").0, 200);
}

#[test]
fn tokens_issued_on_the_command_line_open_under_the_cluster_key() {
    let file = scratch_file("cluster.key", &format!("{}\n", "5a".repeat(32)));
    let (server, key) = ("127.0.0.1:7000", file.to_str().unwrap());
    let (code, stdout, stderr) =
        run_to_end(&["token", "--cluster-key", key, "--epoch", "4", "--server", server, "--count", "3"]);
    assert_eq!(code, Some(0), "{stderr}");
    let reply: TokenReply = serde_json::from_str(&stdout).unwrap();
    assert_eq!(reply.tokens.len(), 3);
    let cluster = netcode::crypto::ClusterKey { epoch: 4, key: netcode::crypto::Psk::new([0x5a; 32]) };
    for entry in &reply.tokens {
        let bundle = ConnectBundle::try_from(entry).unwrap();
        let (claims, _) = netcode::token::open(std::slice::from_ref(&cluster), &bundle.token).unwrap();
        assert_eq!(claims.servers[0].addr.to_string(), server);
    }
    let (code, _, stderr) = run_to_end(&["token", "--cluster-key", key, "--server", server, "--count", "0"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("1 to 4096"), "{stderr}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_log_that_cannot_be_written_does_not_end_it() {
    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap());
    // Debug lines, so that every request of the health check is an attempt to write as well.
    let mut running = Unread::start(full(), &["--log-level", "trace"]);
    running.wait_until_healthy();
    assert_eq!(running.terminate(), Some(0));
}

#[test]
fn a_log_whose_reader_has_gone_does_not_end_it() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut running = Unread::start(writer.into(), &[]);
    running.wait_until_healthy();
    assert_eq!(running.terminate(), Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn a_log_that_nobody_reads_does_not_hold_it_up() {
    // Full from the start (a pipe of Linux holds 64 KiB): the first line already blocks its writer.
    let (_reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&vec![b'x'; 65_536]).unwrap();
    let mut running = Unread::start(writer.into(), &["--log-level", "trace"]);
    assert_eq!(running.terminate(), Some(0));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    for args in
        [&["config"][..], &["token", "--cluster-key", &"5a".repeat(32), "--server", "127.0.0.1:1", "--count", "4096"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = server(args).stdout(writer).output().unwrap();
        assert_eq!((ended.status.code(), String::from_utf8(ended.stderr).unwrap()), (Some(0), String::new()));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn output_that_cannot_be_written_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ended = server(&["config"]).stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8(ended.stderr).unwrap().contains("standard output"));
}

#[test]
fn slow_http_connections_do_not_keep_others_out_and_are_closed() {
    let running = Running::start(&[]);
    let at = running.http.strip_prefix("http://").unwrap();
    let mut idle: Vec<_> = (0..80).map(|_| TcpStream::connect(at).unwrap()).collect();
    for slow in &mut idle {
        // Whether the server has closed it by now does not matter.
        let _ = slow.write_all(b"GET /healthz HTT");
    }
    assert_eq!(running.get("/healthz").0, 200);
    for slow in &mut idle {
        slow.set_read_timeout(Some(PATIENCE)).unwrap();
        let ended = slow.read_to_end(&mut Vec::new());
        assert!(!ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "it is closed");
    }
}

#[test]
fn the_counters_of_a_status_line_count_since_the_line_before() {
    let running = Running::start(&[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(&[0xff; 700], running.udp).unwrap();
    while running.wait_for("status")["packets_in"] != 1 {}
    let next = running.wait_for("status");
    for key in ["packets_in", "bytes_in", "accepted", "inputs_late", "inputs_ahead", "inputs_neutral"] {
        assert_eq!(next[key], 0, "{key} in {next}");
    }
}
