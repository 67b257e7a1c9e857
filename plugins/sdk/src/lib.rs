//! What a plugin author compiles against: traits, contexts, batches.
