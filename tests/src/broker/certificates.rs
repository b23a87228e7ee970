//! Certificates for demo and tests: a CA made on the spot, and server certificates under it.

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};

/// What a server shows, and the CA that a client needs for it.
#[derive(Clone, Debug)]
pub struct Identity {
    pub ca_pem: String,
    pub certificate_pem: String,
    pub key_pem: String,
}

impl Identity {
    /// Under a CA of its own.
    pub fn new(names: &[&str]) -> Self {
        Ca::new().issue(names)
    }
}

pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Default for Ca {
    fn default() -> Self {
        Self::new()
    }
}

impl Ca {
    pub fn new() -> Self {
        Self::named("wardgate lab CA")
    }

    /// Two of one name are still two: their keys differ.
    pub fn named(name: &str) -> Self {
        Self::make(name).expect("parameters written here make certificates")
    }

    fn make(name: &str) -> Result<Self, rcgen::Error> {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.distinguished_name.push(DnType::CommonName, name);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (ca.not_before, ca.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2100, 1, 1));
        let key = KeyPair::generate()?;
        let pem = ca.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(ca, key), pem })
    }

    /// For these names, from 2020 to 2100; an address as text becomes an address in the certificate.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_for(names, 2020, 2100)
    }

    /// Valid from the first day of one year to the first day of another.
    pub fn issue_for(&self, names: &[&str], from_year: i32, to_year: i32) -> Identity {
        self.sign(names, from_year, to_year).expect("names and years written in a test make a certificate")
    }

    fn sign(&self, names: &[&str], from_year: i32, to_year: i32) -> Result<Identity, rcgen::Error> {
        let mut server = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        server.use_authority_key_identifier_extension = true;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (server.not_before, server.not_after) = (date_time_ymd(from_year, 1, 1), date_time_ymd(to_year, 1, 1));
        let key = KeyPair::generate()?;
        let certificate_pem = server.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { ca_pem: self.pem.clone(), certificate_pem, key_pem: key.serialize_pem() })
    }
}
