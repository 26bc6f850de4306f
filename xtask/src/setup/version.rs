//! Versions of programs, read from what they print.

use std::fmt;

/// A version of three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) patch: u32,
}

impl Version {
    /// The first version in `text`: two or three numbers joined by dots, with or without a `v` or letters before it.
    pub(crate) fn first_in(text: &str) -> Option<Self> {
        text.split(|character: char| !(character.is_ascii_digit() || character == '.'))
            .find_map(Self::parse)
    }

    fn parse(word: &str) -> Option<Self> {
        let mut numbers = word.trim_matches('.').split('.').map(str::parse);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
            return None;
        };
        let patch = match numbers.next() {
            None => 0,
            Some(Ok(patch)) => patch,
            Some(Err(_)) => return None,
        };
        Some(Self {
            major,
            minor,
            patch,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_version_is_found_in_what_programs_print() {
        for (text, wanted) in [
            ("Kubernetes v1.36.3", Some("1.36.3")),
            (
                "etcd Version: 3.6.11\nGit SHA: abc\nGo Version: go1.26.8",
                Some("3.6.11"),
            ),
            (
                "containerd github.com/containerd/containerd/v2 2.4.2 0a1b2c",
                Some("2.4.2"),
            ),
            ("containerd-shim-runc-v2:\n  Version:  2.4.2", Some("2.4.2")),
            ("go1.26.8", Some("1.26.8")),
            ("go1.27rc1", Some("1.27.0")),
            ("v3.22", Some("3.22.0")),
            ("cargo-nextest 0.9.151 (2026-10-01)", Some("0.9.151")),
            ("Client Version: v1.32.4-dispatcher", Some("1.32.4")),
            ("no number", None),
            ("", None),
        ] {
            assert_eq!(
                Version::first_in(text)
                    .map(|version| version.to_string())
                    .as_deref(),
                wanted,
                "{text:?}"
            );
        }
    }
}
