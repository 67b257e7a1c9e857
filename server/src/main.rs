//! The mkts server.
fn main() {}
