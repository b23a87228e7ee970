//! An OCI registry, as a place where packages lie: nothing of it is trusted, and each of its refusals has its own words.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};

use crate::fault::Fault;
use crate::{files, source};

pub const SCHEME: &str = "oci://";
const PASSWORD_VARIABLE: &str = "WARDGATE_REGISTRY_PASSWORD";
const PASSWORD_BYTES_MAX: u64 = 4096; // tokens of registries are passwords too
const CONNECT_S_MAX: u64 = 15; // a thin link answers a handshake within that
const SILENCE_S_MAX: u64 = 30; // a registry that says nothing for so long has gone

/// How to reach a registry.
#[derive(Debug, Args)]
pub struct Reach {
    /// Name at the registry
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// File with the password; else WARDGATE_REGISTRY_PASSWORD
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Whose certificates are trusted, instead of this machine's
    #[arg(long, value_name = "FILE.pem")]
    ca: Option<PathBuf>,
    /// Without TLS: anybody on the way reads the password
    #[arg(long)]
    plain_http: bool,
    /// How long all of it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub patience: u64,
}

pub struct Registry {
    pub client: Client,
    pub auth: RegistryAuth,
    pub image: Reference,
    /// As a person wrote it.
    pub name: String,
}

impl Reach {
    pub fn registry(&self, address: &str) -> Result<Registry, Fault> {
        let wrong =
            |why: String| Fault::usage(format!("{address:?} is no place in a registry: {why}"), "write it as oci://host[:port]/name[:tag]");
        let rest = address.strip_prefix(SCHEME).ok_or_else(|| wrong("it does not begin with oci://".into()))?;
        let image: Reference = rest.parse().map_err(|e| wrong(format!("{e}")))?;
        let mut config = ClientConfig {
            protocol: if self.plain_http { ClientProtocol::Http } else { ClientProtocol::Https },
            connect_timeout: Some(Duration::from_secs(CONNECT_S_MAX)),
            read_timeout: Some(Duration::from_secs(SILENCE_S_MAX)),
            user_agent: concat!("wardgate-trust/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        if let Some(ca) = &self.ca {
            source::certificates(ca)?; // says what is wrong with the file
            config.tls_certs_only =
                vec![Certificate { encoding: CertificateEncoding::Pem, data: files::read(ca, files::DOCUMENT_BYTES_MAX)? }];
        }
        let client = Client::try_from(config).map_err(|e| Fault::Link { from: address.into(), why: e.to_string() })?;
        Ok(Registry { client, auth: self.auth()?, image, name: address.to_owned() })
    }

    fn auth(&self) -> Result<RegistryAuth, Fault> {
        let Some(user) = &self.user else { return Ok(RegistryAuth::Anonymous) };
        let password = match &self.password_file {
            Some(path) => String::from_utf8(files::read(path, PASSWORD_BYTES_MAX)?).map_err(|e| Fault::broken(path, e))?,
            None => std::env::var(PASSWORD_VARIABLE).map_err(|_| {
                Fault::usage(
                    format!("there is no password for {user}"),
                    format!("name a file with --password-file, or set {PASSWORD_VARIABLE}"),
                )
            })?,
        };
        Ok(RegistryAuth::Basic(user.clone(), password.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

impl Registry {
    pub async fn enter(&self, operation: RegistryOperation) -> Result<(), Fault> {
        self.client.auth(&self.image, &self.auth, operation).await.map(|_| ()).map_err(|e| self.said(&e))
    }

    /// What its refusal means.
    pub fn said(&self, error: &OciDistributionError) -> Fault {
        let from = self.name.clone();
        let absent = |what: String| Fault::NotThere { from: self.image.resolve_registry().to_owned(), what };
        let place = || format!("{}:{}", self.image.repository(), self.image.tag().unwrap_or("latest"));
        match error {
            OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => Fault::Password { from },
            OciDistributionError::ImageManifestNotFoundError(_) => absent(place()),
            OciDistributionError::ServerError { code: 401 | 403, .. } => Fault::Password { from },
            OciDistributionError::ServerError { code: 404, .. } => absent(place()),
            OciDistributionError::RegistryError { envelope, .. } => {
                let has = |codes: &[OciErrorCode]| envelope.errors.iter().any(|e| codes.contains(&e.code));
                if has(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                    Fault::Password { from }
                } else if has(&[OciErrorCode::ManifestUnknown, OciErrorCode::NameUnknown, OciErrorCode::NotFound]) {
                    absent(place())
                } else {
                    Fault::Link { from, why: envelope.to_string() }
                }
            }
            OciDistributionError::RequestError(e) => {
                let why = source::in_words(e);
                if why.contains("certificate") { Fault::Certificate { from, why } } else { Fault::Link { from, why } }
            }
            other => Fault::Link { from, why: other.to_string() },
        }
    }
}
