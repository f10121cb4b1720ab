//! Traces: a small one that is kept, its picture, and the command that draws it.

use std::env::temp_dir;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use bots::trace::{Summary, draw, read};

const SMALL: &[u8] = include_bytes!("traces/small.jsonl");

/// Ends with the first rule of XML that the text breaks; enough of them for what a program writes.
fn check_xml(text: &str) -> Result<(), String> {
    let mut rest = text.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>").ok_or("no declaration")?;
    let mut open: Vec<&str> = Vec::new();
    while let Some(at) = rest.find('<') {
        check_entities(&rest[..at])?;
        let end = rest[at..].find('>').ok_or("a tag without an end")? + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes nothing"));
            }
            continue;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        check_attributes(attributes.trim_end_matches('/'))?;
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("{open:?} stay open")) }
}

fn check_attributes(mut rest: &str) -> Result<(), String> {
    while !rest.trim().is_empty() {
        let (name, value) = rest.split_once("=\"").ok_or_else(|| format!("no attribute: {rest}"))?;
        let (value, tail) = value.split_once('"').ok_or_else(|| format!("{name} has no end"))?;
        check_entities(value)?;
        rest = tail;
    }
    Ok(())
}

fn check_entities(text: &str) -> Result<(), String> {
    let known = ["amp;", "lt;", "gt;", "quot;"];
    let bad = |rest: &str| !known.iter().any(|name| rest.starts_with(name));
    match text.split('&').skip(1).find(|rest| bad(rest)) {
        Some(rest) => Err(format!("a bare &: {rest}")),
        None if text.contains("NaN") || text.contains("inf ") => Err(format!("no number: {text}")),
        None => Ok(()),
    }
}

/// Strokes of the element of that class.
fn strokes(svg: &str, class: &str) -> usize {
    let start = format!("<path class=\"{class}\" d=\"");
    svg.split(&start).nth(1).map_or(0, |rest| rest.split('"').next().unwrap().matches('M').count())
}

#[test]
fn the_picture_of_the_kept_trace_shows_all_that_is_in_it() {
    let log = read(SMALL).unwrap();
    let svg = draw(&log);
    check_xml(&svg).unwrap();
    let count = |class| strokes(&svg, class);
    // 5 sent and 3 received: by what they carry.
    assert_eq!(["snapshot", "messages", "probe", "control", "ack"].map(count), [2, 2, 1, 1, 2]);
    // A cross is two strokes.
    assert_eq!((count("lost"), count("dropped")), (2, 1));
    for curve in ["rtt", "budget", "up", "down"] {
        assert_eq!(svg.matches(&format!("<polyline class=\"{curve}\"")).count(), 1, "{curve}");
    }
    for label in [
        ">established<",
        ">own keys 1<",
        ">mtu 1452<",
        ">moved [::1]:4000<",
        ">3 events missing<",
        ">closed: closed by this side: &lt;lab&gt; &amp; &quot;done&quot;<",
        ">round-trip time in ms<",
        ">budget and throughput in kB/s<",
        ">Zonewire connection 00010401, seen by the client<",
    ] {
        assert!(svg.contains(label), "{label}");
    }
    assert!(draw(&log) == svg, "the same trace gives the same picture");
}

#[test]
fn the_kept_trace_adds_up() {
    let summary = Summary::of(&read(SMALL).unwrap());
    let expected = Summary {
        micros: 1_010_000,
        sent: 5,
        sent_bytes: 1638,
        received: 3,
        received_bytes: 1010,
        acked: 3,
        lost: 1,
        dropped: 1,
        key_rolls: 1,
        moves: 1,
        missed: 3,
        rtt_us_p50: Some(40_000),
        rtt_us_p99: Some(40_500),
    };
    assert_eq!(summary, expected);
}

#[test]
fn every_beginning_of_a_trace_can_be_drawn_or_says_what_is_wrong() {
    for len in 0..SMALL.len() {
        match read(&SMALL[..len]) {
            Ok(log) => check_xml(&draw(&log)).unwrap(),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// A file of this test's own.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = temp_dir().join(format!("zonewire-{}-{name}", std::process::id()));
    fs::write(&path, bytes).unwrap();
    path
}

fn bots_trace(path: &PathBuf) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bots")).arg("trace").arg(path).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

#[test]
fn the_command_draws_beside_the_trace_and_warns_of_a_last_line_that_was_cut_off() {
    let path = file("cut.jsonl", &SMALL[..SMALL.len() - 9]);
    let output = bots_trace(&path);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("line 22 is cut off"), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("sent 5 packets"), "{}", text(&output.stdout));
    let svg = path.with_extension("svg");
    check_xml(&fs::read_to_string(&svg).unwrap()).unwrap();
    for path in [path, svg] {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn the_command_exits_with_1_and_says_which_line_is_wrong() {
    let bad = [SMALL, b"nonsense\n"].concat();
    for (name, bytes, words) in
        [("bad.jsonl", &bad[..], "line 23: not an event"), ("no.jsonl", b"", "the file is empty")]
    {
        let path = file(name, bytes);
        let output = bots_trace(&path);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
        fs::remove_file(path).unwrap();
    }
    let output = bots_trace(&PathBuf::from("no/such/trace.jsonl"));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot read no/such/trace.jsonl"), "{}", text(&output.stderr));
}

#[test]
fn a_swarm_that_cannot_write_its_trace_says_so_before_it_does_anything() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bots"));
    command.args(["swarm", "--server", "127.0.0.1:1", "--clients", "1", "--seconds", "1", "--trace", "no/such/dir"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot write the trace no/such/dir"), "{}", text(&output.stderr));
}
