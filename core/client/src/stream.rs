//! Bytes to a broker and back: TCP, encrypted or not.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::config::{Address, Tls};
use crate::error::Error;

/// A silent peer is asked whether it is still there after this time: a machine that is gone says nothing.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What encrypts connections, made once for all of them.
#[derive(Clone)]
pub struct Encryption {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl Encryption {
    /// Reads the files that the configuration names.
    pub fn new(tls: &Tls) -> Result<Encryption, Error> {
        let mut roots = RootCertStore::empty();
        match &tls.ca_file {
            Some(file) => {
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|error| unusable(file, error))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                let (taken, _) = roots.add_parsable_certificates(found.certs);
                if taken == 0 {
                    let why = found.errors.first().map_or(String::new(), |error| format!(": {error}"));
                    let text = format!(
                        "this system has no trusted authorities{why}; name a file with some (ca_file)"
                    );
                    return Err(Error::Configuration(text));
                }
            }
        }
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = match &tls.identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let chain = certificates(&identity.certificate_file)?;
                let key = PrivateKeyDer::from_pem_file(&identity.key_file)
                    .map_err(|error| unusable(&identity.key_file, error))?;
                config
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| unusable(&identity.key_file, error))?
            }
        };
        let server_name = tls.server_name.as_deref().map(server_name).transpose()?;
        Ok(Encryption { connector: TlsConnector::from(Arc::new(config)), server_name })
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(file, error))?;
    if all.is_empty() { Err(unusable(file, "no certificate (PEM) is in it")) } else { Ok(all) }
}

fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| Error::Configuration(format!("{name:?} is no name that a certificate can be for")))
}

fn unusable(file: &Path, why: impl std::fmt::Display) -> Error {
    Error::Configuration(format!("{} cannot be used: {why}", file.display()))
}

/// A connection's bytes.
pub enum Stream {
    /// As they are.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Connects. Every address that the name stands for is tried in turn.
    pub async fn connect(address: &Address, encryption: Option<&Encryption>) -> Result<Stream, Error> {
        let failed = |reason: String| Error::Unreachable { peer: address.to_string(), reason };
        let stream = TcpStream::connect((address.host.as_str(), address.port))
            .await
            .map_err(|error| failed(plainly(&error)))?;
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream)
            .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE));
        let Some(encryption) = encryption else { return Ok(Stream::Plain(stream)) };
        let name = match &encryption.server_name {
            Some(name) => name.clone(),
            None => server_name(&address.host)?,
        };
        let stream = encryption.connector.connect(name, stream).await.map_err(|error| {
            let hint = if error.kind() == io::ErrorKind::UnexpectedEof
                || error.to_string().contains("corrupt message")
            {
                "; perhaps it speaks no TLS there"
            } else {
                ""
            };
            failed(format!("TLS: {error}{hint}"))
        })?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// The system's words, without its number.
fn plainly(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
