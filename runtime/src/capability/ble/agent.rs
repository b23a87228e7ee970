//! Answers BlueZ while a person pairs a peripheral: what it is asked goes to that person, and whatever is weaker than the site allows is refused.

use std::sync::{Arc, Mutex};

use zbus::OwnedObjectPath;
use zbus::fdo::Error;

use crate::config::Pairing;

/// Where it is on our connection.
pub(super) const PATH: &str = "/wardgate/agent";
const PASSKEY_MAX: u32 = 999_999;

/// Asks a person.
pub type Ask = dyn Fn(Question) -> Answer + Send + Sync;

/// What a person is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The six digits that the peripheral shows.
    Passkey { name: String },
    /// Does it show these?
    Compare { name: String, passkey: u32 },
    /// Only told: these are to be typed at the peripheral.
    Type { name: String, passkey: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The passkey, or that it is the same.
    Yes(u32),
    /// It is not the same, or nothing like a passkey was typed.
    No,
    /// Nobody is there who could answer.
    Nobody,
}

pub(super) struct Agent {
    /// Of the one that is paired now; nobody else is answered.
    device: String,
    name: String,
    least: Pairing,
    ask: Arc<Ask>,
    outcome: Arc<Mutex<Outcome>>,
}

/// How a pairing went, as far as the agent was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Where nothing was asked, it just worked.
    pub by: Pairing,
    /// Weaker than the site allows, and refused for that.
    pub refused: Option<Pairing>,
    pub said: Said,
}

/// What the person said to what BlueZ asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing was asked.
    #[default]
    Unasked,
    /// It was asked, and is not answered yet.
    Nothing,
    /// The digits are the same.
    Yes,
    No,
    /// Digits, right or not.
    Digits,
    /// No six digits.
    Blank,
    /// Nobody was there to say anything.
    Nobody,
}

impl Agent {
    pub(super) fn new(device: String, name: String, least: Pairing, ask: Arc<Ask>) -> Self {
        Self {
            device,
            name,
            least,
            ask,
            outcome: Arc::new(Mutex::new(Outcome { by: Pairing::JustWorks, refused: None, said: Said::Unasked })),
        }
    }

    /// It is known in the end.
    pub(super) fn outcome(&self) -> Arc<Mutex<Outcome>> {
        self.outcome.clone()
    }

    fn admit(&self, device: &OwnedObjectPath, by: Pairing) -> Result<(), Error> {
        if device.as_str() != self.device {
            return Err(Error::AccessDenied("another device is being paired".into()));
        }
        let mut outcome = self.outcome.lock().expect("no holder panics");
        if by < self.least {
            outcome.refused = Some(by);
            return Err(Error::AccessDenied("the site asks for more".into()));
        }
        outcome.by = by;
        Ok(())
    }

    async fn asked(&self, question: Question) -> Result<u32, Error> {
        let (yes, no) = match question {
            Question::Passkey { .. } => (Said::Digits, Said::Blank),
            Question::Compare { .. } => (Said::Yes, Said::No),
            Question::Type { .. } => (Said::Unasked, Said::Unasked), // what is typed there, the peripheral knows
        };
        self.say(Said::Nothing);
        let ask = self.ask.clone();
        let (said, passkey) = match tokio::task::spawn_blocking(move || ask(question)).await {
            Ok(Answer::Yes(passkey)) if passkey <= PASSKEY_MAX => (yes, Some(passkey)),
            Ok(Answer::Nobody) => (Said::Nobody, None),
            Ok(Answer::Yes(_) | Answer::No) | Err(_) => (no, None),
        };
        self.say(said);
        passkey.ok_or_else(|| Error::AccessDenied("no person said yes".into()))
    }

    fn say(&self, said: Said) {
        self.outcome.lock().expect("no holder panics").said = said;
    }
}

#[zbus::interface(name = "org.bluez.Agent1")]
impl Agent {
    async fn release(&self) {}

    async fn cancel(&self) {}

    async fn request_pin_code(&self, _device: OwnedObjectPath) -> Result<String, Error> {
        Err(Error::AccessDenied("of Bluetooth before low energy".into()))
    }

    async fn request_passkey(&self, device: OwnedObjectPath) -> Result<u32, Error> {
        self.admit(&device, Pairing::Passkey)?;
        self.asked(Question::Passkey { name: self.name.clone() }).await
    }

    async fn display_passkey(&self, device: OwnedObjectPath, passkey: u32, entered: u16) -> Result<(), Error> {
        self.admit(&device, Pairing::Passkey)?;
        if entered == 0 {
            self.asked(Question::Type { name: self.name.clone(), passkey }).await?;
        }
        Ok(())
    }

    async fn request_confirmation(&self, device: OwnedObjectPath, passkey: u32) -> Result<(), Error> {
        self.admit(&device, Pairing::Compare)?;
        self.asked(Question::Compare { name: self.name.clone(), passkey }).await.map(drop)
    }

    async fn request_authorization(&self, device: OwnedObjectPath) -> Result<(), Error> {
        self.admit(&device, Pairing::JustWorks)
    }

    async fn authorize_service(&self, _device: OwnedObjectPath, _uuid: String) -> Result<(), Error> {
        Err(Error::AccessDenied("no peripheral uses this gateway".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(least: Pairing, says: Answer) -> (Agent, OwnedObjectPath) {
        let path = OwnedObjectPath::try_from("/org/bluez/hci0/dev_1").unwrap();
        (Agent::new(path.to_string(), "belt".into(), least, Arc::new(move |_| says)), path)
    }

    #[tokio::test]
    async fn nothing_weaker_than_the_site_allows_and_nobody_else_is_answered() {
        let (strict, path) = agent(Pairing::Passkey, Answer::Yes(123_456));
        assert!(strict.request_confirmation(path.clone(), 1).await.is_err(), "only compared");
        assert!(strict.request_authorization(path.clone()).await.is_err());
        let now = *strict.outcome().lock().unwrap();
        assert_eq!((now.by, now.refused), (Pairing::JustWorks, Some(Pairing::JustWorks)), "nothing was asked that counts");
        assert_eq!(strict.request_passkey(path).await.unwrap(), 123_456);
        assert_eq!(strict.outcome().lock().unwrap().by, Pairing::Passkey);
        let other = OwnedObjectPath::try_from("/org/bluez/hci0/dev_2").unwrap();
        assert!(strict.request_passkey(other).await.is_err());
    }

    #[tokio::test]
    async fn a_person_who_says_no_pairs_nothing() {
        let (lax, path) = agent(Pairing::JustWorks, Answer::No);
        let said = |agent: &Agent| agent.outcome().lock().unwrap().said;
        assert_eq!(said(&lax), Said::Unasked);
        assert!(lax.request_passkey(path.clone()).await.is_err());
        assert_eq!(said(&lax), Said::Blank);
        assert!(lax.request_confirmation(path.clone(), 1).await.is_err());
        assert_eq!(said(&lax), Said::No);
        assert!(lax.request_authorization(path.clone()).await.is_ok(), "the site said that this is enough");
        let (types, _) = agent(Pairing::Passkey, Answer::Yes(1));
        assert_eq!((types.request_passkey(path.clone()).await.unwrap(), said(&types)), (1, Said::Digits));
        // where there is no terminal nobody said no
        let (nobody, _) = agent(Pairing::Passkey, Answer::Nobody);
        assert!(nobody.request_passkey(path).await.is_err());
        assert_eq!(said(&nobody), Said::Nobody);
    }
}
