//! Aligned columns.

/// Lines of a table, the heads first. A head that begins with `>` aligns its column to the right; an
/// empty cell is shown as `-`.
pub(in crate::cli) fn lines(heads: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let names: Vec<String> = heads
        .iter()
        .map(|head| head.trim_start_matches('>').to_owned())
        .collect();
    let all: Vec<&Vec<String>> = std::iter::once(&names).chain(rows).collect();
    let width = |column: usize| {
        let cells = all.iter().map(|row| shown(&row[column]).chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |row: &&Vec<String>| {
        let cells = row.iter().zip(&widths).zip(heads);
        let cells = cells.map(|((cell, width), head)| match head.starts_with('>') {
            true => format!("{:>width$}", shown(cell)),
            false => format!("{:<width$}", shown(cell)),
        });
        let cells: Vec<String> = cells.collect();
        cells.join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect()
}

/// The lines as one text.
pub(in crate::cli) fn text(heads: &[&str], rows: &[Vec<String>]) -> String {
    lines(heads, rows).join("\n") + "\n"
}

fn shown(cell: &str) -> &str {
    if cell.is_empty() { "-" } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_to_either_side() {
        let row = |a: &str, b: &str, c: &str| vec![a.to_owned(), b.to_owned(), c.to_owned()];
        let rows = [row("a", "5", ""), row("longer", "1234", "end")];
        assert_eq!(
            text(&["ID", ">N", "WHY"], &rows),
            "ID         N  WHY\na          5  -\nlonger  1234  end\n"
        );
    }
}
