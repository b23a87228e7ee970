//! Where one gateway's messages go, and where its acknowledgements come from. The tree is wire's.

use wardgate_wire::{Class, GatewayId, topics};

#[derive(Clone, Debug)]
pub(super) struct Topics {
    root: String,
    gateway: GatewayId,
}

impl Topics {
    pub fn new(root: &str, gateway: &GatewayId) -> Self {
        Self { root: root.to_owned(), gateway: gateway.clone() }
    }

    pub fn up(&self, class: Class) -> String {
        topics::up(&self.root, &self.gateway, class)
    }

    /// All that this gateway publishes, for people.
    pub fn all_up(&self) -> String {
        topics::up(&self.root, &self.gateway, '+')
    }

    pub fn longest_up(&self) -> String {
        Class::ALL.iter().map(|class| self.up(*class)).max_by_key(String::len).unwrap_or_default()
    }

    pub fn ack(&self) -> String {
        topics::ack(&self.root, &self.gateway)
    }
}
