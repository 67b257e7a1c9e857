//! Which of the known words was meant.

/// The known word that is closest to a wrong one, if one is close enough to be meant.
pub fn nearest<'k>(wrong: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let lower = wrong.to_ascii_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|key| {
            // A part of the name is as good as a slip of the finger: `master`, `origins`.
            let part = lower.len() >= 4 && key.contains(&lower);
            (if part { 1 } else { distance(&lower, key) }, key)
        })
        .filter(|(far, key)| *far <= 1 + key.len().max(lower.len()) / 4)
        .min_by_key(|(far, _)| *far)
        .map(|(_, key)| key)
}

/// Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let width = b.len() + 1;
    let mut cost = vec![0usize; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            let at = i * width + j;
            if i == 0 || j == 0 {
                cost[at] = i + j;
                continue;
            }
            let replace = cost[at - width - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(cost[at - width] + 1).min(cost[at - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(cost[at - 2 * width - 2] + 1);
            }
            cost[at] = best;
        }
    }
    cost[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(nearest("alrets", ["alerts", "stream"]), Some("alerts"));
        assert_eq!(nearest("colour", ["alerts"]), None);
    }
}
