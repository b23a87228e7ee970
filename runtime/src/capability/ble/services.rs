//! What the services of the Bluetooth SIG are called, for people. Pure.

/// Those that devices of people and of wards advertise, as the SIG's list of assigned numbers has them.
const NAMES: [(&str, &str); 31] = [
    ("1800", "Generic Access"),
    ("1801", "Generic Attribute"),
    ("1802", "Immediate Alert"),
    ("1803", "Link Loss"),
    ("1804", "Tx Power"),
    ("1805", "Current Time"),
    ("1808", "Glucose"),
    ("1809", "Health Thermometer"),
    ("180a", "Device Information"),
    ("180d", "Heart Rate"),
    ("180f", "Battery"),
    ("1810", "Blood Pressure"),
    ("1812", "Human Interface Device"),
    ("1814", "Running Speed and Cadence"),
    ("1815", "Automation IO"),
    ("1816", "Cycling Speed and Cadence"),
    ("1818", "Cycling Power"),
    ("1819", "Location and Navigation"),
    ("181a", "Environmental Sensing"),
    ("181b", "Body Composition"),
    ("181c", "User Data"),
    ("181d", "Weight Scale"),
    ("181e", "Bond Management"),
    ("181f", "Continuous Glucose Monitoring"),
    ("1822", "Pulse Oximeter"),
    ("1826", "Fitness Machine"),
    ("1844", "Volume Control"),
    ("184e", "Audio Stream Control"),
    ("184f", "Broadcast Audio Scan"),
    ("1850", "Published Audio Capabilities"),
    ("1853", "Common Audio"),
];

/// Of a service as [`super::Seen`] has it; one that the list does not hold is called by its UUID.
pub fn service_name(uuid: &str) -> &str {
    NAMES.iter().find(|(known, _)| *known == uuid).map_or(uuid, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_called_by_its_name_or_else_by_its_uuid() {
        assert_eq!((service_name("180d"), service_name("fe9f")), ("Heart Rate", "fe9f"));
        assert!(NAMES.is_sorted(), "in order, so each stands there once");
    }
}
