//! A glucose meter tells a record in two pieces, over two characteristics, and several records in one connection event: each comes with its context.

use wardgate_lab::stage::{bluetooth, unsigned};

use crate::ble_ward::Ward;
use crate::ward::Folder;

const METER: &str = "F0:00:00:00:37:01";
const RECORDS: usize = 24;

//= PROMISES.md#P350
#[test]
fn each_record_of_a_meter_that_tells_several_in_one_connection_event_comes_with_its_context() {
    let folder = Folder::new("ble-order");
    let mut ward = Ward::new(&folder, &[format!("diary={RECORDS}:meter:{METER}")]);
    ward.configure(&bluetooth("meter", &unsigned("ble-glucose"), "ble-glucose", METER, "bed-1"));
    ward.order("together meter 12");
    ward.start_gateway();
    let came = ward.hears("meter", "sequence", |came| came.len() >= RECORDS);
    assert_eq!(came, ward.went("meter", "sequence"));
    let came = ward.hears("meter", "meal", |came| came.len() >= RECORDS);
    assert_eq!(came, ward.went("meter", "meal")[..RECORDS]);
    ward.stop();
}
