//! TLS of every listener: one certificate, which can be exchanged while the server runs.
//!
//! TLS 1.2 and 1.3 with the suites of rustls and ring; clients show no certificate, they show a token.
//! Connections keep the keys they were made with.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;

/// The certificate in force. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    current: Arc<Current>,
    provider: Arc<CryptoProvider>,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn load(files: &TlsFiles) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let key = read(files, &provider)?;
        Ok(Self {
            current: Arc::new(Current(RwLock::new(Arc::new(key)))),
            provider,
        })
    }

    /// Reads them again, for connections made from now on; whether the certificate is another.
    ///
    /// # Errors
    /// As [`Tls::load`]; the old certificate stays.
    pub fn reload(&self, files: &TlsFiles) -> Result<bool, String> {
        let key = Arc::new(read(files, &self.provider)?);
        let mut current = self.current.0.write();
        let is_other = current.cert != key.cert;
        *current = key;
        Ok(is_other)
    }

    /// What makes connections of it. `protocols` are offered by ALPN: `h2`, `http/1.1`.
    pub fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .expect("ring has suites of both versions");
        let current = Arc::clone(&self.current);
        let mut config = builder.with_no_client_auth().with_cert_resolver(current);
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// What each new connection is given.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

fn read(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let wrong = |name: &str, file: &Path, what: &dyn fmt::Display| {
        format!("tls.{name}: {}: {what}", file.display())
    };
    let (cert, key) = (&*files.cert, &*files.key);
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
    let chain = chain.map_err(|error| wrong("cert", cert, &error))?;
    if chain.is_empty() {
        return Err(wrong("cert", cert, &"holds no certificate in PEM"));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("key", key, &error))?;
    CertifiedKey::from_der(chain, secret, provider).map_err(|error| {
        wrong(
            "key",
            key,
            &format!("does not fit the certificate: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    // Files of tests are not files of the store.
    #![allow(clippy::disallowed_methods)]

    use super::*;

    fn made(dir: &Path, name: &str) -> TlsFiles {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = TlsFiles {
            cert: dir.join(format!("{name}.pem")),
            key: dir.join(format!("{name}.key")),
        };
        std::fs::write(&files.cert, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn a_pair_that_does_not_fit_is_refused_and_the_old_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (made(dir.path(), "one"), made(dir.path(), "other"));
        let tls = Tls::load(&one).unwrap();
        assert!(!tls.reload(&one).unwrap());
        let before = tls.current.0.read().cert.clone();
        let mixed = TlsFiles {
            key: other.key.clone(),
            ..one.clone()
        };
        let error = tls.reload(&mixed).unwrap_err();
        assert!(
            error.starts_with("tls.key: ") && error.contains("does not fit"),
            "{error}"
        );
        for (cert, key, expected) in [
            (dir.path().join("none"), one.key.clone(), "tls.cert: "),
            (one.key.clone(), one.key.clone(), "holds no certificate"),
            (one.cert.clone(), one.cert.clone(), "tls.key: "),
        ] {
            let error = tls.reload(&TlsFiles { cert, key }).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(tls.current.0.read().cert, before);
        assert!(tls.reload(&other).unwrap());
        assert_ne!(tls.current.0.read().cert, before);
    }
}
