//! The lab that stands: which one is meant, and what it has written down.

use crate::error::{Error, InFile};
use ::lab::cluster::Cluster;
use ::lab::sweep;
use std::path::PathBuf;

/// The lab that is meant: the one named, or the only one.
pub(crate) fn name(wanted: Option<String>) -> Result<String, Error> {
    if let Some(name) = wanted {
        return Ok(name);
    }
    let mut standing = sweep::standing()?;
    match standing.len() {
        0 => Err(Error::NoLab),
        1 => Ok(standing.remove(0)),
        _ => Err(Error::WhichLab { names: standing }),
    }
}

/// A handle to it.
pub(crate) fn attach(wanted: Option<String>) -> Result<Cluster, Error> {
    Ok(Cluster::attach(&name(wanted)?)?)
}

/// Prints the log of a program; without a name, the names.
pub(crate) fn logs(cluster: &Cluster, name: Option<&str>) -> Result<(), Error> {
    if let Some(name) = name {
        let path = cluster.state().log(name);
        let text = std::fs::read(&path).in_file(path)?;
        print!("{}", String::from_utf8_lossy(&text));
        return Ok(());
    }
    let folder = cluster.state().path().join("log");
    let entries = std::fs::read_dir(&folder).in_file(&folder)?;
    let mut logs: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    for path in logs {
        println!("{}", path.file_stem().unwrap_or_default().to_string_lossy());
    }
    Ok(())
}
