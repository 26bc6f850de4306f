//! What a dynamically linked program needs beside itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::error::Error;

/// The dynamic loader and every library that `program` needs, by the paths under which it asks for them.
/// None for a static program.
pub(super) fn libraries(program: &Path) -> Result<Vec<PathBuf>, Error> {
    fs::metadata(program).map_err(Error::file(program))?;
    let output = command::run(Command::new("ldd").arg(program))?; // it fails for a static program
    output
        .stdout
        .lines()
        .filter_map(Need::parse)
        .map(|need| match need {
            Need::Found(path) => Ok(path),
            Need::Missing(library) => Err(Error::MissingLibrary {
                program: program.to_owned(),
                library,
            }),
        })
        .collect()
}

/// One line of `ldd`.
#[derive(Debug, PartialEq, Eq)]
enum Need {
    Found(PathBuf),
    Missing(String),
}

impl Need {
    /// `None` for what is no file: the kernel's own library, and the remark that a program is static.
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [name, "=>", "not", "found"] => Some(Self::Missing((*name).to_owned())),
            [_, "=>", path, ..] | [path, ..] if path.starts_with('/') && !path.ends_with(':') => {
                Some(Self::Found(PathBuf::from(path)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_line_that_ldd_prints_is_understood() {
        let found = |path: &str| Some(Need::Found(PathBuf::from(path)));
        for (line, expected) in [
            ("\tlinux-vdso.so.1 (0x00007ffc)", None),
            (
                "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)",
                found("/lib/x86_64-linux-gnu/libc.so.6"),
            ),
            (
                "\t/lib64/ld-linux-x86-64.so.2 (0x00007f)",
                found("/lib64/ld-linux-x86-64.so.2"),
            ),
            (
                "\tlibodd.so.1 => not found",
                Some(Need::Missing("libodd.so.1".into())),
            ),
            ("\tstatically linked", None),
            ("\tnot a dynamic executable", None),
        ] {
            assert_eq!(Need::parse(line), expected, "{line:?}");
        }
    }
}
