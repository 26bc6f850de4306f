//! Words that do not belong in the tree: promises for later, switched-off tests, folders of one machine, unsafe code outside its list.

use super::Verdict;
use crate::error::Error;
use crate::workspace::Workspace;
use std::path::Path;

/// What no file may contain, and why. Written in two halves, so that this file does not contain them.
const BANNED: &[(&str, &str, &str)] = &[
    ("TO", "DO", "do it or leave it"),
    ("FIX", "ME", "mend it"),
    ("#[ig", "nore", "a test that does not run is no test"),
    ("unimple", "mented!", "no stubs"),
    ("to", "do!(", "no stubs"),
];

/// Folders in which a machine keeps what is its own: a path into one of them works nowhere else.
const MACHINE_FOLDERS: &[&str] = &["home", "root", "work"];

/// Files that a person writes and reads.
const TEXT: &[&str] = &[
    "rs", "toml", "sh", "yaml", "yml", "tpl", "md", "json", "go", "txt", "conf", "run",
];

/// Where unsafe code may stand; each file says by an expectation why.
const UNSAFE: &[&str] = &[
    "crates/lb/src/bpf.rs",
    "crates/lb/src/configuration.rs",
    "crates/lb/src/heap.rs",
    "crates/lb/src/maps/window.rs",
    "crates/lb/tests/kernel/foreign.rs",
];

pub(super) fn check(workspace: &Workspace) -> Result<Verdict, Error> {
    let mut violations = Vec::new();
    for path in workspace.files()? {
        if !is_text(&path) {
            continue;
        }
        let text = workspace.read(&path)?;
        violations.extend(banned(&path, &text));
        let name = path.to_string_lossy();
        if path.extension().is_some_and(|extension| extension == "rs")
            && excepts_itself(&text)
            && !UNSAFE.contains(&name.as_ref())
        {
            violations.push(format!(
                "{name} allows itself unsafe code and is not in the list (xtask/src/check/words.rs)"
            ));
        }
    }
    Ok(Verdict::of_violations(violations))
}

/// Whether a file expects unsafe code: the lint's name behind the attribute, or on a line of its own within it.
fn excepts_itself(text: &str) -> bool {
    let lint = concat!("unsafe", "_code");
    let behind = format!("expect({lint}");
    text.lines()
        .any(|line| line.contains(&behind) || line.trim() == format!("{lint},"))
}

fn is_text(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.map_or_else(
        || path.starts_with(".ci"),
        |extension| TEXT.contains(&extension),
    )
}

fn banned(path: &Path, text: &str) -> Vec<String> {
    let words: Vec<(String, &str)> = BANNED
        .iter()
        .map(|(front, back, why)| (format!("{front}{back}"), *why))
        .collect();
    let mut violations = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{}", path.display(), number + 1);
        let hits = words
            .iter()
            .filter(|(word, _)| line.contains(word.as_str()));
        violations.extend(hits.map(|(word, why)| format!("{place}: `{word}`: {why}")));
        if names_machine_folder(line) {
            violations.push(format!("{place}: a path that only one machine has"));
        }
    }
    violations
}

/// Whether an absolute path into one of [`MACHINE_FOLDERS`] begins somewhere in the line.
fn names_machine_folder(line: &str) -> bool {
    let begins = |at: usize| {
        line[..at]
            .chars()
            .next_back()
            .is_none_or(|before| "\"'` (=:".contains(before))
    };
    let goes_on = |rest: &str| {
        let rest = MACHINE_FOLDERS
            .iter()
            .find_map(|folder| rest.strip_prefix(folder)?.strip_prefix('/'));
        rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase()))
    };
    line.match_indices('/')
        .any(|(at, _)| begins(at) && goes_on(&line[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banned_word_is_named_with_its_line() {
        let text = format!("fine\n// {}{}: later\n", "TO", "DO");
        assert_eq!(banned(Path::new("a.rs"), &text).len(), 1);
        assert!(banned(Path::new("a.rs"), &text)[0].starts_with("a.rs:2: "));
        assert!(banned(Path::new("a.rs"), "fn method() {}").is_empty());
    }

    #[test]
    fn an_expectation_of_unsafe_code_is_seen_on_one_line_and_on_several() {
        let lint = concat!("unsafe", "_code");
        for (text, wanted) in [
            (format!("#[expect({lint}, reason = \"x\")]"), true),
            (
                format!("#![expect(\n    {lint},\n    reason = \"x\"\n)]"),
                true,
            ),
            (format!("[lints.rust]\n{lint} = deny"), false),
        ] {
            assert_eq!(excepts_itself(&text), wanted, "{text}");
        }
    }

    #[test]
    fn a_path_of_one_machine_is_told_from_others() {
        for (front, back, wanted) in [
            ("see /ro", "ot/project/x", true),
            ("\"/ho", "me/someone\"", true),
            ("/proc/1/ro", "ot/run", false),
            (".folder(\"/ro", "ot\", 0o700)", false),
            ("a wo", "rk/life balance", false),
        ] {
            let line = format!("{front}{back}");
            assert_eq!(names_machine_folder(&line), wanted, "{line}");
        }
    }
}
