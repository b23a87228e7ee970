//! What the sandbox costs here, printed: `cargo test -p wardgate-tests --test it measure -- --ignored --nocapture`. Nothing is asserted.
//! In the development profile the host's share is several times what it is in a release.

#![allow(clippy::disallowed_methods, reason = "measuring is what it is for")]

use std::time::Instant;

use wardgate::contract::Event;
use wardgate::plugin::{CompileLimits, Origin, prepare};

use super::{NOW, both_links, compiler, folder, host, hostile, hostile_package, opened, opening};

fn print(what: &str, times: u32, mut work: impl FnMut()) {
    let begin = Instant::now();
    (0..times).for_each(|_| work());
    eprintln!("{what:<50} {:>10.2} us", begin.elapsed().as_secs_f64() * 1e6 / f64::from(times));
}

#[test]
#[ignore = "measures"]
fn the_costs_of_a_plugin() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let compiler = compiler(&folder("measure"), CompileLimits::default());
    let package = hostile_package();
    eprintln!("profile {}, component {} bytes", host().profile.name(), package.component.len());
    let load = || runtime.block_on(prepare(&host(), &compiler, &package, &both_links())).unwrap().1;
    print("compile in a child, keep, load, link, start", 1, || assert_eq!(load(), Origin::Compiled));
    print("load from cache, link, start", 20, || assert_eq!(load(), Origin::Cache));
    let plugin = hostile();
    print("start an instance and drop it", 1000, || drop(plugin.start().unwrap()));
    print("start and open", 1000, || drop(plugin.start().unwrap().open(NOW, &opening(&[], None)).unwrap()));
    let mut instance = opened();
    let count = Event::SerialReceived(b"count".to_vec());
    print("a call that emits and keeps", 20_000, || drop(instance.call(NOW, &count).unwrap()));
    print("a call that emits (timer)", 20_000, || drop(instance.call(NOW, &Event::Timer(1)).unwrap()));
    let mut held = Some(instance);
    print("the same on a blocking thread and back", 2000, || {
        let mut moved = held.take().unwrap();
        let call = async move { tokio::task::spawn_blocking(move || (moved.call(NOW, &Event::Timer(1)).map(drop).is_ok(), moved)).await };
        held = Some(runtime.block_on(call).unwrap().1);
    });
}
