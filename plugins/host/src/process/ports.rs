//! Ports for the children's own metrics: no two children get the same.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

use parking_lot::Mutex;

static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port of 127.0.0.1, kept for one child until dropped.
#[derive(Debug)]
pub(super) struct Port(u16);

impl Port {
    /// The port wanted; 0 for any that is free.
    pub(super) fn take(wanted: u16) -> Result<Self, String> {
        let mut given = GIVEN.lock();
        // Ports looked at stay taken until one is found, so each look finds another.
        let mut seen = Vec::new();
        loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))
                .map_err(|error| format!("metrics_port {wanted}: {error}; choose another or 0"))?;
            let port = listener.local_addr().map_err(|error| error.to_string())?;
            if given.insert(port.port()) {
                return Ok(Self(port.port()));
            }
            if wanted != 0 {
                return Err(format!(
                    "metrics_port {wanted}: another instance has it; choose another or 0"
                ));
            }
            seen.push(listener);
        }
    }

    pub(super) fn number(&self) -> u16 {
        self.0
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        GIVEN.lock().remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_given_once_and_again_when_free() {
        let ports: Vec<Port> = (0..20).map(|_| Port::take(0).unwrap()).collect();
        let numbers: BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), ports.len());
        let first = ports[0].number();
        let error = Port::take(first).unwrap_err();
        assert!(error.contains("another instance has it"), "{error}");
        drop(ports);
        assert_eq!(Port::take(first).unwrap().number(), first);
    }
}
