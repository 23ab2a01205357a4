//! Tables for people: columns as wide as what is in them, headings above.

/// A column: its heading, and whether what is in it is pushed to the right, as numbers are.
pub struct Column(pub &'static str, pub bool);

/// Rows under their headings. Shorter rows leave their last columns empty; nothing is cut off.
pub fn render(columns: &[Column], rows: &[Vec<String>]) -> String {
    let len = |text: &str| text.chars().count();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(i, Column(heading, _))| {
            rows.iter().filter_map(|row| row.get(i)).map(|cell| len(cell)).fold(len(heading), usize::max)
        })
        .collect();
    let line = |cells: &[String]| {
        let mut line = String::new();
        for (i, cell) in cells.iter().enumerate() {
            let blanks = " ".repeat(widths[i].saturating_sub(len(cell)));
            let gap = if i == 0 { "" } else { "  " };
            let right = columns[i].1;
            line.push_str(&if right {
                format!("{gap}{blanks}{cell}")
            } else {
                format!("{gap}{cell}{blanks}")
            });
        }
        format!("{}\n", line.trim_end())
    };
    let headings: Vec<String> = columns.iter().map(|Column(heading, _)| (*heading).to_owned()).collect();
    std::iter::once(line(&headings)).chain(rows.iter().map(|row| line(row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let columns = [Column("NAME", false), Column("SIZE", true), Column("ENDS", false)];
        let rows = [vec!["é".to_owned(), "12 KiB".to_owned(), String::new()], vec!["longer".to_owned()]];
        assert_eq!(render(&columns, &rows), "NAME      SIZE  ENDS\né       12 KiB\nlonger\n");
    }
}
