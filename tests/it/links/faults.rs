//! The tables of docs/faults.md and docs/attacks.md against the tests: each row names one that is there.

use std::path::Path;

/// The rows of a table, each with so many cells, none of them empty; the last one names a test below `folder`.
fn each_row_is_a_test(table: &str, cells: usize, rows_min: usize, folder: &str) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(here.join("../docs").join(table)).expect(table);
    let rows: Vec<Vec<&str>> =
        text.lines().filter(|l| l.starts_with("| ")).skip(1).map(|l| l.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert!(rows.len() >= rows_min, "{} rows", rows.len());
    for row in &rows {
        assert!(row.len() == cells && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        let (file, test) = row[cells - 1].trim_matches('`').rsplit_once("::").expect("file::test");
        let path = here.join(folder).join(file.replace("::", "/")).with_extension("rs");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let at = text.find(&format!("fn {test}(")).unwrap_or_else(|| panic!("row \"{}\": there is no test {file}::{test}", row[0]));
        let before = text[..at].trim_end().trim_end_matches("async").trim_end();
        assert!(before.lines().next_back().is_some_and(|l| l.starts_with("#[tokio::test") || l == "#[test]"), "{file}::{test} is no test");
    }
}

//= PROMISES.md#P84
#[test]
fn each_row_of_the_table_of_faults_is_a_test() {
    each_row_is_a_test("faults.md", 7, 30, "it/links");
}

//= PROMISES.md#P87
#[test]
fn each_row_of_the_table_of_attacks_is_a_test() {
    each_row_is_a_test("attacks.md", 5, 27, "it");
}
