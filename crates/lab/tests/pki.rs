//! Certificates and kubeconfigs lie where they say they lie.

use std::fs;
use std::path::Path;

use lab::pki::{Authority, Subject};
use serde_json::Value;

const ADMIN: Subject<'_> = Subject {
    common_name: "admin",
    organization: Some("system:masters"),
};

#[test]
fn a_kubeconfig_names_files_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::create(folder.path()).unwrap();
    let leaf = authority.issue("admin", ADMIN, &[]).unwrap();
    let path = authority
        .kubeconfig("admin", "https://127.0.0.1:6443", &leaf)
        .unwrap();
    let config: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(
        config["clusters"][0]["cluster"]["server"],
        "https://127.0.0.1:6443"
    );
    let user = &config["users"][0]["user"];
    let authority = &config["clusters"][0]["cluster"]["certificate-authority"];
    for file in [&user["client-certificate"], &user["client-key"], authority] {
        let text = fs::read_to_string(Path::new(file.as_str().unwrap())).unwrap();
        assert!(text.starts_with("-----BEGIN "), "{file}");
    }
}

#[test]
fn every_authority_and_leaf_has_a_key_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::create(folder.path()).unwrap();
    let one = authority
        .issue("one", ADMIN, &["127.0.0.1".to_owned()])
        .unwrap();
    let two = authority
        .issue("two", ADMIN, &["localhost".to_owned()])
        .unwrap();
    let accounts = authority.key_pair("accounts").unwrap();
    let mut keys = [folder.path().join("ca.key"), one.key, two.key, accounts.key]
        .map(|path| fs::read_to_string(path).unwrap())
        .to_vec();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 4);
    assert!(
        fs::read_to_string(accounts.certificate)
            .unwrap()
            .contains("PUBLIC KEY")
    );
}

#[test]
fn a_name_that_no_certificate_can_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::create(folder.path()).unwrap();
    authority
        .issue("bad", ADMIN, &["bücher.example".to_owned()])
        .unwrap_err();
}
