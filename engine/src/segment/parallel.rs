//! Work that is shared by two threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// What `of` gives for each number below `count`, in order. The caller and one more thread take
/// the next number when they have finished one; both are done when this returns.
pub(super) fn map<T: Send>(count: usize, of: impl Fn(usize) -> T + Sync) -> Vec<T> {
    if count < 2 {
        return (0..count).map(of).collect();
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(count));
    let work = || {
        loop {
            // Relaxed: nothing but the number itself is shared by it.
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            let result = of(number);
            done.lock().push((number, result));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let mut done = done.into_inner();
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_each_once() {
        for count in [0, 1, 2, 3, 100] {
            let calls = AtomicUsize::new(0);
            let squares = map(count, |number| {
                calls.fetch_add(1, Ordering::Relaxed);
                number * number
            });
            assert_eq!(squares, (0..count).map(|n| n * n).collect::<Vec<_>>());
            assert_eq!(calls.into_inner(), count);
        }
    }
}
