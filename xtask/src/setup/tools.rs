//! What set-up knows of the tools beside the table in [`::lab::binaries`]: which versions found on the machine serve as well, how a program is
//! asked for its version, and which cargo subcommands there are.

use super::version::Version;
use ::lab::binaries::Tool;
use std::path::{Path, PathBuf};

/// Oldest Go that builds the tools.
pub(crate) const GO: &str = "1.26";

/// Which versions serve in place of the pinned one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accept {
    /// The same minor version, at least the pinned patch: programs that must not differ much from each other.
    SameMinor,
    /// The same major version, at least the pinned one.
    SameMajor,
}

impl Accept {
    /// The rule for a tool: a kubelet, for one, must not be newer than its API server.
    pub(crate) fn of(tool: &Tool) -> Self {
        if tool.name == "kubernetes" {
            Self::SameMinor
        } else {
            Self::SameMajor
        }
    }

    /// Whether `found` serves where `pinned` is asked for.
    pub(crate) fn serves(self, found: Version, pinned: Version) -> bool {
        let close = match self {
            Self::SameMinor => (found.major, found.minor) == (pinned.major, pinned.minor),
            Self::SameMajor => found.major == pinned.major,
        };
        close && found >= pinned
    }
}

/// What makes a program print its version. `None`: it cannot tell, so one found on the machine is never trusted.
pub(crate) fn ask_version(file: &str) -> Option<&'static [&'static str]> {
    match file {
        "ptp" | "loopback" | "bridge" | "host-local" => None,
        "crane" => Some(&["version"]),
        "helm" => Some(&["version", "--short"]),
        "kubectl" => Some(&["version", "--client"]),
        "containerd-shim-runc-v2" => Some(&["-v"]),
        _ => Some(&["--version"]),
    }
}

/// The pinned version as numbers.
pub(crate) fn pinned(tool: &Tool) -> Version {
    Version::first_in(tool.version).expect("the versions of the table have numbers")
}

/// Linker flags: no symbol table, no debug information, and the variables that the tool wants.
pub(crate) fn linker_flags(tool: &Tool) -> String {
    let variables = tool
        .variables
        .iter()
        .map(|(name, value)| format!(" -X {name}={value}"));
    std::iter::once("-s -w".to_owned())
        .chain(variables)
        .collect()
}

/// A cargo subcommand.
pub(crate) struct CargoTool {
    /// Package and program.
    pub(crate) name: &'static str,
    /// Version that is installed when none on the machine is at least as new.
    pub(crate) version: &'static str,
}

pub(crate) const CARGO_TOOLS: &[CargoTool] = &[
    CargoTool {
        name: "cargo-nextest",
        version: "0.9.151",
    },
    CargoTool {
        name: "cargo-deny",
        version: "0.20.2",
    },
    CargoTool {
        name: "cargo-fuzz",
        version: "0.13.2",
    },
];

impl CargoTool {
    /// Its folder in the machine cache (a `cargo install --root`).
    pub(crate) fn folder(&self, cache: &Path) -> PathBuf {
        cache.join(format!("{}-{}", self.name, self.version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::lab::binaries::{KUBE_PROXY, KUBERNETES, TOOLS};

    #[test]
    fn a_version_found_on_the_machine_serves_when_close_and_not_older() {
        let version = |text| Version::first_in(text).expect("a version");
        for (accept, found, serves) in [
            (Accept::SameMinor, "1.36.3", true),
            (Accept::SameMinor, "1.36.9", true),
            (Accept::SameMinor, "1.36.2", false),
            (Accept::SameMinor, "1.37.0", false),
            (Accept::SameMajor, "1.37.0", true),
            (Accept::SameMajor, "1.32.4", false),
            (Accept::SameMajor, "2.0.0", false),
        ] {
            assert_eq!(
                accept.serves(version(found), version("1.36.3")),
                serves,
                "{found}"
            );
        }
    }

    #[test]
    fn every_module_pins_the_version_of_the_table_and_every_package() {
        for tool in TOOLS.iter().chain([&KUBE_PROXY]) {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tools")
                .join(tool.name);
            let read = |name| {
                std::fs::read_to_string(folder.join(name)).expect("each tool has its module")
            };
            assert!(
                read("go.mod").contains(&format!(" v{}", tool.version)),
                "{}: go.mod does not pin {}",
                tool.name,
                tool.version
            );
            for binary in tool.binaries {
                assert!(
                    read("tools.go").contains(&format!("_ \"{}\"", binary.package)),
                    "{}: tools.go lacks {}",
                    tool.name,
                    binary.package
                );
            }
        }
    }

    #[test]
    fn kubernetes_is_told_its_version_by_the_linker() {
        let flags = linker_flags(&KUBERNETES);
        assert!(flags.starts_with("-s -w -X "), "{flags}");
        assert!(
            flags.contains(&format!("gitVersion=v{} ", KUBERNETES.version)),
            "{flags}"
        );
        assert!(
            flags.ends_with(&format!("gitMinor={}", pinned(&KUBERNETES).minor)),
            "{flags}"
        );
    }
}
