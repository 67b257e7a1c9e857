//! Limits of the text of a statement that are not configured.

/// Levels of parentheses, subqueries and operators within each other. Parsing takes stack for each.
pub(crate) const NESTING_MAX: usize = 100;

/// Levels of a tree that the tokens can make: chains of operators lean to the left, and whoever walks
/// the tree takes stack for each level, some hundred bytes to a few KiB, and the optimizer takes time
/// with the square of the depth.
pub(crate) const DEPTH_MAX: usize = 300;

/// Items of select lists, GROUP BY and ORDER BY in a statement: the optimizer takes time with the
/// square of the number of columns, and no deadline ends it within one of its steps.
pub(crate) const COLUMNS_MAX: usize = 2_500;

/// Items of all other lists in a statement, like those of IN and VALUES: planning takes some twenty
/// microseconds for each. An INSERT of as many bytes as a statement may have stays below.
pub(crate) const ITEMS_MAX: usize = 200_000;

/// Rows a partition pulls from the engine at most in one go; batches are slices of them.
pub(crate) const PULL_ROWS_MAX: usize = 65_536;

/// Rows of the first pull: a query for a few rows reads no more than a few pages.
pub(crate) const PULL_ROWS_MIN: usize = 8_192;
