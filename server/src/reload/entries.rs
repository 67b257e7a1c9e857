//! Entries of plugins. The host knows its instances from the start on: one whose entry is gone is
//! paused, and goes on if the entry comes back; new and changed ones wait for the next start.

use std::collections::BTreeSet;

use plugin_host::Host;
use serde_json::Value;

use super::{Change, Outcome};

/// Lists of entries, in the order in which the host has their instances.
pub(super) const LISTS: [&str; 3] = ["triggers", "bgworkers", "sources"];

/// The entries of a configuration.
pub(super) struct Entries {
    list: Vec<(&'static str, Value)>,
    /// Instances that a reload has paused.
    paused: BTreeSet<String>,
}

impl Entries {
    pub(super) fn of(value: &Value) -> Self {
        let of_list = |list: &'static str| {
            let entries = value[list].as_array().into_iter().flatten();
            entries.map(move |entry| (list, entry.clone()))
        };
        Self {
            list: LISTS.into_iter().flat_map(of_list).collect(),
            paused: BTreeSet::new(),
        }
    }

    /// Makes the instances follow other entries, as far as they can.
    pub(super) fn follow(&mut self, host: &Host, new: &Self, dry_run: bool) -> Vec<Change> {
        let instances = host.status();
        let mut changes = Vec::new();
        let mut left: Vec<&(&str, Value)> = new.list.iter().collect();
        for (entry, instance) in self.list.iter().zip(&instances) {
            let id = &instance.id;
            let same = left.iter().position(|other| **other == *entry);
            let key = format!("{}[{id}]", entry.0);
            if let Some(at) = same {
                left.remove(at);
                if self.paused.contains(id) {
                    let done = if dry_run { Ok(()) } else { host.resume(id) };
                    let change = change(key, "is back: goes on where it was", done);
                    if !dry_run && change.outcome == Outcome::Applied {
                        self.paused.remove(id);
                    }
                    changes.push(change);
                }
                continue;
            }
            let other = left.iter().position(|other| is_one(entry, other));
            if let Some(at) = other {
                left.remove(at);
                changes.push(Change {
                    key,
                    what: "changed: the old entry goes on".into(),
                    outcome: Outcome::Restart,
                });
            } else if !self.paused.contains(id) {
                let done = if dry_run { Ok(()) } else { host.pause(id) };
                let change = change(
                    key,
                    "is gone: paused, and forgotten at the next start",
                    done,
                );
                if !dry_run && change.outcome == Outcome::Applied {
                    self.paused.insert(id.clone());
                }
                changes.push(change);
            }
        }
        for (list, entry) in left {
            changes.push(Change {
                key: format!("{list}[{}]", name(entry)),
                what: "is new".into(),
                outcome: Outcome::Restart,
            });
        }
        changes
    }
}

fn change(key: String, what: &str, done: Result<(), plugin_host::Error>) -> Change {
    Change {
        key,
        what: what.into(),
        outcome: match done {
            Ok(()) => Outcome::Applied,
            Err(error) => Outcome::Failed(error.to_string()),
        },
    }
}

/// Whether two entries are meant as one: by name, or by module and pattern.
fn is_one(entry: &(&str, Value), other: &(&str, Value)) -> bool {
    let same = |key: &str| entry.1[key] == other.1[key];
    let named = !entry.1["name"].is_null();
    entry.0 == other.0 && same("name") && (named || (same("module") && same("on")))
}

/// What a person knows a new entry by.
fn name(entry: &Value) -> &str {
    let text = |key: &str| entry[key].as_str();
    text("name").or_else(|| text("module")).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_are_one_by_name_or_by_what_they_are_about() {
        let entry = |value: Value| ("triggers", value);
        let named = entry(json!({"name": "a", "module": "x", "on": "*/*/*"}));
        assert!(is_one(&named, &entry(json!({"name": "a", "module": "y"}))));
        assert!(!is_one(
            &named,
            &entry(json!({"module": "x", "on": "*/*/*"}))
        ));
        let plain = entry(json!({"module": "x", "on": "A/**", "config": {"a": 1}}));
        assert!(is_one(&plain, &entry(json!({"module": "x", "on": "A/**"}))));
        assert!(!is_one(
            &plain,
            &entry(json!({"module": "x", "on": "B/**"}))
        ));
        assert!(!is_one(&plain, &("sources", plain.1.clone())));
    }
}
