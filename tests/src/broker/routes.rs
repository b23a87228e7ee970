//! Who gets what: subscriptions with their filters. Written here and not taken from the client's library, so that the two check each other.

use std::collections::BTreeMap;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use tokio::sync::mpsc;

/// Filters of one client; what asks for more is refused.
pub(super) const FILTERS_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Delivery {
    pub topic: Bytes,
    pub payload: Bytes,
    pub qos: QoS,
}

/// How many got it, and how many should have and had no room.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delivered {
    pub to: u64,
    pub lost: u64,
}

/// By client name; a number tells a connection from its successor under the same name.
#[derive(Debug, Default)]
pub(super) struct Routes {
    clients: BTreeMap<String, Route>,
    next: u64,
}

#[derive(Debug)]
struct Route {
    number: u64,
    filters: Vec<(String, QoS)>,
    queue: mpsc::Sender<Delivery>,
}

impl Routes {
    /// A connection under the same name has lost its place: its queue ends.
    pub fn connect(&mut self, client: &str, queue: mpsc::Sender<Delivery>) -> u64 {
        self.next += 1;
        self.clients.insert(client.to_owned(), Route { number: self.next, filters: Vec::new(), queue });
        self.next
    }

    pub fn disconnect(&mut self, client: &str, number: u64) {
        if self.clients.get(client).is_some_and(|route| route.number == number) {
            self.clients.remove(client);
        }
    }

    pub fn subscribe(&mut self, client: &str, number: u64, filter: &str, qos: QoS) -> bool {
        let Some(route) = self.clients.get_mut(client).filter(|route| route.number == number) else { return false };
        route.filters.retain(|(there, _)| there != filter);
        let room = route.filters.len() < FILTERS_MAX;
        if room {
            route.filters.push((filter.to_owned(), qos));
        }
        room
    }

    pub fn unsubscribe(&mut self, client: &str, number: u64, filter: &str) -> bool {
        let Some(route) = self.clients.get_mut(client).filter(|route| route.number == number) else { return false };
        let before = route.filters.len();
        route.filters.retain(|(there, _)| there != filter);
        route.filters.len() < before
    }

    pub fn deliver(&self, topic: &Bytes, payload: &Bytes, qos: QoS) -> Delivered {
        let mut delivered = Delivered::default();
        let Ok(name) = std::str::from_utf8(topic) else { return delivered };
        for route in self.clients.values() {
            let granted = route.filters.iter().filter(|(filter, _)| matches(name, filter)).map(|(_, granted)| *granted as u8).max();
            let Some(granted) = granted else { continue };
            let qos = if granted == 0 || qos == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce };
            match route.queue.try_send(Delivery { topic: topic.clone(), payload: payload.clone(), qos }) {
                Ok(()) => delivered.to += 1,
                Err(_) => delivered.lost += 1,
            }
        }
        delivered
    }
}

/// MQTT 5, section 4.7: `+` is one level, `#` is all that follow and the level above, names that begin with `$` match no wildcard in front.
pub fn matches(topic: &str, filter: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    let mut wanted = filter.split('/');
    loop {
        match (wanted.next(), levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(want), Some(level)) if want == level => {}
            _ => return false,
        }
    }
}

/// A filter that may be subscribed to.
pub(super) fn is_filter(filter: &str) -> bool {
    let levels: Vec<_> = filter.split('/').collect();
    let last = levels.len() - 1;
    let fits = |(at, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => at == last,
        level => !level.contains(['+', '#', '\0']),
    };
    !filter.is_empty() && !filter.starts_with("$share/") && levels.iter().enumerate().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        for (topic, filter) in [
            ("a/b/c", "a/b/c"),
            ("a/b/c", "a/+/c"),
            ("a/b/c", "a/#"),
            ("a", "a/#"),
            ("a/", "a/+"),
            ("/a", "+/a"),
            ("a/b/c", "#"),
            ("a/b/c", "+/+/+"),
            ("$x/a", "$x/#"),
            ("é/b", "+/b"),
        ] {
            assert!(matches(topic, filter), "{topic} {filter}");
        }
        for (topic, filter) in [
            ("a/b/c", "a/b"),
            ("a/b", "a/b/c"),
            ("a/b/c", "a/+"),
            ("ab", "a/#"),
            ("a", "a/+"),
            ("$x/a", "#"),
            ("$x/a", "+/a"),
            ("a/b", "a/B"),
        ] {
            assert!(!matches(topic, filter), "{topic} {filter}");
        }
    }

    #[test]
    fn only_whole_levels_are_wildcards() {
        assert!(["a", "+", "#", "a/+/b", "a/#", "/", "+/#"].iter().all(|f| is_filter(f)));
        assert!(["", "a#", "a/#/b", "a+/b", "#/a", "$share/g/a"].iter().all(|f| !is_filter(f)));
    }

    #[test]
    fn a_full_queue_loses_and_says_so_and_a_successor_takes_the_place() {
        let mut routes = Routes::default();
        let (queue, mut first) = mpsc::channel(1);
        let number = routes.connect("r", queue);
        assert!(routes.subscribe("r", number, "up/+", QoS::AtLeastOnce));
        let send = |routes: &Routes| routes.deliver(&Bytes::from("up/a"), &Bytes::from("x"), QoS::AtLeastOnce);
        assert_eq!((send(&routes).to, send(&routes).lost), (1, 1));
        let (queue, _second) = mpsc::channel(1);
        routes.connect("r", queue);
        assert!(first.try_recv().is_ok() && first.try_recv() == Err(mpsc::error::TryRecvError::Disconnected));
        routes.disconnect("r", number); // the old connection's end must not end the new one
        assert!(!routes.subscribe("r", number, "up/+", QoS::AtLeastOnce));
        assert!(routes.subscribe("r", number + 1, "up/+", QoS::AtMostOnce));
        assert_eq!(send(&routes).to, 1);
    }
}
