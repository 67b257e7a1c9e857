//! Integration tests: simulation, crash, recorded MarketStore traffic, layering.
