//! A filter that says again what it hears, and in words what it is told of its inputs.

use std::cell::Cell;

wit_bindgen::generate!({
    inline: "package wardgate:echo; world echo {
        import wardgate:device/gateway@0.1.0;
        export wardgate:device/lifecycle@0.1.0; export wardgate:device/filter-events@0.1.0; }",
    path: "../../../wit",
    generate_all,
});

use exports::wardgate::device::{filter_events, lifecycle};
use wardgate::device::gateway;
use wardgate::device::types::*;

type Done = Result<(), Problem>;

const INPUTS: Channel = 3;
const WORDS: Channel = INPUTS;

thread_local! {
    static BURN: Cell<u64> = const { Cell::new(0) };
}

struct Echo;

fn describe(channel: Channel, name: &str, kind: Kind) {
    let meaning = Description { name: name.into(), kind, code: None, unit: String::new(), shape: None, personal: false, facts: vec![] };
    gateway::describe(channel, &meaning);
}

fn emit(channel: Channel, value: Value) {
    gateway::emit(&[Observation { at: DeviceTime::NotTold, readings: vec![Reading { channel, value, quality: Quality::empty() }] }]);
}

fn say(words: String) -> Done {
    emit(WORDS, Value::Text(words));
    burn();
    Ok(())
}

fn burn() {
    (0..BURN.get()).for_each(|n| _ = std::hint::black_box(n));
}

impl lifecycle::Guest for Echo {
    fn open(_: Moment, start: lifecycle::Opening) -> Done {
        let burn = start.settings.iter().find(|fact| fact.name == "burn").map_or(0, |fact| fact.value.parse().expect("a number"));
        BURN.set(burn);
        (0..INPUTS).for_each(|input| describe(input, &format!("heard-{input}"), Kind::Numeric));
        describe(WORDS, "words", Kind::Text);
        say("open".into())
    }
    fn timer(_: Moment, _: Tag) -> Done {
        Ok(())
    }
    fn durable(_: Moment, _: Tag) -> Done {
        Ok(())
    }
    fn command(_: Moment, tag: Tag, _: String, _: String, _: Vec<u8>) -> Done {
        gateway::answer(tag, Ok(b""));
        Ok(())
    }
    fn close(_: Moment) -> Done {
        Ok(())
    }
}

impl filter_events::Guest for Echo {
    fn bound(_: Moment, input: Channel, meaning: Description) -> Done {
        say(format!("bound {input} {} {}", meaning.name, meaning.unit))
    }
    fn unbound(_: Moment, input: Channel) -> Done {
        say(format!("unbound {input}"))
    }
    fn observed(_: Moment, seen: Observation) -> Done {
        seen.readings.into_iter().for_each(|r| emit(r.channel, r.value));
        burn();
        Ok(())
    }
    fn sampled(_: Moment, block: Waveform) -> Done {
        emit(block.channel, Value::Number(Decimal { mantissa: block.counts.len() as i64, exponent: 0 }));
        burn();
        Ok(())
    }
    fn raised(_: Moment, input: Channel, alert: Alert) -> Done {
        say(format!("raised {input} {}", alert.id))
    }
    fn missed(_: Moment, input: Channel, count: Option<u64>, because: Missing) -> Done {
        say(format!("missed {input} {count:?} {because:?}"))
    }
}

export!(Echo);
