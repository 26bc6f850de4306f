//! The lab's own certificate authority, its leaf certificates, and kubeconfigs that use them.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use serde_json::json;

use crate::error::Error;

/// A certificate authority that keeps everything it makes as PEM files in one folder.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PKCS #8 PEM.
    pub key: PathBuf,
}

/// Who a certificate speaks for. To Kubernetes the common name is a user and the organization a group.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The user.
    pub common_name: &'a str,
    /// The group, if any.
    pub organization: Option<&'a str>,
}

impl Authority {
    /// Makes a new authority: `ca.crt` and `ca.key` in `folder`, which must exist.
    ///
    /// # Errors
    /// [`Error::Certificate`] or [`Error::File`].
    pub fn create(folder: &Path) -> Result<Self, Error> {
        let mut params = params(
            Subject {
                common_name: "tombolo-lab",
                organization: None,
            },
            &[],
        )?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        write(&folder.join("ca.crt"), &issuer.pem())?;
        write(&folder.join("ca.key"), &issuer.key().serialize_pem())?;
        Ok(Self {
            folder: folder.to_path_buf(),
            issuer,
        })
    }

    /// The authority's own certificate, PEM.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// Issues a certificate for server and client authentication as `<name>.crt` and `<name>.key`.
    /// `alternative_names` are addresses or DNS names.
    ///
    /// # Errors
    /// [`Error::Certificate`] or [`Error::File`].
    pub fn issue(
        &self,
        name: &str,
        subject: Subject<'_>,
        alternative_names: &[String],
    ) -> Result<Leaf, Error> {
        let mut params = params(subject, alternative_names)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let leaf = Leaf {
            certificate: self.folder.join(format!("{name}.crt")),
            key: self.folder.join(format!("{name}.key")),
        };
        write(
            &leaf.certificate,
            &params.signed_by(&key, &self.issuer)?.pem(),
        )?;
        write(&leaf.key, &key.serialize_pem())?;
        Ok(leaf)
    }

    /// Makes a bare key pair, as service account tokens are signed with: `<name>.pub` and `<name>.key`,
    /// given as certificate and key of the answer.
    ///
    /// # Errors
    /// [`Error::Certificate`] or [`Error::File`].
    pub fn key_pair(&self, name: &str) -> Result<Leaf, Error> {
        let key = KeyPair::generate()?;
        let pair = Leaf {
            certificate: self.folder.join(format!("{name}.pub")),
            key: self.folder.join(format!("{name}.key")),
        };
        write(&pair.certificate, &key.public_key_pem())?;
        write(&pair.key, &key.serialize_pem())?;
        Ok(pair)
    }

    /// Writes `<name>.kubeconfig`, by which the bearer of `leaf` reaches the API server at the URL `server`.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn kubeconfig(&self, name: &str, server: &str, leaf: &Leaf) -> Result<PathBuf, Error> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "lab",
                "cluster": { "server": server, "certificate-authority": self.certificate() },
            }],
            "users": [{
                "name": name,
                "user": { "client-certificate": leaf.certificate, "client-key": leaf.key },
            }],
            "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": name } }],
            "current-context": "lab",
        });
        let path = self.folder.join(format!("{name}.kubeconfig"));
        write(&path, &format!("{config:#}\n"))?;
        Ok(path)
    }
}

fn params(subject: Subject<'_>, names: &[String]) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(names)?;
    let mut distinguished = DistinguishedName::new();
    if let Some(organization) = subject.organization {
        distinguished.push(DnType::OrganizationName, organization);
    }
    distinguished.push(DnType::CommonName, subject.common_name);
    params.distinguished_name = distinguished;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    Ok(params)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::file(path))
}
