//! Vocabulary and pure functions of mkts: keys, timeframes, schemas, column batches, aggregation kernels.
