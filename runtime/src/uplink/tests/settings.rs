//! Settings that can never work are refused with their name, before anything connects.

use crate::config;
use crate::uplink::settings::Settings;

const CA: &str = "-----BEGIN CERTIFICATE-----
MIIBfDCCASGgAwIBAgIUOdDIV3HfQ0g0BE1Zq0bYx4lZ9JgwCgYIKoZIzj0EAwIw
-----END CERTIFICATE-----
";

fn with(change: &str) -> config::Uplink {
    let base = "host = \"broker.ward\"\nca_file = \"/etc/wardgate/ca.pem\"\nmac_key_file = \"/etc/wardgate/key\"\n";
    toml::from_str(&format!("{base}{change}\n")).unwrap()
}

fn error(change: &str, ca: &str, password: Option<&[u8]>) -> String {
    Settings::new(&with(change), ca.as_bytes(), password, "ward-3").err().expect("refused").to_string()
}

#[test]
fn each_bound_has_an_error_that_names_its_setting() {
    for (line, setting) in [
        ("port = 0", "port"),
        ("topic = \"a/#\"", "topic"),
        ("message_bytes = 1023", "message_bytes"),
        ("window_messages = 0", "window_messages"),
        ("window_bytes = 0", "window_bytes"),
        ("keep_alive_s = 4", "keep_alive_s"),
        ("progress_s = 0", "progress_s"),
        ("resend_s = 0", "resend_s"),
        ("backoff_max_ms = 0", "backoff_max_ms"),
        ("backoff_min_ms = 60001", "backoff_min_ms"),
    ] {
        let text = error(line, CA, None);
        let value = line.split(" = ").nth(1).unwrap().trim_matches('"');
        assert!(text.starts_with(&format!("uplink.{setting} = {value}: must ")), "{text}");
    }
    let mut config = with("");
    config.host = "::1".into();
    let text = Settings::new(&config, CA.as_bytes(), None, "ward-3").err().unwrap().to_string();
    assert!(text.starts_with("uplink.host = ::1: must be a host name"), "{text}");
}

#[test]
fn secrets_that_cannot_be_used_are_named_without_being_shown() {
    let text = error("username = \"w\"", CA, Some(b"hunter\xff2"));
    assert!(text.contains("uplink.password_file") && !text.contains("hunter"), "{text}");
    assert!(error("", CA, Some(b"secret")).starts_with("uplink.username = (none)"));
    assert!(
        error("", "no certificate at all", None).starts_with("/etc/wardgate/ca.pem holds no usable certificate (no certificate in it)")
    );
    assert!(error("", CA, None).starts_with("/etc/wardgate/ca.pem holds no usable certificate ("), "one that is cut short");
}
