use serde_json::Value;

use super::*;

fn sample(host: &Path) -> Image {
    Image::new()
        .file("/usr/bin/tool", host, 0o755, ROOT)
        .text(
            "/etc/passwd",
            "lab:x:65532:65532::/:/bin/false\n",
            0o644,
            ROOT,
        )
        .folder(
            "/tmp",
            0o1777,
            Owner {
                user: 65532,
                group: 65532,
            },
        )
        .link("/bin", "usr/bin")
        .entrypoint(&["/usr/bin/tool"])
        .user(Owner {
            user: 65532,
            group: 65532,
        })
        .env("A", "b")
        .workdir("/")
        .label("org.opencontainers.image.title", "sample")
}

fn blob(layout: &Path, digest: &Value) -> Vec<u8> {
    let hex = digest
        .as_str()
        .and_then(|text| text.strip_prefix("sha256:"))
        .expect("a SHA-256 digest");
    let bytes = fs::read(layout.join("blobs/sha256").join(hex)).unwrap();
    assert_eq!(
        Digest::of(&bytes).hex(),
        hex,
        "a blob is named by its own digest"
    );
    bytes
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn a_layout_leads_from_the_index_to_every_file_with_mode_and_owner() {
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().join("tool");
    fs::write(&host, "binary").unwrap();
    let layout = folder.path().join("layout");
    let digest = sample(&host).write(&layout, Packing::Plain).unwrap();

    let index = json(&fs::read(layout.join("index.json")).unwrap());
    assert_eq!(index["manifests"][0]["digest"], digest.to_string());
    assert_eq!(
        json(&fs::read(layout.join("oci-layout")).unwrap())["imageLayoutVersion"],
        "1.0.0"
    );
    let manifest = json(&blob(&layout, &index["manifests"][0]["digest"]));
    let config = json(&blob(&layout, &manifest["config"]["digest"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"][0], "/usr/bin/tool");
    assert_eq!(config["os"], "linux");
    let layer = blob(&layout, &manifest["layers"][0]["digest"]);
    assert_eq!(
        config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"],
        "a plain layer is its own diff"
    );

    let mut archive = tar::Archive::new(layer.as_slice());
    let entries: Vec<(String, u32, u64, u64)> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            (
                path,
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.mtime().unwrap(),
            )
        })
        .collect();
    let row = |path: &str, mode, owner| (path.to_owned(), mode, owner, 0);
    assert_eq!(
        entries,
        [
            row("bin", 0o777, 0),
            row("etc/", 0o755, 0),
            row("etc/passwd", 0o644, 0),
            row("tmp/", 0o1777, 65532),
            row("usr/", 0o755, 0),
            row("usr/bin/", 0o755, 0),
            row("usr/bin/tool", 0o755, 0),
        ]
    );
}

#[test]
fn the_same_files_give_the_same_bytes_whatever_their_times() {
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().join("tool");
    let write = |packing| {
        fs::write(&host, "binary").unwrap();
        sample(&host)
            .write(&folder.path().join("layout"), packing)
            .unwrap()
    };
    for packing in [Packing::Plain, Packing::Gzip] {
        assert_eq!(write(packing), write(packing), "{packing:?}");
    }
    assert_ne!(write(Packing::Plain), write(Packing::Gzip));
}

#[test]
fn the_fingerprint_follows_contents_and_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().join("tool");
    fs::write(&host, "binary").unwrap();
    let image = sample(&host);
    let before = image.fingerprint().unwrap();
    assert_eq!(before, sample(&host).fingerprint().unwrap());
    assert_ne!(before, image.clone().env("C", "d").fingerprint().unwrap());
    fs::write(&host, "another binary").unwrap();
    assert_ne!(before, image.fingerprint().unwrap());
}

#[test]
fn a_program_comes_with_its_loader_and_libraries() {
    let image = Image::new()
        .program("/bin/sh", Path::new("/bin/sh"))
        .unwrap();
    let paths: Vec<&String> = image.entries.keys().collect();
    assert!(
        paths.iter().any(|path| path.contains("libc.so")),
        "{paths:?}"
    );
    assert!(
        paths.iter().any(|path| path.contains("ld-linux")),
        "{paths:?}"
    );
    assert!(Image::new().program("/x", Path::new("/nowhere")).is_err());
}
