//! The agent's doors over HTTP: events in, what became of them, health and metrics.
//!
//! On loopback requests come from this host, a browser's among them, on behalf of any page it shows: so a request must name
//! a loopback host, and none that says its `Origin` is a page of somewhere else is served. Beyond loopback requests bring
//! the token.

mod event;
mod metrics;

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::agent::Agent;
use crate::channel::{Channel, Level, Refused, Spooled, Taken, now_ms};
use crate::follow::Position;
use event::{Common, Parsed};

/// Bytes of all request bodies that are in memory.
const BODIES_BYTES_MAX: usize = 256 << 20;

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 32 << 20;

/// How long a request waits for its level before it is answered 202, unless it says so.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_MAX: Duration = Duration::from_secs(300);

/// What the doors share.
pub struct Doors {
    agent: Arc<Agent>,
    token: Option<String>,
    /// Bytes of bodies that may still come in.
    bodies: Semaphore,
}

/// The agent's HTTP interface. `token`: what requests have to bring; `loopback`: requests come from this host alone.
pub fn router(agent: Arc<Agent>, token: Option<String>, loopback: bool) -> Router {
    let doors = Arc::new(Doors { agent, token, bodies: Semaphore::new(BODIES_BYTES_MAX) });
    let guarded = Router::new()
        .route("/v1/channels", get(channels))
        .route("/v1/channels/{channel}", get(channel))
        .route("/v1/channels/{channel}/events", post(one))
        .route("/v1/channels/{channel}/events:batch", post(batch))
        .route("/v1/events/{id}", get(follow_up))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(doors.clone(), with_token));
    let router = guarded
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here".into()))
        .with_state(doors);
    if loopback { router.layer(middleware::from_fn(loopback_only)) } else { router }
}

/// What went wrong, for a program and for a person (RFC 9457).
struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    retry_after: Option<u32>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: String) -> Problem {
        Problem { status, code, detail, retry_after: None }
    }

    fn bad(code: &'static str, detail: String) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("error");
        let body =
            json!({"title": title, "status": self.status.as_u16(), "code": self.code, "detail": self.detail});
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, kind, body.to_string() + "\n").into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Problem {
        let (status, code, retry_after) = match &refused {
            Refused::QuotaFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "spool_full", Some(5)),
            Refused::Busy { .. } => (StatusCode::TOO_MANY_REQUESTS, "busy", Some(1)),
            Refused::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "event_too_large", None),
            Refused::Disk { .. } => (StatusCode::SERVICE_UNAVAILABLE, "spool_unavailable", Some(5)),
            Refused::Closed { .. } => (StatusCode::SERVICE_UNAVAILABLE, "channel_closed", Some(5)),
        };
        Problem { status, code, detail: refused.to_string(), retry_after }
    }
}

/// How a request wants to be answered.
struct Wish {
    level: Level,
    patience: Duration,
}

impl Wish {
    /// `?level=…&timeout=…`, or `Buslane-Level`.
    fn read(query: &str, headers: &HeaderMap, default: Level) -> Result<Wish, Problem> {
        let mut wish = Wish { level: default, patience: PATIENCE };
        let level = |text: &str| text.parse::<Level>().map_err(|e| Problem::bad("bad_level", e));
        if let Some(text) = headers.get("buslane-level") {
            wish.level = level(text.to_str().unwrap_or("?"))?.max(default);
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                // An event may ask for more than its channel's level, not for less.
                "level" => wish.level = level(value)?.max(default),
                "timeout" => {
                    let bad = || {
                        let detail = format!(
                            "timeout {value:?} is none; a number with ms or s is, to 300s, like 500ms"
                        );
                        Problem::bad("bad_timeout", detail)
                    };
                    let number = |text: &str| text.parse::<u64>().ok();
                    let ms = match value.strip_suffix("ms") {
                        Some(ms) => number(ms),
                        None => value.strip_suffix('s').and_then(number).and_then(|s| s.checked_mul(1_000)),
                    };
                    wish.patience =
                        ms.map(Duration::from_millis).filter(|time| *time <= PATIENCE_MAX).ok_or_else(bad)?;
                }
                _ => {
                    let detail = format!("{name:?} is no parameter; there are level and timeout");
                    return Err(Problem::bad("bad_parameter", detail));
                }
            }
        }
        Ok(wish)
    }
}

impl Doors {
    fn channel(&self, name: &str) -> Result<Arc<Channel>, Problem> {
        self.agent
            .channel(name)
            .map_err(|detail| Problem::new(StatusCode::NOT_FOUND, "unknown_channel", detail))
    }

    /// Reads a body within the bounds of memory.
    async fn body(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Bytes, tokio::sync::SemaphorePermit<'_>), Problem> {
        let length = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let too_large = || {
            let detail = format!("a body has {BODY_BYTES_MAX} bytes at most; send several requests");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        };
        if length.is_some_and(|length| length > BODY_BYTES_MAX) {
            // A client that is still writing would take the end of its connection for the answer.
            let _ = tokio::time::timeout(Duration::from_secs(5), discard(body)).await;
            return Err(too_large());
        }
        let bytes = length.unwrap_or(BODY_BYTES_MAX) as u32;
        let permit = self.bodies.try_acquire_many(bytes).map_err(|_| Problem {
            retry_after: Some(1),
            ..Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                format!("the bodies of requests under way have {BODIES_BYTES_MAX} bytes together"),
            )
        })?;
        match to_bytes(body, BODY_BYTES_MAX).await {
            Ok(body) => Ok((body, permit)),
            Err(error) => {
                let over = std::error::Error::source(&error).is_some_and(|source| {
                    source.is::<axum::http::Error>() || source.to_string().contains("length limit")
                });
                Err(if over {
                    too_large()
                } else {
                    Problem::bad("bad_body", format!("the body broke off: {error}"))
                })
            }
        }
    }

    /// Takes events, and waits for the level.
    async fn take(
        &self,
        channel: &Channel,
        common: &Common,
        events: &[Parsed],
        wish: &Wish,
    ) -> Result<Answer, Problem> {
        if let Err((free, needed)) = self.agent.room() {
            let detail = format!("the disk of the spool has {free} bytes free, {needed} are kept");
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "disk_full", detail);
            return Err(Problem { retry_after: Some(30), ..problem });
        }
        let now = now_ms();
        let follow = wish.level == Level::Cluster;
        let taken = {
            let headers: Vec<_> = events.iter().map(|event| common.headers(event)).collect();
            let new: Vec<_> =
                events.iter().zip(&headers).map(|(event, headers)| event.new_event(headers, now)).collect();
            channel.take(&new, follow, now).await?
        };
        let Taken { events: places, positions, end } = taken;
        let wait = async {
            let mut found = Vec::new();
            match wish.level {
                Level::Memory => {}
                Level::Disk => channel.durable(end).await,
                Level::Cluster => {
                    for run in positions {
                        // The channel answers all its followers.
                        found.extend(run.await.unwrap_or_default());
                    }
                }
            }
            found
        };
        let (level, positions) = match tokio::time::timeout(wish.patience, wait).await {
            Ok(positions) => (wish.level, positions),
            Err(_) => {
                let levels = places.iter().filter_map(|place| channel.level_of(place.offset));
                (levels.min().unwrap_or_default(), Vec::new())
            }
        };
        let answer = Answer { level, places, positions };
        Ok(answer)
    }
}

/// Reads a body and keeps nothing of it, up to a bound.
async fn discard(mut body: Body) {
    let mut left = 4 * BODY_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            return;
        }
    }
}

/// What became of a request's events.
struct Answer {
    level: Level,
    places: Vec<Spooled>,
    /// At level cluster, one for each.
    positions: Vec<Position>,
}

impl Answer {
    /// The report of one event, as JSON.
    fn write(&self, out: &mut String, channel: &Channel, index: usize, event: &Parsed) {
        let place = self.places[index];
        let _ = match &event.shown_id {
            Some(id) => write!(out, "{{\"id\":{}", serde_json::Value::from(id.as_str())),
            None => write!(out, "{{\"id\":\"{}~{}\"", channel.id_prefix, place.offset),
        };
        let _ = write!(out, ",\"level\":\"{}\"", name(self.level));
        if place.duplicate {
            out.push_str(",\"duplicate\":true");
        }
        if let Some(position) = self.positions.get(index) {
            write_position(out, *position);
        }
        out.push('}');
    }

    fn respond(&self, wish: &Wish, mut body: String) -> Response {
        let status = if self.level >= wish.level { StatusCode::OK } else { StatusCode::ACCEPTED };
        body.push('\n');
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

fn write_position(out: &mut String, position: Position) {
    let _ = match position {
        Some((partition, offset)) => write!(out, ",\"partition\":{partition},\"offset\":{offset}"),
        None => write!(out, ",\"partition\":null,\"offset\":null"),
    };
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Memory => "memory",
        Level::Disk => "disk",
        Level::Cluster => "cluster",
    }
}

fn content_type(headers: &HeaderMap) -> Result<String, Problem> {
    let bad = |_| Problem::bad("bad_header", "Content-Type has something else than visible ASCII".into());
    let text = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().map_err(bad)).transpose()?;
    Ok(text.unwrap_or_default().to_owned())
}

fn media(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// `POST /v1/channels/{channel}/events`
async fn one(
    State(doors): State<Arc<Doors>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let channel = doors.channel(&name)?;
    let settings = channel.settings();
    let (parts, body) = request.into_parts();
    let wish = Wish::read(parts.uri.query().unwrap_or_default(), &parts.headers, settings.level)?;
    let content_type = content_type(&parts.headers)?;
    let common = Common::read(&parts.headers, &content_type).map_err(|e| Problem::bad("bad_header", e))?;
    let (body, _permit) = doors.body(&parts.headers, body).await?;
    let event = match media(&content_type).as_str() {
        "application/cloudevents+json" => common.structured(body, &settings),
        "application/cloudevents-batch+json" | "application/x-ndjson" => {
            let detail =
                format!("{content_type} has several events: /v1/channels/{name}/events:batch takes them");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "batch", detail));
        }
        _ => common.event(body, true, &settings),
    };
    let event =
        event.map_err(|reason| Problem::bad("bad_event", format!("the event is refused: {reason}")))?;
    let events = [event];
    let answer = doors.take(&channel, &common, &events, &wish).await?;
    let mut out = String::with_capacity(96);
    answer.write(&mut out, &channel, 0, &events[0]);
    Ok(answer.respond(&wish, out))
}

/// `POST /v1/channels/{channel}/events:batch`
async fn batch(
    State(doors): State<Arc<Doors>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let channel = doors.channel(&name)?;
    let settings = channel.settings();
    let (parts, body) = request.into_parts();
    let wish = Wish::read(parts.uri.query().unwrap_or_default(), &parts.headers, settings.level)?;
    let content_type = content_type(&parts.headers)?;
    let mut common = Common::read(&parts.headers, "").map_err(|e| Problem::bad("bad_header", e))?;
    let (body, _permit) = doors.body(&parts.headers, body).await?;
    let media = media(&content_type);
    let bodies = match media.as_str() {
        "application/x-ndjson" | "application/jsonl" => {
            common.json = true;
            lines(&body)
        }
        "application/cloudevents-batch+json" => array(&body)?,
        "application/octet-stream" => prefixed(&body)?,
        _ => {
            let detail = format!(
                "{content_type:?} is no batch; application/x-ndjson, application/cloudevents-batch+json and \
                 application/octet-stream (each event behind its length as 4 bytes, big-endian) are"
            );
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_batch", detail));
        }
    };
    if bodies.is_empty() {
        return Err(Problem::bad("empty_batch", "there is no event in it".into()));
    }
    let mut events = Vec::with_capacity(bodies.len());
    for (index, body) in bodies.into_iter().enumerate() {
        let event = match media.as_str() {
            "application/cloudevents-batch+json" => common.structured(body, &settings),
            _ => common.event(body, false, &settings),
        };
        let event = event.map_err(|reason| {
            Problem::bad(
                "bad_event",
                format!("event {index}, counted from 0, is refused, and all with it: {reason}"),
            )
        })?;
        events.push(event);
    }
    let answer = doors.take(&channel, &common, &events, &wish).await?;
    let mut out = String::with_capacity(32 + 64 * events.len());
    let _ = write!(out, "{{\"level\":\"{}\",\"events\":[", self::name(answer.level));
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        answer.write(&mut out, &channel, index, event);
    }
    out.push_str("]}");
    Ok(answer.respond(&wish, out))
}

/// Lines that are not empty, without their ends.
fn lines(body: &Bytes) -> Vec<Bytes> {
    let mut lines = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            lines.push(body.slice_ref(line));
        }
    }
    lines
}

/// The elements of a JSON array, as they are written.
fn array(body: &Bytes) -> Result<Vec<Bytes>, Problem> {
    let elements: Vec<&serde_json::value::RawValue> = serde_json::from_slice(body)
        .map_err(|e| Problem::bad("bad_batch", format!("it is no JSON array of events: {e}")))?;
    Ok(elements.into_iter().map(|element| body.slice_ref(element.get().as_bytes())).collect())
}

/// Events behind their lengths.
fn prefixed(body: &Bytes) -> Result<Vec<Bytes>, Problem> {
    let mut events = Vec::new();
    let mut rest = &body[..];
    while !rest.is_empty() {
        let at = body.len() - rest.len();
        let cut = || Problem::bad("bad_batch", format!("the event at byte {at} is cut off"));
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (event, after) = after.split_at_checked(length).ok_or_else(cut)?;
        events.push(body.slice_ref(event));
        rest = after;
    }
    Ok(events)
}

/// `GET /v1/events/{id}`
async fn follow_up(State(doors): State<Arc<Doors>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let own = id.rsplit_once('~').and_then(|(prefix, offset)| {
        let channel = doors.agent.all_channels().into_iter().find(|channel| channel.id_prefix == prefix)?;
        Some((channel, offset.parse::<i64>().ok()?))
    });
    let now = now_ms();
    let found = own.or_else(|| {
        doors.agent.all_channels().into_iter().find_map(|channel| {
            let offset = channel.find_shown(&id, now)?;
            Some((channel, offset))
        })
    });
    let found = found.and_then(|(channel, offset)| Some((channel.level_of(offset)?, channel, offset)));
    let Some((level, channel, offset)) = found else {
        let detail = format!(
            "event {id:?} is not known to this agent: it never came, or it came under an id of its service and that \
             channel's dedup_window is over"
        );
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_event", detail));
    };
    let mut out = format!(
        "{{\"id\":{},\"channel\":\"{}\",\"level\":\"{}\"",
        serde_json::Value::from(id),
        channel.name,
        name(level)
    );
    if level == Level::Cluster {
        write_position(&mut out, channel.followers.lock().late(offset).flatten());
    }
    out.push_str("}\n");
    Ok(([(header::CONTENT_TYPE, "application/json")], out).into_response())
}

fn describe(channel: &Channel, open: bool) -> serde_json::Value {
    let settings = channel.settings();
    json!({
        "name": channel.name,
        "open": open,
        "cluster": settings.cluster,
        "topic": settings.topic,
        "level": settings.level,
        "waiting_events": channel.waiting_events(),
        "spool_bytes": channel.used_bytes(),
        "spool_bytes_max": settings.spool_bytes_max,
        "trouble": *channel.trouble.lock(),
    })
}

/// `GET /v1/channels`
async fn channels(State(doors): State<Arc<Doors>>) -> Response {
    let open = doors.agent.channels();
    let all = doors.agent.all_channels();
    let list: Vec<_> =
        all.iter().map(|channel| describe(channel, open.contains_key(&channel.name))).collect();
    let version = doors.agent.version();
    axum_json(&json!({"agent": doors.agent.id(), "version": version, "channels": list}))
}

/// `GET /v1/channels/{channel}`
async fn channel(State(doors): State<Arc<Doors>>, Path(name): Path<String>) -> Result<Response, Problem> {
    Ok(axum_json(&describe(&*doors.channel(&name)?, true)))
}

fn axum_json(value: &serde_json::Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string() + "\n").into_response()
}

/// `GET /metrics`
async fn metrics(State(doors): State<Arc<Doors>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics::text(&doors.agent)).into_response()
}

/// `GET /readyz`: events are taken. Clusters that are away are no reason to send a service elsewhere.
async fn ready(State(doors): State<Arc<Doors>>) -> Response {
    let waits_for = match (doors.agent.failure(), doors.agent.room()) {
        (Some(failure), _) => failure,
        (None, Err((free, needed))) => {
            format!("the disk of the spool has {free} bytes free, {needed} are kept")
        }
        (None, Ok(())) => return "ready\n".into_response(),
    };
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {waits_for}\n")).into_response()
}

async fn with_token(State(doors): State<Arc<Doors>>, request: Request, next: Next) -> Response {
    if let Some(token) = &doors.token {
        let given = request.headers().get(header::AUTHORIZATION).and_then(|given| given.to_str().ok());
        let given = given.and_then(|given| given.strip_prefix("Bearer ")).unwrap_or_default();
        if !same(given.as_bytes(), token.as_bytes()) {
            let detail = "this agent wants its token: Authorization: Bearer …".to_owned();
            let mut response = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).into_response();
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return response;
        }
    }
    next.run(request).await
}

/// Compares secrets in a time that does not tell where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

async fn loopback_only(request: Request, next: Next) -> Response {
    if is_foreign(&request) {
        let detail = "this agent serves its own host: requests name localhost, 127.0.0.1 or [::1], and come from no other \
                      page's scripts";
        return Problem::new(StatusCode::FORBIDDEN, "not_this_host", detail.to_owned()).into_response();
    }
    next.run(request).await
}

fn is_foreign(request: &Request) -> bool {
    let text = |name| request.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let in_uri = request.uri().authority().map(|authority| authority.as_str());
    let foreign_host = [in_uri, text(header::HOST)].into_iter().flatten().any(|host| !is_loopback(host));
    let of_this_host = |origin: &str| origin.split_once("://").is_some_and(|(_, host)| is_loopback(host));
    foreign_host || text(header::ORIGIN).is_some_and(|origin| !of_this_host(origin))
}

/// A Host that nobody else can have made point here.
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().to_canonical().is_loopback();
    }
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}
