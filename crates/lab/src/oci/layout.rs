//! The folder of an OCI image layout while it is being written.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::{Content, Digest, Entry, Image, Packing, architecture};
use crate::error::Error;

/// A reference to a blob (OCI `descriptor.md`).
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    media_type: &'static str,
    pub(super) digest: String,
    size: u64,
}

pub(super) struct Layer {
    pub(super) descriptor: Descriptor,
    /// The digest of the archive before compression (`diff_id`).
    pub(super) unpacked: Digest,
}

/// The folder that is being filled.
pub(super) struct Layout {
    blobs: PathBuf,
    root: PathBuf,
}

impl Layout {
    pub(super) fn create(root: &Path) -> Result<Self, Error> {
        if root.exists() {
            fs::remove_dir_all(root).map_err(Error::file(root))?;
        }
        let blobs = root.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(Error::file(&blobs))?;
        Ok(Self {
            blobs,
            root: root.to_owned(),
        })
    }

    /// Archives the image's files into a blob, hashed on the way.
    pub(super) fn layer(&self, image: &Image, packing: Packing) -> Result<Layer, Error> {
        let unfinished = self.root.join("layer");
        let file = File::create(&unfinished).map_err(Error::file(&unfinished))?;
        let file = Hashing::new(BufWriter::new(file));
        let (mut file, unpacked) = match packing {
            Packing::Plain => {
                let file = archive(image, file)?;
                let unpacked = file.digest();
                (file, unpacked)
            }
            Packing::Gzip => {
                let packed = Hashing::new(GzEncoder::new(file, Compression::new(6)));
                let packed = archive(image, packed)?;
                let unpacked = packed.digest();
                (
                    packed.inner.finish().map_err(Error::file(&unfinished))?,
                    unpacked,
                )
            }
        };
        file.flush().map_err(Error::file(&unfinished))?;
        let digest = file.digest();
        let blob = self.blobs.join(digest.hex());
        fs::rename(&unfinished, &blob).map_err(Error::file(&blob))?;
        let media_type = match packing {
            Packing::Plain => "application/vnd.oci.image.layer.v1.tar",
            Packing::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        };
        Ok(Layer {
            descriptor: Descriptor {
                media_type,
                digest: digest.to_string(),
                size: file.length,
            },
            unpacked,
        })
    }

    pub(super) fn json(
        &self,
        media_type: &'static str,
        value: &serde_json::Value,
    ) -> Result<Descriptor, Error> {
        let text = value.to_string();
        let digest = Digest::of(text.as_bytes());
        let blob = self.blobs.join(digest.hex());
        fs::write(&blob, &text).map_err(Error::file(&blob))?;
        Ok(Descriptor {
            media_type,
            digest: digest.to_string(),
            size: text.len() as u64,
        })
    }

    pub(super) fn finish(&self, manifest: &Descriptor) -> Result<(), Error> {
        let mut entry = serde_json::json!(manifest);
        entry["platform"] = serde_json::json!({ "architecture": architecture(), "os": "linux" });
        let index = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry],
        });
        for (name, value) in [
            ("index.json", index),
            (
                "oci-layout",
                serde_json::json!({ "imageLayoutVersion": "1.0.0" }),
            ),
        ] {
            let path = self.root.join(name);
            fs::write(&path, value.to_string()).map_err(Error::file(&path))?;
        }
        Ok(())
    }
}

/// Writes the image's files, sorted by path, into one archive.
fn archive<W: Write>(image: &Image, writer: W) -> Result<W, Error> {
    let mut builder = Builder::new(writer);
    for (path, entry) in &image.entries {
        append(&mut builder, path, entry)?;
    }
    builder.into_inner().map_err(Error::file("layer"))
}

fn append<W: Write>(builder: &mut Builder<W>, path: &str, entry: &Entry) -> Result<(), Error> {
    let mut header = Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(entry.owner.user.into());
    header.set_gid(entry.owner.group.into());
    header.set_mtime(0);
    header.set_size(0);
    match &entry.content {
        Content::Host(host) => {
            let file = File::open(host).map_err(Error::file(host))?;
            let metadata = file.metadata().map_err(Error::file(host))?;
            header.set_entry_type(EntryType::Regular);
            header.set_size(metadata.len());
            builder
                .append_data(&mut header, path, file)
                .map_err(Error::file(host))
        }
        Content::Text(text) => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(text.len() as u64);
            builder
                .append_data(&mut header, path, text.as_bytes())
                .map_err(Error::file(path))
        }
        Content::Folder => {
            header.set_entry_type(EntryType::Directory);
            builder
                .append_data(&mut header, format!("{path}/"), io::empty())
                .map_err(Error::file(path))
        }
        Content::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            builder
                .append_link(&mut header, path, target)
                .map_err(Error::file(path))
        }
    }
}

/// Hashes and counts what passes through.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    length: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            length: 0,
        }
    }

    fn digest(&self) -> Digest {
        Digest::finish(self.hasher.clone())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
