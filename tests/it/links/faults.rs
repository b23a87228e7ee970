//! The tables of docs/faults.md, docs/attacks.md and docs/trust.md against the tests: each row names one that is there.

use std::collections::BTreeSet;
use std::path::Path;

/// Tests that stand among those of docs/faults.md and prove what is no fault of a line.
const NO_FAULTS: [&str; 24] = [
    "ble::a_peripheral_is_found_and_each_of_its_values_comes_once",
    "buses::what_is_written_to_all_servers_is_done_when_it_is_sent",
    "ble::a_link_and_a_read_are_seen_on_the_simulated_air",
    "ble::order::what_comes_from_several_characteristics_at_once_is_told_in_the_order_in_which_it_was_said",
    "ble::an_indication_is_told_from_a_notification",
    "ble::a_pool_takes_what_is_alike_and_each_peripheral_once",
    "ble::the_grant_that_each_plugin_asks_for_is_one_that_can_be_written",
    "ble::bonds::reading_what_is_encrypted_makes_no_bond_by_itself",
    "ble::bonds::who_advertises_an_instances_name_is_not_paired_in_the_place_of_its_peripheral",
    "ble::bonds::what_was_never_bonded_is_not_forgotten_and_keeps_its_link",
    "ble::neighbours::who_hears_broadcasts_of_a_pool_keeps_the_device_that_it_has",
    "ble::neighbours::who_comes_while_another_is_looked_for_hears_each_broadcast",
    "ble::neighbours::a_pool_leaves_those_alone_that_are_named",
    "ble::neighbours::a_name_that_is_an_address_is_nobodys_address",
    "ble::neighbours::a_person_waits_for_an_adapter_that_is_just_starting",
    "framings::a_terminal_server_of_others_is_told_every_framing_and_flow_control_of_the_shelf",
    "framings::behind_ser2net_every_framing_of_the_shelf_carries_its_bytes_at_its_speed",
    "framings::a_port_of_this_machine_takes_every_speed_of_the_shelf",
    "modbus::a_cancelled_request_is_answered_once_and_its_late_answer_is_nobodys",
    "serial::the_port_is_raw_and_as_the_grant_says",
    "serial::every_byte_value_comes_through_as_it_is",
    "serial::what_came_before_the_port_was_opened_is_nobodys",
    "serial::the_monitor_arrives_whole_and_its_log_tells_what_it_sent",
    "servers::a_port_behind_a_terminal_server_is_a_port_like_any_other",
];

/// Of docs/faults.md.
const ROWS: usize = 72;

/// The rows of a table, each with so many cells, none of them empty; the last one names a test below `folder`. Those tests.
fn each_row_is_a_test(table: &str, cells: usize, count: usize, folder: &str) -> BTreeSet<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(here.join("../docs").join(table)).expect(table);
    let lines = text.lines().skip_while(|l| !l.starts_with("|") || !l.ends_with("| test |")).take_while(|l| l.starts_with('|'));
    let rows: Vec<Vec<&str>> =
        lines.filter(|l| l.starts_with("| ")).skip(1).map(|l| l.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert_eq!(rows.len(), count, "rows of {table}");
    for row in &rows {
        assert!(row.len() == cells && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        let (file, test) = row[cells - 1].trim_matches('`').rsplit_once("::").expect("file::test");
        let path = here.join(folder).join(file.replace("::", "/")).with_extension("rs");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let at = text.find(&format!("fn {test}(")).unwrap_or_else(|| panic!("row \"{}\": there is no test {file}::{test}", row[0]));
        let before = text[..at].trim_end().trim_end_matches("async").trim_end();
        assert!(before.lines().next_back().is_some_and(is_test), "{file}::{test} is no test");
    }
    rows.iter().map(|row| row[cells - 1].trim_matches('`').to_owned()).collect()
}

fn is_test(line: &str) -> bool {
    line.starts_with("#[tokio::test") || line == "#[test]"
}

/// All tests of the files that hold these, by file and name.
fn tests_beside(tests: &BTreeSet<String>, folder: &str) -> BTreeSet<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files: BTreeSet<&str> = tests.iter().filter_map(|test| Some(test.rsplit_once("::")?.0)).collect();
    let mut all = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(here.join(file.replace("::", "/")).with_extension("rs")).expect(file);
        for behind in text.lines().collect::<Vec<_>>().windows(2).filter(|two| is_test(two[0])).map(|two| two[1]) {
            if behind.starts_with("#[ignore") {
                continue; // the child of another one
            }
            let name = behind.trim_start_matches("async ").trim_start_matches("fn ").split('(').next().unwrap_or_default();
            all.insert(format!("{file}::{name}"));
        }
    }
    all
}

//= PROMISES.md#P84
#[test]
fn each_row_of_the_table_of_faults_is_a_test() {
    let rows = each_row_is_a_test("faults.md", 7, ROWS, "it/links");
    let tests = tests_beside(&rows, "it/links");
    assert!(rows.is_subset(&tests), "{:?}", rows.difference(&tests));
    let untold: Vec<_> = tests.difference(&rows).filter(|test| !NO_FAULTS.contains(&test.as_str())).collect();
    assert!(untold.is_empty(), "these have no row in docs/faults.md: {untold:?}");
    let idle: Vec<_> = NO_FAULTS.iter().filter(|test| rows.contains(**test) || !tests.contains(**test)).collect();
    assert!(idle.is_empty(), "these are rows, or no tests: {idle:?}");
}

//= PROMISES.md#P87
#[test]
fn each_row_of_the_table_of_attacks_is_a_test() {
    let _ = each_row_is_a_test("attacks.md", 5, 29, "it");
}

//= PROMISES.md#P153
#[test]
fn each_row_of_the_table_of_attacks_on_the_fleets_metadata_is_a_test() {
    let _ = each_row_is_a_test("trust.md", 3, 20, "it");
}
