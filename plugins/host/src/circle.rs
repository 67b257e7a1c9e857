//! Triggers that write in a circle, as far as their patterns prove it.
//!
//! A trigger leads to another if that one fires on what it writes. If it fires on all that the first
//! may write, every round trip makes another one: the circle is proved, and only the hops limit would
//! end it. If it fires on some of it, the circle is possible. Of a plugin whose manifest does not say
//! what it writes, and of patterns read as regular expressions, nothing is known.

use model::KeyPattern;

use crate::entry::Match;
use crate::registry::{Outcome, Plan};

/// How sure one trigger leads to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Leads {
    Never,
    Maybe,
    Always,
}

/// A circle: places in the list of plans, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Circle {
    pub(crate) of: Vec<usize>,
    /// Whether it is proved, not only possible.
    pub(crate) is_proved: bool,
}

impl Circle {
    /// What is wrong, for an operator.
    pub(crate) fn describe(&self, plans: &[Plan]) -> String {
        let ids: Vec<&str> = self
            .of
            .iter()
            .chain(self.of.first())
            .map(|at| &*plans[*at].id)
            .collect();
        let ids = ids.join(" -> ");
        if self.is_proved {
            format!(
                "on: triggers write in a circle, {ids}: each fires on all that the one before it may \
                 write; change \"on\" of one of them (limits.hops would end each round)"
            )
        } else {
            format!(
                "on: triggers may write in a circle, {ids}: each fires on some of what the one before \
                 it may write"
            )
        }
    }
}

/// The shortest circle through each trigger that is in one, each told once.
pub(crate) fn circles(plans: &[Plan]) -> Vec<Circle> {
    let leads: Vec<Vec<Leads>> = plans
        .iter()
        .map(|from| plans.iter().map(|to| leads(from, to)).collect())
        .collect();
    find(&leads)
}

fn find(leads: &[Vec<Leads>]) -> Vec<Circle> {
    let mut found: Vec<Circle> = Vec::new();
    for (at_least, is_proved) in [(Leads::Always, true), (Leads::Maybe, false)] {
        for start in 0..leads.len() {
            let is_known = |circle: &Circle| circle.of.contains(&start);
            if found.iter().any(is_known) {
                continue;
            }
            if let Some(of) = shortest(leads, start, at_least) {
                found.push(Circle { of, is_proved });
            }
        }
    }
    found
}

/// The shortest way from `start` back to it.
fn shortest(leads: &[Vec<Leads>], start: usize, at_least: Leads) -> Option<Vec<usize>> {
    let mut before: Vec<Option<usize>> = vec![None; leads.len()];
    let mut seen = std::collections::VecDeque::from([start]);
    while let Some(from) = seen.pop_front() {
        for to in (0..leads.len()).filter(|to| leads[from][*to] >= at_least) {
            if to == start {
                let mut of = vec![from];
                while let Some(earlier) = of
                    .last()
                    .filter(|at| **at != start)
                    .and_then(|at| before[*at])
                {
                    of.push(earlier);
                }
                of.reverse();
                return Some(of);
            }
            if before[to].is_none() {
                before[to] = Some(from);
                seen.push_back(to);
            }
        }
    }
    None
}

fn leads(from: &Plan, to: &Plan) -> Leads {
    let (Outcome::Ready(writer), Outcome::Ready(_)) = (&from.outcome, &to.outcome) else {
        return Leads::Never;
    };
    let is_own = from.id == to.id;
    if !from.is_trigger() || !to.is_trigger() || (is_own && !from.entry.fire_on_own) {
        return Leads::Never;
    }
    let writes = writer.writes.patterns();
    let Some(on) = patterns(to) else {
        return Leads::Never;
    };
    if writes.is_empty() {
        return Leads::Never;
    }
    if writes.iter().all(|w| on.iter().any(|on| on.covers(w))) {
        Leads::Always
    } else if writes.iter().any(|w| on.iter().any(|on| on.meets(w))) {
        Leads::Maybe
    } else {
        Leads::Never
    }
}

/// What it fires on; `None` if that is not known.
fn patterns(plan: &Plan) -> Option<Vec<KeyPattern>> {
    let entry = &plan.entry;
    if entry.on.is_empty() {
        return Some(vec![KeyPattern::any()]);
    }
    if entry.match_mode == Match::MarketStore {
        return None;
    }
    let parsed = entry.on.iter().map(|text| KeyPattern::parse(text));
    parsed.collect::<Result<_, _>>().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_circle_is_found_once_and_proved_ones_first() {
        use Leads::{Always as A, Maybe as M, Never as N};
        let circle = |of: &[usize], is_proved| Circle {
            of: of.to_vec(),
            is_proved,
        };
        let leads = [
            vec![N, A, N, N, N],
            vec![N, N, M, N, N],
            vec![A, N, N, N, N],
            vec![N, N, N, A, N],
            vec![A, A, A, A, N],
        ];
        assert_eq!(
            find(&leads),
            [circle(&[3], true), circle(&[0, 1, 2], false)]
        );
        let leads = [vec![N, A, M], vec![A, N, N], vec![M, N, N]];
        assert_eq!(
            find(&leads),
            [circle(&[0, 1], true), circle(&[2, 0], false)]
        );
    }
}
