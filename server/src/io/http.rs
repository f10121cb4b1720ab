//! The HTTP endpoint: health for whoever waits for the server; its state, and development tokens, for whoever sits on this
//! machine.
//!
//! It has its own thread and runtime; nothing here is on the way of a game packet.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use netcode::crypto::OsEntropy;
use serde_json::json;
use server::config::is_loopback;
use server::dev_token::{IssueError, Issuer, TokenRequest};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::clock::Clock;
use super::error::RunError;
use super::run::Shown;

/// The longest request body, in bytes.
const MAX_BODY: usize = 4096;
/// Connections at once; one more ends the oldest. An honest one takes milliseconds, so the oldest is a slow one.
const MAX_CONNECTIONS: usize = 64;
/// A connection whose request headers are not here by then is closed.
const HEADERS_TIME: Duration = Duration::from_secs(5);
/// A connection is closed this long after it began, whatever it is doing.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// The pause after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Failures to accept are logged no more often than that.
const ACCEPT_WARN_EVERY: Duration = Duration::from_secs(10);

/// The running endpoint; dropping it (or [`Http::stop`]) ends it.
pub struct Http {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

struct Shared {
    shown: Shown,
    /// `None`: development tokens are switched off.
    issuer: Option<Issuer>,
}

impl Http {
    /// Serves `listener` on a thread of its own.
    pub fn start(listener: TcpListener, shown: Shown, issuer: Option<Issuer>) -> Result<Self, RunError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(RunError::system("start the HTTP runtime"))?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(RunError::system("register the HTTP socket"))?
        };
        let (stop, stopped) = oneshot::channel();
        let app = router(Shared { shown, issuer });
        let serve = move || {
            // Ends when the runtime is dropped, and its connections with it.
            runtime.spawn(accept(listener, app));
            // An error means that the sender is gone, which also says stop.
            let _ = runtime.block_on(stopped);
        };
        #[expect(clippy::disallowed_methods, reason = "the binary owns its threads")]
        let thread = std::thread::Builder::new()
            .name("http".into())
            .spawn(serve)
            .map_err(RunError::system("start the http thread"))?;
        Ok(Self { stop, thread })
    }

    /// Ends the endpoint and its thread.
    pub fn stop(self) {
        // An error means that the thread is gone already.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// Accepts connections for ever.
async fn accept(listener: tokio::net::TcpListener, app: Router) {
    let mut connections: VecDeque<AbortHandle> = VecDeque::new();
    let mut warned: Option<Instant> = None;
    loop {
        let accepted = listener.accept().await;
        connections.retain(|connection| !connection.is_finished());
        if accepted.is_err() || connections.len() >= MAX_CONNECTIONS {
            // Without file descriptors, too, the oldest connection is the one to do without.
            if let Some(oldest) = connections.pop_front() {
                oldest.abort();
            }
        }
        match accepted {
            Ok((stream, peer)) => {
                connections.push_back(tokio::spawn(serve(stream, peer, app.clone())).abort_handle());
            }
            Err(error) => {
                if warned.is_none_or(|at| at.elapsed() >= ACCEPT_WARN_EVERY) {
                    warn!(%error, "the HTTP endpoint cannot accept a connection");
                    warned = Some(Instant::now());
                }
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Answers one request.
async fn serve(stream: TcpStream, peer: SocketAddr, app: Router) {
    let service = TowerToHyperService::new(app.layer(Extension(ConnectInfo(peer))));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS_TIME).keep_alive(false);
    // How a connection ends is the client's business.
    let _ = timeout(CONNECTION_TIME, http.serve_connection(TokioIo::new(stream), service)).await;
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/v1/status", get(status))
        .route("/v1/dev/token", post(dev_token))
        .fallback(|| async {
            error(StatusCode::NOT_FOUND, "there are GET /healthz, GET /v1/status and POST /v1/dev/token")
        })
        .method_not_allowed_fallback(|| async { error(StatusCode::METHOD_NOT_ALLOWED, "wrong method for this path") })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Arc::new(shared))
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    if shared.shown.ready.is_ready() {
        Json(json!({ "status": "ok" })).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "starting" }))).into_response()
    }
}

async fn status(State(shared): State<Arc<Shared>>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    // It names players.
    if !is_loopback(peer.ip()) {
        return error(StatusCode::FORBIDDEN, "the status is given to this machine only");
    }
    match shared.shown.board.read() {
        Some(board) => ([(header::CACHE_CONTROL, "no-store")], Json(board)).into_response(),
        None => {
            error(StatusCode::SERVICE_UNAVAILABLE, "nothing is known yet: the first report comes within two seconds")
        }
    }
}

async fn dev_token(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    // Whatever the configuration says: another machine never gets a token here.
    if !is_loopback(peer.ip()) {
        return error(StatusCode::FORBIDDEN, "development tokens are given to this machine only");
    }
    let Some(issuer) = &shared.issuer else {
        return error(StatusCode::NOT_FOUND, "development tokens are switched off (access.dev_tokens)");
    };
    let request = match body {
        Ok(body) => match parse(&headers, &body) {
            Ok(request) => request,
            Err((status, text)) => return error(status, &text),
        },
        Err(rejection) => return error(rejection.status(), &rejection.body_text()),
    };
    #[expect(clippy::disallowed_methods, reason = "the binary draws OS entropy")]
    let mut entropy = OsEntropy::new();
    match issuer.issue(&request, Clock::unix_ms(), &mut entropy) {
        Ok(reply) => ([(header::CACHE_CONTROL, "no-store")], Json(reply)).into_response(),
        Err(refusal @ (IssueError::Count(_) | IssueError::Overflow { .. })) => {
            error(StatusCode::BAD_REQUEST, &refusal.to_string())
        }
        Err(failure @ IssueError::Crypto(_)) => error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
    }
}

/// An empty body asks for one token. A body must be declared as JSON: a web page can then only send one after a CORS
/// preflight, which this server never grants.
fn parse(headers: &HeaderMap, body: &[u8]) -> Result<TokenRequest, (StatusCode, String)> {
    if body.is_empty() {
        return Ok(TokenRequest::default());
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body must be JSON: content-type: application/json".into(),
        ));
    }
    TokenRequest::from_json(body).map_err(|wrong| (StatusCode::BAD_REQUEST, format!("not a token request: {wrong}")))
}

fn error(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}
