//! Which neighbouring segments to merge next.
//!
//! Size-tiered: eight neighbours of one class become one of the next; the class is the logarithm
//! of the size to the base eight. So a row is rewritten once for each class, about six times on
//! its way to the largest, and there are about eight segments of each class.

use std::ops::Range;

/// Largest segment that a merge makes on purpose.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 4 << 30;

/// Segments that are merged at once.
const FAN_IN: usize = 8;

/// What the choice depends on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Candidate {
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    /// Rows of dropped buckets, and deleted ones.
    pub(crate) dead: u64,
    /// A merge of it failed because it is damaged: it stays as it is until the next start.
    pub(crate) damaged: bool,
}

impl Candidate {
    fn class(self) -> u32 {
        self.bytes.max(1).ilog2() / 3
    }

    fn is_dead(self) -> bool {
        self.dead == self.rows
    }

    /// Whether more than a fifth of the rows is dead.
    fn is_waste(self) -> bool {
        self.dead * 5 > self.rows
    }
}

/// The next merge that is due, as a range of `segments`, which are all there are, oldest first.
pub(crate) fn due(segments: &[Candidate]) -> Option<Range<usize>> {
    let sound = |at: &usize| !segments[*at].damaged;
    let all = || (0..segments.len()).filter(sound);
    let one = all().find(|at| segments[*at].is_dead());
    let one = one.or_else(|| all().find(|at| segments[*at].is_waste()));
    if let Some(at) = one {
        return Some(at..at + 1);
    }
    let classes = segments.iter().map(|segment| segment.class());
    (0..=classes.max()?).find_map(|class| tier(segments, class))
}

/// Eight neighbours of a class, or as many of them as one file may hold. Smaller ones between them
/// do not count and go along, or they would keep them apart for ever.
fn tier(segments: &[Candidate], class: u32) -> Option<Range<usize>> {
    let mut members = Vec::new();
    for at in 0..=segments.len() {
        let segment = segments
            .get(at)
            .filter(|s| s.class() <= class && !s.damaged);
        match segment {
            Some(segment) if segment.class() == class => members.push(at),
            Some(_) => {}
            None => {
                if let Some(found) = group(segments, &members) {
                    return Some(found);
                }
                members.clear();
            }
        }
    }
    None
}

/// From one member to the eighth: where the largest is the smallest part, if it is no more than
/// two thirds. A large one is not copied for the sake of a little.
fn group(segments: &[Candidate], members: &[usize]) -> Option<Range<usize>> {
    let mut best: Option<(Range<usize>, f64)> = None;
    for eight in members.windows(FAN_IN) {
        let (start, end) = (eight[0], eight[FAN_IN - 1] + 1);
        let group = start..start + fitting(&segments[start..end]);
        let bytes = || segments[group.clone()].iter().map(|segment| segment.bytes);
        let (sum, largest) = (bytes().sum::<u64>(), bytes().max().unwrap_or(0));
        let gain = sum as f64 / largest.max(1) as f64;
        if gain >= 1.5 && best.as_ref().is_none_or(|(_, most)| gain > *most) {
            best = Some((group, gain));
        }
    }
    best.map(|(group, _)| group)
}

/// How many of the first may become one file.
fn fitting(segments: &[Candidate]) -> usize {
    let mut bytes = 0;
    let sums = segments.iter().map(|segment| {
        bytes += segment.bytes;
        bytes
    });
    sums.take_while(|bytes| *bytes <= SEGMENT_BYTES_MAX).count()
}

/// Groups of neighbours for a full merge: each as large as one file may be. `stale` says which
/// segments are worth rewriting alone.
pub(crate) fn full(segments: &[Candidate], stale: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut start = 0;
    while start < segments.len() {
        if segments[start].damaged {
            start += 1;
            continue;
        }
        let sound = segments[start..].iter().take_while(|s| !s.damaged).count();
        let end = start + fitting(&segments[start..start + sound]).max(1);
        if end - start > 1 || stale(start) {
            groups.push(start..end);
        }
        start = end;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn of(bytes: &[u64]) -> Vec<Candidate> {
        let segments = bytes.iter().map(|bytes| Candidate {
            bytes: *bytes,
            rows: 100,
            ..Candidate::default()
        });
        segments.collect()
    }

    /// Merges until nothing is due; bytes written.
    fn settle(segments: &mut Vec<Candidate>) -> u64 {
        let mut written = 0;
        while let Some(range) = due(segments) {
            let bytes = segments[range.clone()].iter().map(|s| s.bytes).sum();
            assert!(bytes <= SEGMENT_BYTES_MAX);
            segments.splice(range, of(&[bytes]));
            written += bytes;
        }
        written
    }

    #[test]
    fn eight_of_a_class_are_due_and_seven_are_not() {
        assert_eq!(due(&[]), None);
        assert_eq!(due(&of(&[9 * MIB; 7])), None);
        assert_eq!(due(&of(&[9 * MIB; 9])), Some(0..8));
        let mut sizes = [9 * MIB; 12];
        sizes[0] = 900 * MIB;
        assert_eq!(due(&of(&sizes)), Some(1..9));
        sizes[0] = 9 * MIB;
        sizes[7] = 900 * MIB;
        assert_eq!(due(&of(&sizes)), None, "a large one in between");
    }

    #[test]
    fn a_row_is_rewritten_once_for_each_class_and_few_segments_stay() {
        for size in [2 << 10, 5 * MIB, 30 * MIB] {
            let (mut segments, mut written) = (Vec::new(), 0);
            for _ in 0..4096 {
                segments.extend(of(&[size]));
                written += settle(&mut segments);
            }
            let amplification = written as f64 / (4096 * size) as f64;
            assert!(amplification < 4.5, "{size}: {amplification}");
            assert!(segments.len() < 60, "{size}: {}", segments.len());
        }
    }

    #[test]
    fn sizes_in_turn_do_not_keep_each_other_from_merging() {
        let mut segments = Vec::new();
        let (mut written, mut given) = (0, 0);
        for round in 0..2000 {
            let size = [100 * MIB, 3 << 10, 2 * MIB][round % 3];
            given += size;
            segments.extend(of(&[size]));
            written += settle(&mut segments);
        }
        assert!(segments.len() < 80, "{}", segments.len());
        assert!(written < 6 * given, "{}", written / given);
    }

    #[test]
    fn the_dead_go_first_and_the_damaged_stay() {
        let mut segments = of(&[9 * MIB; 9]);
        segments[3].dead = 21;
        assert_eq!(due(&segments), Some(3..4));
        segments[5].dead = 100;
        assert_eq!(due(&segments), Some(5..6));
        segments[5].damaged = true;
        segments[3].dead = 20;
        assert_eq!(due(&segments), None);
        assert_eq!(full(&segments, |_| false), [0..5, 6..9]);
    }

    #[test]
    fn a_full_merge_fills_files() {
        let segments = of(&[3000 * MIB, 1500 * MIB, 1500 * MIB, 100 * MIB, 4000 * MIB]);
        assert_eq!(full(&segments, |at| at == 4), [1..4, 4..5]);
        assert_eq!(full(&of(&[5000 * MIB]), |_| false), []);
    }
}
