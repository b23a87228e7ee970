//! Bonds: which of them count, that none is made by itself, and whom a person pairs who names an instance.

use wardgate::capability::ble::{Answer, Paired, PersonError, Question};
use wardgate::config::Pairing;
use wardgate_lab::sim::ble::{Device, Kind, PASSKEY};

use super::*;

const OXIMETER: &str = "oximeter:oximeter-1:F0:00:00:00:02:01";
const OXIMETER_ADDRESS: &str = "F0:00:00:00:02:01";

impl Air {
    /// A person who says yes, where the site allows this and whatever is stronger.
    async fn pairs(&self, least: Pairing, target: &str, address: Option<&str>) -> Result<Paired, PersonError> {
        let yes = std::sync::Arc::new(|question: Question| match question {
            Question::Passkey { .. } => Answer::Yes(PASSKEY),
            _ => Answer::Yes(0),
        });
        self.person_under(least).await.pair(target, address, yes).await
    }

    async fn bonded(&self) -> Vec<(String, Option<Pairing>)> {
        self.person_under(Pairing::None).await.list().await.unwrap().into_iter().map(|seen| (seen.address, seen.by)).collect()
    }
}

impl One {
    /// No link was made since, and nothing read.
    async fn asks_in_vain(&self, air: &Air, name: &str, links: Option<u32>) {
        assert_eq!(self.ask(What::Read(ANY)).await, Err(Failure::LinkDown));
        assert_eq!((air.bluez.links(name), air.link("bed-1").requests), (links, 0), "links made to it, and what was asked of it");
        assert_eq!(air.sent(name, SERIAL_NUMBER), [""; 0]);
    }
}

fn bound(address: &str) -> BleGrant {
    BleGrant { bonded: true, ..grant(address) }
}

/// A bond that another program made, or one made while the site asked for less, is not used; it is said why and what to do, and done, it is used.
//= PROMISES.md#P215
#[tokio::test]
async fn a_bond_counts_only_where_a_person_made_it_as_the_site_asks() {
    let mut air = Air::under("bonds", vec![device(BELT).unwrap(), device(OXIMETER).unwrap()], Pairing::Compare);
    air.order("bond belt-1");
    let belt = air.join("bed-1", &bound(BELT_ADDRESS));
    let mut oximeter = air.join("bed-2", &bound(OXIMETER_ADDRESS));
    air.complains("bed-1", &format!("{BELT_ADDRESS} is bonded with this machine, and not by `wardgate ble pair`")).await;
    assert!(matches!(air.pairs(Pairing::JustWorks, BELT_ADDRESS, None).await, Err(PersonError::Older { by: None, .. })));
    let person = air.person_under(Pairing::JustWorks).await;
    person.forget(BELT_ADDRESS).await.unwrap();
    let paired = air.pairs(Pairing::JustWorks, BELT_ADDRESS, None).await.unwrap();
    assert_eq!((paired.by, paired.already), (Pairing::JustWorks, false));
    let links = air.bluez.links("belt-1");
    air.complains("bed-1", "is bonded by just-works, and [ble] pairing = \"compare\" asks for more").await;
    belt.asks_in_vain(&air, "belt-1", links).await;

    air.pairs(Pairing::Compare, OXIMETER_ADDRESS, None).await.unwrap();
    oximeter.is_up().await;
    let mut bonded = air.bonded().await;
    bonded.sort();
    assert_eq!(bonded, [(BELT_ADDRESS.into(), Some(Pairing::JustWorks)), (OXIMETER_ADDRESS.into(), Some(Pairing::Compare))]);
    person.forget(OXIMETER_ADDRESS).await.unwrap();
    air.order("bond oximeter-1"); // its old record would vouch for that
    air.complains("bed-2", "not by `wardgate ble pair`").await;
}

/// `wardgate ble pair` was killed after BlueZ had paired, before it was looked how: BlueZ has the bond, nobody knows how it was made.
//= PROMISES.md#P215
#[tokio::test]
async fn a_weak_bond_that_a_killed_pairing_leaves_is_not_used() {
    let mut air = Air::under("killed", vec![device(BELT).unwrap()], Pairing::Compare);
    assert!(matches!(air.pairs(Pairing::Compare, BELT_ADDRESS, None).await, Err(PersonError::Undone { by: Pairing::JustWorks, .. })));
    assert_eq!(air.bonded().await, [], "not killed: this side has forgotten it");
    air.order("bond belt-1");
    let links = air.bluez.links("belt-1");
    let belt = air.join("bed-1", &bound(BELT_ADDRESS));
    air.complains("bed-1", "so nobody knows how").await;
    belt.asks_in_vain(&air, "belt-1", links).await;
}

/// BlueZ signals of a bond, and `wardgate ble pair` trusts the peripheral when it has written down how: then the gateway looks, however long it
/// would have waited. And a bond that goes is told.
//= PROMISES.md#P348
//= PROMISES.md#P349
#[tokio::test]
async fn a_bond_that_a_person_made_is_used_and_one_that_went_is_told() {
    let mut air = Air::under("bond-goes", vec![device(OXIMETER).unwrap()], Pairing::Compare);
    let mut oximeter = air.join("bed-1", &bound(OXIMETER_ADDRESS));
    air.complains("bed-1", "is not bonded with this gateway").await;
    air.pairs(Pairing::Compare, OXIMETER_ADDRESS, None).await.unwrap();
    oximeter.is_up().await;
    air.person_under(Pairing::Compare).await.forget(OXIMETER_ADDRESS).await.unwrap();
    oximeter.goes_down().await;
    air.complains("bed-1", &format!("the bond of {OXIMETER_ADDRESS} was removed from BlueZ, by `wardgate ble forget`")).await;
    air.complains("bed-1", "is not bonded with this gateway").await;
    air.pairs(Pairing::Compare, OXIMETER_ADDRESS, None).await.unwrap();
    oximeter.is_up().await;
    // pulled out with the adapter it keeps its bond
    air.order("adapter gone");
    oximeter.goes_down().await;
    air.order("vanish oximeter-1");
    air.order("adapter back");
    air.complains("bed-1", "is not near, or switched off").await;
}

/// What is read over an encrypted link only is read, and no bond is left behind.
//= PROMISES.md#P216
#[tokio::test]
async fn reading_what_is_encrypted_makes_no_bond_by_itself() {
    let mut air = Air::with("guarded", &[BELT, OXIMETER]);
    air.order("guard belt-1");
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    one.is_up().await;
    assert_eq!(one.ask(What::Read(one.handle_of(SERIAL_NUMBER))).await, Ok(b"SN-belt-1".to_vec()));
    assert_eq!(air.bonded().await, []);
    // a person lets one pair, and the door is shut again behind it
    air.pairs(Pairing::Compare, OXIMETER_ADDRESS, None).await.unwrap();
    air.order("vanish belt-1");
    one.goes_down().await;
    air.order("return belt-1");
    one.is_up().await;
    assert_eq!(one.ask(What::Read(one.handle_of(SERIAL_NUMBER))).await, Ok(b"SN-belt-1".to_vec()));
    assert_eq!(air.bonded().await, [(OXIMETER_ADDRESS.into(), Some(Pairing::Compare))]);
}

/// Whoever advertises the name of an instance is not the peripheral that gateway.toml gives it.
//= PROMISES.md#P217
#[tokio::test]
async fn who_advertises_an_instances_name_is_not_paired_in_the_place_of_its_peripheral() {
    const INSTANCE: &str = "bed-1-oxi";
    let impostor = Device { name: INSTANCE.into(), address: "F0:00:00:00:31:66".into(), kind: Kind::Belt, clock_steps: None };
    let air = Air::around("named-so", vec![impostor, device(OXIMETER).unwrap()]);
    air.order("vanish oximeter-1");
    let outcome = air.pairs(Pairing::JustWorks, INSTANCE, Some(OXIMETER_ADDRESS)).await;
    assert!(matches!(outcome, Err(PersonError::NotFound { .. })), "{outcome:?}");
    assert_eq!(air.bonded().await, []);
    air.order("return oximeter-1");
    let paired = air.pairs(Pairing::JustWorks, INSTANCE, Some(OXIMETER_ADDRESS)).await.unwrap();
    assert_eq!(paired.seen.address, OXIMETER_ADDRESS);
    // again: it is so already, and the real BlueZ would refuse
    let again = air.pairs(Pairing::Compare, INSTANCE, Some(OXIMETER_ADDRESS)).await.unwrap();
    assert!(again.already && again.by == Pairing::Compare);
    assert!(matches!(
        air.pairs(Pairing::Passkey, OXIMETER_ADDRESS, None).await,
        Err(PersonError::Older { by: Some(Pairing::Compare), .. })
    ));
}

/// To forget what is not bonded takes nothing away, its link least of all.
#[tokio::test]
async fn what_was_never_bonded_is_not_forgotten_and_keeps_its_link() {
    let mut air = Air::with("never", &[BELT]);
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    one.is_up().await;
    let outcome = air.person().await.forget(BELT_ADDRESS).await;
    assert!(matches!(outcome, Err(PersonError::Stranger { .. })), "{outcome:?}");
    assert_eq!(one.ask(What::Read(one.handle_of(SERIAL_NUMBER))).await, Ok(b"SN-belt-1".to_vec()));
    assert_eq!(air.link("bed-1").reconnects, 0);
}
