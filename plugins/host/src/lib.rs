//! Runs plugins: registry, on-patterns, windows, cursors, dispatch.
