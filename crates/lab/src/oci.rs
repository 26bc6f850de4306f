//! Writes an OCI image layout: a folder that registries, containerd and every builder understand, made
//! without a daemon from a list of files.
//!
//! The same files give the same bytes: entries are sorted, times are zero, nobody's name is recorded. An
//! image has one layer. What a program needs to run (its dynamic loader and the libraries that `ldd`
//! names) comes with it, see [`Image::program`].
//!
//! Sources: OCI image specification 1.1 (`image-layout.md`, `manifest.md`, `config.md`, `layer.md`).

mod layout;
mod libraries;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use layout::Layout;
use libraries::libraries;

/// Who owns a file in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Owner {
    /// Numeric user.
    pub user: u32,
    /// Numeric group.
    pub group: u32,
}

/// The user that owns what a system ships.
pub const ROOT: Owner = Owner { user: 0, group: 0 };

/// How the layer is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As it is: quick to write and to unpack, for images that never leave the machine.
    Plain,
    /// Compressed, for images that travel.
    Gzip,
}

/// What a file in the image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    /// The bytes of a file of this machine.
    Host(PathBuf),
    Text(String),
    Folder,
    /// A symbolic link to this path.
    Link(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    content: Content,
    mode: u32,
    owner: Owner,
}

/// What is run from the image and as whom (OCI `config.md`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cmd: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

/// The SHA-256 of a blob, in hexadecimal without the algorithm's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(bytes))
    }

    fn finish(hasher: Sha256) -> Self {
        let hash = hasher.finalize();
        Self(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.0)
    }
}

/// An image: files and how to run them. Building it reads nothing but what `ldd` says; [`Image::write`]
/// reads the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    entries: BTreeMap<String, Entry>,
    config: Config,
}

impl Image {
    /// An image with no files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes of `host` at `path` in the image, whose permission bits are `mode`.
    #[must_use]
    pub fn file(self, path: &str, host: impl Into<PathBuf>, mode: u32, owner: Owner) -> Self {
        self.entry(path, Content::Host(host.into()), mode, owner)
    }

    /// A file that holds `text`.
    #[must_use]
    pub fn text(self, path: &str, text: impl Into<String>, mode: u32, owner: Owner) -> Self {
        self.entry(path, Content::Text(text.into()), mode, owner)
    }

    /// A folder. Those that files lie in are made anyway, as root's with mode 0755.
    #[must_use]
    pub fn folder(self, path: &str, mode: u32, owner: Owner) -> Self {
        self.entry(path, Content::Folder, mode, owner)
    }

    /// A symbolic link at `path` to `target`. What is already at `path` stays.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Self {
        if self.entries.contains_key(relative(path)) {
            return self;
        }
        self.entry(path, Content::Link(target.to_owned()), 0o777, ROOT)
    }

    /// The program `host` at `path` (mode 0755), with its dynamic loader and libraries at the paths under
    /// which it asks for them.
    ///
    /// # Errors
    /// When `host` cannot be read, or a library it needs is not on this machine.
    pub fn program(mut self, path: &str, host: &Path) -> Result<Self, Error> {
        for library in libraries(host)? {
            self = self.file(&library.to_string_lossy(), library.clone(), 0o755, ROOT);
        }
        Ok(self.file(path, host, 0o755, ROOT))
    }

    /// The command that a container runs; arguments of the pod come after it.
    #[must_use]
    pub fn entrypoint(mut self, words: &[&str]) -> Self {
        self.config.entrypoint = owned(words);
        self
    }

    /// The command where a pod names none.
    #[must_use]
    pub fn command(mut self, words: &[&str]) -> Self {
        self.config.cmd = owned(words);
        self
    }

    /// The numeric user and group of the process.
    #[must_use]
    pub fn user(mut self, owner: Owner) -> Self {
        self.config.user = Some(format!("{}:{}", owner.user, owner.group));
        self
    }

    /// A variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.config.env.push(format!("{name}={value}"));
        self
    }

    /// The folder in which the process starts.
    #[must_use]
    pub fn workdir(mut self, path: &str) -> Self {
        self.config.working_dir = Some(path.to_owned());
        self
    }

    /// A label of the image.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.config.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What the image is made from, as text: paths, sizes and times of its files, and all else verbatim.
    /// Two images of equal fingerprint are equal unless somebody forged a file's time.
    ///
    /// # Errors
    /// When a file of this machine cannot be read.
    pub fn fingerprint(&self) -> Result<Digest, Error> {
        let mut hasher = Sha256::new();
        for (path, entry) in &self.entries {
            hasher.update(format!("{path} {entry:?}"));
            if let Content::Host(host) = &entry.content {
                let metadata = fs::metadata(host).map_err(Error::file(host))?;
                hasher.update(format!(
                    "{} {:?}\n",
                    metadata.len(),
                    metadata.modified().ok()
                ));
            }
        }
        hasher.update(format!("{:?}", self.config));
        Ok(Digest::finish(hasher))
    }

    /// Writes the layout to the folder `destination`, which is made anew, and gives the digest of the manifest.
    ///
    /// # Errors
    /// When a file of the image cannot be read, or `destination` cannot be written.
    pub fn write(&self, destination: &Path, packing: Packing) -> Result<Digest, Error> {
        let layout = Layout::create(destination)?;
        let layer = layout.layer(self, packing)?;
        let config = layout.json(
            "application/vnd.oci.image.config.v1+json",
            &serde_json::json!({
                "created": "1970-01-01T00:00:00Z",
                "architecture": architecture(),
                "os": "linux",
                "config": self.config,
                "rootfs": { "type": "layers", "diff_ids": [layer.unpacked.to_string()] },
            }),
        )?;
        let manifest_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = layout.json(
            manifest_type,
            &serde_json::json!({
                "schemaVersion": 2,
                "mediaType": manifest_type,
                "config": config,
                "layers": [layer.descriptor],
            }),
        )?;
        let digest = manifest.digest.clone();
        layout.finish(&manifest)?;
        Ok(Digest(digest.trim_start_matches("sha256:").to_owned()))
    }

    fn entry(mut self, path: &str, content: Content, mode: u32, owner: Owner) -> Self {
        let path = relative(path);
        for (slash, _) in path.match_indices('/') {
            self.entries
                .entry(path[..slash].to_owned())
                .or_insert(Entry {
                    content: Content::Folder,
                    mode: 0o755,
                    owner: ROOT,
                });
        }
        self.entries.insert(
            path.to_owned(),
            Entry {
                content,
                mode,
                owner,
            },
        );
        self
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Archives know no root folder.
fn relative(path: &str) -> &str {
    path.trim_matches('/')
}

/// The machine's architecture in the words of the specification, which are Go's.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests;
