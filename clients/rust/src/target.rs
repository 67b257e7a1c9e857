//! Where a server is called and how: address, token, TLS.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};

use crate::rpc::Error;

/// A server, as a client calls it.
#[derive(Clone)]
pub struct Target {
    addr: String,
    token: Option<String>,
    tls: Option<Tls>,
}

impl Target {
    /// `host:port`, without token and TLS.
    pub fn new(addr: impl Into<String>) -> Self {
        Self {
            addr: addr.into(),
            token: None,
            tls: None,
        }
    }

    /// Shows this token with every request.
    pub fn token(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }

    /// Speaks TLS.
    pub fn tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// `host:port`.
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// The value of `Authorization`, if there is a token.
    pub fn authorization(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {token}"))
    }

    /// Whether TLS is spoken.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// A new connection; the handshake is done when it is used first.
    pub(crate) fn connect(&self, timeout: Option<Duration>) -> io::Result<Socket> {
        let stream = TcpStream::connect(&self.addr)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.addr)))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(timeout)?;
        stream.set_write_timeout(timeout)?;
        let Some(tls) = &self.tls else {
            return Ok(Socket::Plain(stream));
        };
        let bad = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        let name = ServerName::try_from(host(&self.addr).to_owned())
            .map_err(|error| bad(format!("{}: {error}", self.addr)))?;
        let session = ClientConnection::new(Arc::clone(&tls.0), name)
            .map_err(|error| bad(error.to_string()))?;
        Ok(Socket::Tls(Box::new(StreamOwned::new(session, stream))))
    }
}

impl From<String> for Target {
    fn from(addr: String) -> Self {
        Self::new(addr)
    }
}

impl From<&str> for Target {
    fn from(addr: &str) -> Self {
        Self::new(addr)
    }
}

impl From<&String> for Target {
    fn from(addr: &String) -> Self {
        Self::new(addr.as_str())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("addr", &self.addr)
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

/// Without port, and without the brackets of an address of the sixth version.
fn host(addr: &str) -> &str {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Which certificates are trusted.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

/// Where systems keep the certificates of the authorities they trust.
const SYSTEM_FILES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

impl Tls {
    /// Trusts what the certificates of a PEM file signed, and themselves.
    ///
    /// # Errors
    /// If there are none.
    pub fn with_ca(file: &Path) -> Result<Self, Error> {
        let wrong = |what: &dyn fmt::Display| Error::Reply(format!("{}: {what}", file.display()));
        let mut roots = RootCertStore::empty();
        let mut named = Vec::new();
        let certificates = CertificateDer::pem_file_iter(file).map_err(|e| wrong(&e))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|e| wrong(&e))?;
            // A bundle of a system may hold one that is not understood; the others count.
            let _ = roots.add(certificate.clone());
            named.push(certificate);
        }
        if roots.is_empty() {
            return Err(wrong(&"holds no certificate in PEM"));
        }
        let provider = Arc::new(ring::default_provider());
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let verifier = Verifier {
            chains: chains.build().map_err(|e| wrong(&e))?,
            named,
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong(&e))?;
        let config = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// Trusts what this system trusts (`SSL_CERT_FILE`, else where systems keep it).
    ///
    /// # Errors
    /// If nothing is found.
    pub fn system() -> Result<Self, Error> {
        if let Some(file) = std::env::var_os("SSL_CERT_FILE") {
            return Self::with_ca(Path::new(&file));
        }
        let found = SYSTEM_FILES.iter().map(Path::new).find(|f| f.is_file());
        let none =
            || Error::Reply("no certificates of authorities are found on this system".into());
        Self::with_ca(found.ok_or_else(none)?)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Trusts chains that end in the file, and the certificates of the file themselves: those that people
/// make for themselves (`openssl req -x509`) are of an authority and of its only server at once.
#[derive(Debug)]
struct Verifier {
    chains: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.named.iter().any(|named| named == certificate) {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.chains
            .verify_server_cert(certificate, between, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Bytes to and from the server.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    /// The socket below TLS.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_shows_no_token() {
        let target = Target::new("[::1]:5993").token(Some("secret".into()));
        assert_eq!(target.authorization().unwrap(), "Bearer secret");
        assert!(!format!("{target:?}").contains("secret"));
        assert_eq!(host(target.addr()), "::1");
        assert_eq!(host("localhost:1"), "localhost");
    }
}
