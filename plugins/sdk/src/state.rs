//! The state store of an instance, as a plugin sees it.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Code, PluginError};

/// What a key has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateValue {
    /// Bytes, from [`State::put`].
    Bytes(Bytes),
    /// A counter, from [`State::incr`].
    Counter(i64),
}

/// The calls a host offers on state; the other half of [`State`].
pub trait StateCalls: Send {
    /// See [`State::get`].
    ///
    /// # Errors
    /// As there.
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, PluginError>;
    /// See [`State::put`].
    ///
    /// # Errors
    /// As there.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), PluginError>;
    /// See [`State::delete`].
    ///
    /// # Errors
    /// As there.
    fn delete(&mut self, key: &[u8]) -> Result<(), PluginError>;
    /// See [`State::incr`].
    ///
    /// # Errors
    /// As there.
    fn incr(&mut self, key: &[u8], by: i64) -> Result<i64, PluginError>;
    /// See [`State::counter`].
    ///
    /// # Errors
    /// As there.
    fn counter(&mut self, key: &[u8]) -> Result<i64, PluginError>;
    /// See [`State::scan`].
    ///
    /// # Errors
    /// As there.
    fn scan(
        &mut self,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, StateValue)>, PluginError>;
}

/// Keys and values that are committed with the rows and the place of a window. Reads see what this
/// window has changed. Keys have 1 to 512 bytes, values at most 1 MiB, an instance 256 MiB.
pub struct State<'a> {
    calls: Option<&'a mut dyn StateCalls>,
}

impl<'a> State<'a> {
    /// Wraps the calls of a host.
    pub fn new(calls: &'a mut dyn StateCalls) -> Self {
        Self { calls: Some(calls) }
    }

    /// Of a host without a state store: every call fails with [`Code::Unsupported`].
    pub fn none() -> Self {
        Self { calls: None }
    }

    /// The calls themselves, for a host that hands them on.
    pub fn store(&mut self) -> Option<&mut (dyn StateCalls + 'a)> {
        self.calls.as_deref_mut()
    }

    fn calls(&mut self) -> Result<&mut dyn StateCalls, PluginError> {
        match &mut self.calls {
            Some(calls) => Ok(&mut **calls),
            None => Err(PluginError::unsupported("the state store")),
        }
    }

    /// The bytes of a key, if it is there.
    ///
    /// # Errors
    /// [`Code::Type`] if it is a counter.
    pub fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, PluginError> {
        self.calls()?.get(key.as_ref())
    }

    /// Sets the bytes of a key.
    ///
    /// # Errors
    /// [`Code::Limit`] if key, value or state are too large, [`Code::Type`] if it is a counter.
    pub fn put(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<(), PluginError> {
        self.calls()?.put(key.as_ref(), value.as_ref())
    }

    /// Removes a key, whatever it is.
    ///
    /// # Errors
    /// [`Code::Limit`] if this fire has changed too many keys.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<(), PluginError> {
        self.calls()?.delete(key.as_ref())
    }

    /// Adds to a counter and returns its new value; a missing one begins at 0.
    ///
    /// # Errors
    /// [`Code::Type`] if the key has bytes, [`Code::Limit`] if the sum does not fit.
    pub fn incr(&mut self, key: impl AsRef<[u8]>, by: i64) -> Result<i64, PluginError> {
        self.calls()?.incr(key.as_ref(), by)
    }

    /// A counter; 0 if it is not there.
    ///
    /// # Errors
    /// [`Code::Type`] if the key has bytes.
    pub fn counter(&mut self, key: impl AsRef<[u8]>) -> Result<i64, PluginError> {
        self.calls()?.counter(key.as_ref())
    }

    /// The first keys with a prefix, ascending.
    ///
    /// # Errors
    /// If the host cannot answer.
    pub fn scan(
        &mut self,
        prefix: impl AsRef<[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, StateValue)>, PluginError> {
        self.calls()?.scan(prefix.as_ref(), limit)
    }

    /// The value of a key, from MessagePack with field names: what Python's `get_as` reads, too.
    ///
    /// # Errors
    /// As [`State::get`]; [`Code::Type`] if the bytes are no such value.
    pub fn get_as<T: DeserializeOwned>(
        &mut self,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<T>, PluginError> {
        let key = key.as_ref();
        let Some(bytes) = self.get(key)? else {
            return Ok(None);
        };
        rmp_serde::from_slice(&bytes).map(Some).map_err(|error| {
            let key = String::from_utf8_lossy(key);
            PluginError::new(Code::Type, format!("TYPE: state \"{key}\": {error}"))
        })
    }

    /// Sets the value of a key, as MessagePack with field names.
    ///
    /// # Errors
    /// As [`State::put`]; [`Code::Type`] if the value has no such form.
    pub fn put_as<T: Serialize>(
        &mut self,
        key: impl AsRef<[u8]>,
        value: &T,
    ) -> Result<(), PluginError> {
        let bytes = rmp_serde::to_vec_named(value)
            .map_err(|error| PluginError::new(Code::Type, format!("TYPE: {error}")))?;
        self.put(key, bytes)
    }
}

impl std::fmt::Debug for State<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State")
    }
}
