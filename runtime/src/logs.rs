//! How the log leaves: words for people at a terminal, one JSON object a line for machines, and the journal told how grave each line is.

use std::fmt;
use std::io::IsTerminal as _;

use clap::ValueEnum;
use serde_json::{Map, Value as Json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    Text,
    Json,
}

/// `service`: nobody looks at it but through the log. Says in which form it begins.
pub fn begin(asked: Option<Form>, service: bool) -> Form {
    let terminal = std::io::stderr().is_terminal();
    let form = asked.unwrap_or(if service && !terminal { Form::Json } else { Form::Text });
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match form {
        Form::Text => log.with_ansi(terminal).with_target(false).init(),
        Form::Json => {
            log.fmt_fields(JsonFields::new()).event_format(JsonLine { journal: stderr_is_the_journal() }).init();
            std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}"))); // a panic is a line like any other
        }
    }
    form
}

/// systemd says which stream leads to its journal (sd-daemon(3), systemd.exec(5)).
fn stderr_is_the_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|s| named == format!("{}:{}", s.st_dev, s.st_ino))
}

struct JsonLine {
    /// Each line begins with its priority, which the journal takes off again.
    journal: bool,
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Map::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let Some(of_span) = extensions.get::<FormattedFields<N>>() else { continue };
            let of_span: Map<String, Json> = serde_json::from_str(&of_span.fields).unwrap_or_default();
            // `instance{name=...}`: the name of what the span is called after
            fields.extend(of_span.into_iter().map(|(key, value)| (if key == "name" { span.name().to_owned() } else { key }, value)));
        }
        event.record(&mut Fields(&mut fields));
        let (level, target) = (event.metadata().level(), event.metadata().target());
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let message = fields.remove("message").unwrap_or_else(|| "".into());
        ["time", "level", "target"].iter().for_each(|own| drop(fields.remove(*own)));
        if self.journal {
            write!(out, "<{}>", priority(level))?;
        }
        write!(out, r#"{{"time":"{time}","level":"{}","target":{},"message":{message}"#, level.as_str(), Json::from(target))?;
        for (key, value) in fields {
            write!(out, ",{}:{value}", Json::from(key))?;
        }
        writeln!(out, "}}")
    }
}

/// As syslog counts.
fn priority(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

struct Fields<'a>(&'a mut Map<String, Json>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Json>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}
