//! The table of faults against the tests: each row names one that is there.

use std::path::Path;

//= PROMISES.md#P84
#[test]
fn each_row_of_the_table_of_faults_is_a_test() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(here.join("../docs/faults.md")).expect("docs/faults.md");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|l| l.starts_with("| ") && !l.starts_with("| fault |"))
        .map(|l| l.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() >= 19, "{} rows", rows.len());
    for row in &rows {
        assert!(row.len() == 7 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        let (file, test) = row[6].trim_matches('`').split_once("::").expect("file::test");
        let text = std::fs::read_to_string(here.join(format!("it/links/{file}.rs"))).unwrap_or_default();
        let at = text
            .find(&format!("fn {test}("))
            .unwrap_or_else(|| panic!("row \"{}\" on {}: there is no test {file}::{test}", row[0], row[1]));
        let before = text[..at].trim_end().trim_end_matches("async").trim_end();
        assert!(before.lines().next_back().is_some_and(|l| l.starts_with("#[tokio::test") || l == "#[test]"), "{file}::{test} is no test");
    }
}
