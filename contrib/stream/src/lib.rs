//! Trigger that pushes new rows to stream subscribers.
