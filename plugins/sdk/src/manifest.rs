//! What a plugin says of itself: as constants in its source, and as read from its file.

use serde::{Deserialize, Serialize};

/// What a plugin can be run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Fires after durable writes.
    Trigger,
    /// Runs beside the server for as long as it likes.
    BgWorker,
    /// Hands rows to the host, which owns the loop.
    Source,
}

impl Kind {
    /// The word used in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::BgWorker => "bgworker",
            Self::Source => "source",
        }
    }
}

/// How the host keeps the place of a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// The place is never stored: nothing fires again after a restart, something may be missing.
    Volatile,
    /// Every committed row is fired at least once.
    Durable,
    /// Rows written, state, timers and place of a window appear together or not at all.
    Exact,
}

impl Delivery {
    /// The word used in manifests and in mkts.yml.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Volatile => "volatile",
            Self::Durable => "durable",
            Self::Exact => "exact",
        }
    }
}

/// How many objects of a plugin there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One per instance, never entered twice at once.
    #[default]
    Constructor,
    /// One for all instances with the same module and config; calls may overlap.
    Singleton,
}

impl Scope {
    /// The word used in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Constructor => "constructor",
            Self::Singleton => "singleton",
        }
    }
}

/// What one namespace of the state store belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateScope {
    /// The instance: one writer, so its `parallelism` is 1.
    #[default]
    Instance,
    /// Each bucket key of the instance.
    Key,
}

impl StateScope {
    /// The word used in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Key => "key",
        }
    }
}

/// What a plugin says of itself, in its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manifest {
    /// Name, the stem of its module: letters, digits, `_` and `-`.
    pub name: &'static str,
    /// Semantic version.
    pub version: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Delivery unless the entry says otherwise.
    pub delivery: Delivery,
    /// Whether it understands [`crate::Event::Gap`]: it can compute its effects from stored rows.
    pub accepts_gap: bool,
    /// How many objects there are.
    pub scope: Scope,
    /// What a namespace of its state belongs to.
    pub state_scope: StateScope,
    /// Version of what it keeps in the state store; [`crate::Plugin::migrate`] brings older forward.
    pub state_version: u32,
    /// Patterns of the bucket keys it may write; empty means every key.
    pub writes: &'static [&'static str],
    /// Keys of its config that must not be shown.
    pub secrets: &'static [&'static str],
    /// Names of the metrics it counts.
    pub metrics: &'static [&'static str],
}

impl Manifest {
    /// A manifest with the defaults: delivery durable, no gaps, one object and one namespace of
    /// state per instance, state version 1.
    pub const fn new(name: &'static str, version: &'static str) -> Self {
        Self {
            name,
            version,
            about: "",
            delivery: Delivery::Durable,
            accepts_gap: false,
            scope: Scope::Constructor,
            state_scope: StateScope::Instance,
            state_version: 1,
            writes: &[],
            secrets: &[],
            metrics: &[],
        }
    }

    /// The same as a module's file says it.
    pub fn describe(&self, kind: Kind) -> Description {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Description {
            name: self.name.into(),
            version: self.version.into(),
            about: self.about.into(),
            kind,
            abi: [0, 0],
            entry: String::new(),
            scope: self.scope,
            state_scope: self.state_scope,
            state_version: self.state_version,
            delivery: self.delivery,
            accepts_gap: self.accepts_gap,
            writes: owned(self.writes),
            secrets: owned(self.secrets),
            metrics: owned(self.metrics),
        }
    }
}

/// What a module says of itself: the JSON of its manifest section. Unknown fields are those of a
/// newer SDK and passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Name, the stem of the module.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// One line for people.
    #[serde(default)]
    pub about: String,
    /// What it can be run as.
    pub kind: Kind,
    /// Major and least minor number of the C border; zeros if it is linked in.
    #[serde(default)]
    pub abi: [u32; 2],
    /// Name of the exported function; empty if it is linked in.
    #[serde(default)]
    pub entry: String,
    /// How many objects there are.
    #[serde(default)]
    pub scope: Scope,
    /// What a namespace of its state belongs to.
    #[serde(default)]
    pub state_scope: StateScope,
    /// Version of what it keeps in the state store.
    #[serde(default = "first_version")]
    pub state_version: u32,
    /// Delivery unless the entry says otherwise.
    #[serde(default = "durable")]
    pub delivery: Delivery,
    /// Whether it understands gaps.
    #[serde(default)]
    pub accepts_gap: bool,
    /// Patterns of the bucket keys it may write; empty means every key.
    #[serde(default)]
    pub writes: Vec<String>,
    /// Keys of its config that must not be shown.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Names of the metrics it counts.
    #[serde(default)]
    pub metrics: Vec<String>,
}

const fn first_version() -> u32 {
    1
}

const fn durable() -> Delivery {
    Delivery::Durable
}
