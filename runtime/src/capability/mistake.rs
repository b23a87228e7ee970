//! What is wrong with a grant of gateway.toml, whatever link it is for.

use crate::config::At;

/// By its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: [instance.{instance}.grants.{link}] {key}: {why}")]
pub struct GrantError {
    pub at: String,
    pub link: &'static str,
    pub instance: String,
    pub key: String,
    pub why: String,
}

impl GrantError {
    /// Whatever is found in the grant that stands there.
    pub(super) fn within(link: &'static str, instance: &str, at: &At) -> impl Fn(&str, String) -> Self + use<> {
        let (at, instance) = (at.to_string(), instance.to_owned());
        move |key, why| Self { at: at.clone(), link, instance: instance.clone(), key: key.to_owned(), why }
    }
}
