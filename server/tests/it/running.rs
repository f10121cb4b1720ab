//! Starts the real server and talks to it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

/// Far beyond what anything here takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn server(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a server that is expected to end by itself.
pub fn run_to_end(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = server(args).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A running server with JSON log lines; killed when the test is over.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<Value>,
    /// Where clients reach it.
    pub udp: SocketAddr,
    /// Its HTTP endpoint, `http://IP:PORT`.
    pub http: String,
    /// What it said first.
    pub starting: Value,
}

impl Running {
    pub fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    /// With these variables in its environment.
    pub fn start_with(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = server(&with_basics(args));
        Self::of(command.envs(environment.iter().copied()).spawn().unwrap())
    }

    /// Started by that program, which is given its arguments, the server and the server's arguments.
    pub fn start_through(program: &str, its: &[&str], args: &[&str]) -> Self {
        let server = server(&with_basics(args));
        let mut command = Command::new(program);
        command.args(its).arg(server.get_program()).args(server.get_args());
        Self::of(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// With that on standard input.
    pub fn start_reading(args: &[&str], input: &str) -> Self {
        let mut child = server(&with_basics(args)).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Self::of(child)
    }

    fn of(mut child: Child) -> Self {
        let lines = json_lines(&mut child);
        let udp = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut running = Self { child, lines, udp, http: String::new(), starting: Value::Null };
        running.starting = running.wait_for("starting");
        let starting = &running.starting;
        running.udp = starting["listen"].as_str().unwrap().parse().unwrap();
        running.http = format!("http://{}", starting["http"].as_str().unwrap());
        running.wait_for("ready");
        running
    }

    /// The next log line with that message.
    pub fn wait_for(&self, message: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line {message:?}"));
            if line["message"] == message {
                return line;
            }
        }
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let mut response = agent().get(format!("{}{path}", self.http)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    pub fn post_token(&self, content_type: &str, body: &str) -> (u16, String) {
        let request = agent().post(format!("{}/v1/dev/token", self.http)).content_type(content_type);
        let mut response = request.send(body).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    /// A variable of the environment that it runs in.
    #[cfg(target_os = "linux")]
    pub fn variable(&self, name: &str) -> Option<String> {
        let environment = std::fs::read(format!("/proc/{}/environ", self.child.id())).unwrap();
        let mut variables = environment.split(|byte| *byte == 0).filter_map(|variable| str::from_utf8(variable).ok());
        variables.find_map(|variable| variable.strip_prefix(name)?.strip_prefix('=')).map(str::to_string)
    }

    pub fn signal(&self, signal: i32) {
        kill(&self.child, signal);
    }

    pub fn wait(&mut self) -> ExitStatus {
        // The lines end when the process does.
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Those arguments behind what all tests want.
fn with_basics<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let basics =
        ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-format", "json", "--npcs", "5", "--boxes", "5"];
    basics.into_iter().chain(args.iter().copied()).collect()
}

/// A running server whose log nobody reads; killed when the test is over.
pub struct Unread {
    child: Child,
    http: SocketAddr,
}

impl Unread {
    /// Starts it with standard error going to `log`, and waits until it is healthy.
    pub fn start(log: Stdio, args: &[&str]) -> Self {
        let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let at = http.to_string();
        let mut all = vec!["--listen", "127.0.0.1:0", "--http", &at, "--npcs", "5", "--boxes", "5"];
        all.extend(args);
        let unread = Self { child: server(&all).stderr(log).spawn().unwrap(), http };
        unread.wait_until_healthy();
        unread
    }

    /// Panics unless it gets healthy while it runs.
    pub fn wait_until_healthy(&self) {
        let healthz = format!("http://{}/healthz", self.http);
        for _ in 0..PATIENCE.as_millis() / 20 {
            if agent().get(&healthz).call().is_ok_and(|reply| reply.status() == 200) {
                return;
            }
            pause();
        }
        panic!("it never gets healthy");
    }

    /// Sends SIGTERM; the exit code that it ends with.
    pub fn terminate(&mut self) -> Option<i32> {
        kill(&self.child, signal_hook::consts::SIGTERM);
        for _ in 0..PATIENCE.as_millis() / 20 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            pause();
        }
        panic!("it does not end");
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn kill(child: &Child, signal: i32) {
    let kill = format!("kill -{signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

#[expect(clippy::disallowed_methods, reason = "polls another process")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into()
}

#[expect(clippy::disallowed_methods, reason = "reading a pipe with a time limit takes a thread")]
fn json_lines(child: &mut Child) -> mpsc::Receiver<Value> {
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            let line = serde_json::from_str(&line).unwrap_or_else(|_| json!({ "message": line }));
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
