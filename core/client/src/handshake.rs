//! What is said before a connection is of use: which versions are served (KIP-35), who the client is (KIP-43, KIP-152).

use std::sync::Arc;
use std::time::Duration;

use buslane_wire::ApiKey;
use buslane_wire::messages::{ApiVersionsRequest, SaslAuthenticateRequest, SaslHandshakeRequest};
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::config::SASLConfig;
use rsasl::mechname::Mechname;
use rsasl::prelude::{SASLClient, SessionError};
use rsasl::property::{AuthId, Password};
use tokio::time::Instant;

use crate::config::{Address, Config, Sasl};
use crate::connection::{Connection, Served};
use crate::error::Error;
use crate::stream::{Encryption, Stream};

/// Every broker since Kafka 2.4 knows it.
const API_VERSIONS: i16 = 3;

/// Of a session's lifetime, so much is used: what was begun comes to its end in the rest.
const LIFETIME_USED: f64 = 0.8;

/// Connects, encrypts, asks for the versions, and says who the client is; all within the configuration's limit.
pub async fn open(
    config: &Config,
    encryption: Option<&Encryption>,
    address: &Address,
) -> Result<Connection, Error> {
    let limit = config.connect_timeout;
    tokio::time::timeout(limit, open_unbounded(config, encryption, address)).await.unwrap_or_else(|_| {
        let reason = format!("it did not answer as a Kafka broker does within {limit:?}");
        Err(Error::Unreachable { peer: address.to_string(), reason })
    })
}

async fn open_unbounded(
    config: &Config,
    encryption: Option<&Encryption>,
    address: &Address,
) -> Result<Connection, Error> {
    let stream = Stream::connect(address, encryption).await?;
    let peer: Arc<str> = address.to_string().into();
    let connection = Connection::new(stream, peer, config.client_id.as_str().into(), config.answer_bytes_max);
    let served = versions(&connection, config.connect_timeout).await.map_err(|error| match error {
        // A broker that wants TLS, or no broker at all, closes the connection at the first request.
        Error::Lost { peer, reason, .. } => {
            let hint = if encryption.is_none() { "; perhaps it wants TLS" } else { "" };
            Error::Unreachable { peer, reason: format!("{reason} when it was asked for its versions{hint}") }
        }
        Error::Malformed { peer, reason, .. } => {
            Error::Unreachable { peer, reason: format!("it is no Kafka broker: {reason}") }
        }
        other => other,
    })?;
    let expires = match &config.sasl {
        None => None,
        Some(sasl) => authenticate(&connection, &served, sasl, config.connect_timeout).await?,
    };
    Ok(connection.made(served, expires))
}

async fn versions(connection: &Connection, limit: Duration) -> Result<Served, Error> {
    let request = ApiVersionsRequest {
        client_software_name: "buslane",
        client_software_version: env!("CARGO_PKG_VERSION"),
        ..Default::default()
    };
    let answer = connection.send_as(API_VERSIONS, &request)?.answer(limit).await?;
    let response = answer.read()?;
    if response.error_code.is_err() {
        let (peer, code) = (answer.peer().to_owned(), response.error_code);
        return Err(Error::Refused { peer, request: "ApiVersions", code, message: None });
    }
    Ok(response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect())
}

/// Proves who the client is. Returns when it has to do so again, if it has to (KIP-368): then on another connection.
async fn authenticate(
    connection: &Connection,
    served: &Served,
    sasl: &Sasl,
    limit: Duration,
) -> Result<Option<Instant>, Error> {
    let mechanism = sasl.mechanism;
    let refused = |reason: String| Error::Authentication {
        peer: connection.peer().to_owned(),
        mechanism,
        username: sasl.username.clone(),
        reason,
    };
    let handshake = SaslHandshakeRequest { mechanism: mechanism.name() };
    let answer = connection.send_as(1, &handshake)?.answer(limit).await.map_err(|error| match error {
        Error::Lost { reason, .. } => refused(format!("{reason}; perhaps it wants no SASL there")),
        other => other,
    })?;
    let response = answer.read()?;
    if response.error_code.is_err() {
        let offered = response.mechanisms.join(", ");
        return Err(refused(match offered.as_str() {
            "" => format!("it wants no SASL there ({})", response.error_code),
            _ => format!("it knows {offered} ({})", response.error_code),
        }));
    }

    let credentials = Credentials(sasl.clone());
    let config = SASLConfig::builder()
        .with_default_mechanisms()
        .with_callback(credentials)
        .map_err(|error| refused(error.to_string()))?;
    let name = Mechname::parse(mechanism.name().as_bytes()).expect("a registered name");
    let mut session =
        SASLClient::new(config).start_suggested_iter([name]).map_err(|error| refused(error.to_string()))?;
    let newest = served.get(&(ApiKey::SaslAuthenticate as i16)).map_or(0, |(_, last)| (*last).min(2));
    let begun = Instant::now();
    let mut lifetime_ms = 0;
    // All mechanisms have the client speak first.
    let mut said: Option<Vec<u8>> = None;
    loop {
        let mut saying = Vec::new();
        let state = session
            .step(said.as_deref(), &mut saying)
            .map_err(|error| refused(format!("what it says proves nothing: {error}")))?;
        if !state.has_sent_message() {
            return Ok(expiry(begun, lifetime_ms));
        }
        let request = SaslAuthenticateRequest { auth_bytes: &saying };
        let answer = connection.send_as(newest, &request)?.answer(limit).await?;
        let response = answer.read()?;
        if response.error_code.is_err() {
            let why = response.error_message.map_or(response.error_code.to_string(), str::to_owned);
            return Err(refused(why));
        }
        lifetime_ms = response.session_lifetime_ms;
        if state.is_finished() {
            return Ok(expiry(begun, lifetime_ms));
        }
        said = Some(response.auth_bytes.to_vec());
    }
}

fn expiry(begun: Instant, lifetime_ms: i64) -> Option<Instant> {
    let lifetime = u64::try_from(lifetime_ms).ok().filter(|ms| *ms > 0)?;
    begun.checked_add(Duration::from_millis(lifetime).mul_f64(LIFETIME_USED))
}

struct Credentials(Sasl);

impl SessionCallback for Credentials {
    fn callback(
        &self,
        _: &SessionData,
        _: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        request.satisfy::<AuthId>(&self.0.username)?.satisfy::<Password>(self.0.password.as_bytes()).map(drop)
    }
}
