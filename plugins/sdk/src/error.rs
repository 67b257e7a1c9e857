//! How calls in both directions fail.

/// What kind of failure a [`PluginError`] is. The numbers are those of the C border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum Code {
    /// Any failure.
    Error = -1,
    /// A wrong `config:`.
    Config = -2,
    /// Host and plugin do not fit together.
    Abi = -3,
    /// A handle used after its call was over.
    Stale = -4,
    /// A documented limit is passed.
    Limit = -5,
    /// It took too long.
    Timeout = -6,
    /// The host asked the plugin to end.
    Cancelled = -7,
    /// This host does not offer the call.
    Unsupported = -8,
    /// The answer of an older start or attempt.
    Fenced = -9,
    /// It is there already.
    Exists = -10,
    /// It is not there.
    NotFound = -11,
    /// A counter where bytes are wanted, or the reverse.
    Type = -12,
    /// A panic, caught at the border.
    Panic = -100,
}

impl Code {
    /// The code of a number; what is not known is an [`Code::Error`].
    pub const fn of(number: i32) -> Self {
        match number {
            -2 => Self::Config,
            -3 => Self::Abi,
            -4 => Self::Stale,
            -5 => Self::Limit,
            -6 => Self::Timeout,
            -7 => Self::Cancelled,
            -8 => Self::Unsupported,
            -9 => Self::Fenced,
            -10 => Self::Exists,
            -11 => Self::NotFound,
            -12 => Self::Type,
            -100 => Self::Panic,
            _ => Self::Error,
        }
    }
}

/// Any failure of a plugin or of a call of the host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct PluginError {
    /// Kind of failure.
    pub code: Code,
    /// What happened, in one line.
    pub text: String,
}

impl PluginError {
    /// A failure of a kind.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    /// A call that this host does not offer.
    pub fn unsupported(call: &str) -> Self {
        Self::new(
            Code::Unsupported,
            format!("UNSUPPORTED: this host does not offer {call} here"),
        )
    }
}

impl From<String> for PluginError {
    fn from(text: String) -> Self {
        Self::new(Code::Error, text)
    }
}

impl From<&str> for PluginError {
    fn from(text: &str) -> Self {
        Self::new(Code::Error, text)
    }
}

/// Rows, keys and schemas are made with `?`.
macro_rules! from_model {
    ($($error:ident)*) => { $(
        impl From<model::$error> for PluginError {
            fn from(error: model::$error) -> Self {
                Self::new(Code::Error, error.to_string())
            }
        }

        impl From<model::$error> for FireError {
            fn from(error: model::$error) -> Self {
                PluginError::from(error).into()
            }
        }
    )* };
}

from_model!(BatchError KeyError PatternError SchemaError TimeError TimeframeError ZoneError);

/// A wrong `config:`, with the path of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("config{path}: {message}")]
pub struct ConfigError {
    /// Path below `config`, empty or starting with a dot: `.destinations[2]`.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl ConfigError {
    /// An error of the whole config.
    pub fn whole(message: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            message: message.into(),
        }
    }
}

/// How a fire failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FireError {
    /// Try again, after the host's back-off.
    #[error("{0}")]
    Retry(String),
    /// Try again, not before this time has passed.
    #[error("{text}")]
    RetryAfter {
        /// Why.
        text: String,
        /// The pause.
        after: std::time::Duration,
    },
    /// Give this event up; go on with the next.
    #[error("{0}")]
    Skip(String),
    /// The instance cannot go on.
    #[error("{0}")]
    Fatal(String),
}

impl From<PluginError> for FireError {
    fn from(error: PluginError) -> Self {
        Self::Retry(error.text)
    }
}
