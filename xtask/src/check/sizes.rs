//! Budgets: a file and a function that a reader can hold in mind.

use super::Verdict;
use crate::error::Error;
use crate::workspace::Workspace;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;
use syn::visit::Visit;

/// Lines of a file: its production part, or, of a file of tests, all.
const FILE: usize = 600;
/// Lines of a function outside tests, from its signature to its closing brace.
const FUNCTION: usize = 80;
/// File names that say what kind of thing is inside instead of which subject.
const BANNED_NAMES: &[&str] = &[
    "utils.rs",
    "util.rs",
    "common.rs",
    "types.rs",
    "helpers.rs",
    "consts.rs",
    "constants.rs",
    "traits.rs",
    "misc.rs",
];

/// A function and its length.
struct Function {
    place: String,
    lines: usize,
}

/// What one file holds.
struct Measure {
    production: usize,
    tests: usize,
    functions: Vec<Function>,
}

pub(super) fn check(workspace: &Workspace) -> Result<Verdict, Error> {
    let mut violations = Vec::new();
    let mut functions = Vec::new();
    let mut crates: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for path in workspace
        .files()?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
    {
        let text = workspace.read(&path)?;
        let syntax = syn::parse_file(&text).map_err(|source| Error::Rust {
            path: path.clone(),
            source,
        })?;
        let measure = measure(&path, &text, &syntax);
        violations.extend(over_budget(&path, &measure));
        let sums = crates.entry(crate_of(&path)).or_default();
        sums.0 += measure.production;
        sums.1 += measure.tests;
        functions.extend(measure.functions);
    }
    Ok(Verdict {
        remarks: remarks(functions, &crates),
        violations,
    })
}

fn over_budget(path: &Path, measure: &Measure) -> Vec<String> {
    let mut violations = Vec::new();
    let part = if measure.production == 0 {
        measure.tests
    } else {
        measure.production
    };
    if part > FILE {
        violations.push(format!("{}: {part} lines, {FILE} at most", path.display()));
    }
    if path
        .file_name()
        .is_some_and(|name| BANNED_NAMES.iter().any(|banned| name == *banned))
    {
        violations.push(format!(
            "{}: a file is named after its subject",
            path.display()
        ));
    }
    let long = measure
        .functions
        .iter()
        .filter(|function| function.lines > FUNCTION);
    violations.extend(long.map(|function| {
        format!(
            "{}: {} lines, {FUNCTION} at most",
            function.place, function.lines
        )
    }));
    violations
}

fn remarks(mut functions: Vec<Function>, crates: &BTreeMap<String, (usize, usize)>) -> Vec<String> {
    functions.sort_by_key(|function| function.lines);
    let at = |share: usize| {
        functions
            .get(functions.len() * share / 100)
            .map_or(0, |function| function.lines)
    };
    let mut remarks = Vec::new();
    if let Some(longest) = functions.last() {
        let count = functions.len();
        remarks.push(format!(
            "{count} functions: p50 {}, p90 {}, longest {} ({})",
            at(50),
            at(90),
            longest.lines,
            longest.place
        ));
    }
    let row = |name: &str, production: usize, tests: usize| {
        format!("{name:<18} {production:>6} lines, tests {tests:>6}")
    };
    remarks.extend(
        crates
            .iter()
            .map(|(name, (production, tests))| row(name, *production, *tests)),
    );
    let sum = crates
        .values()
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    remarks.push(row("all", sum.0, sum.1));
    remarks
}

/// The folder that holds the crate: `crates/bgp`, `xtask`.
fn crate_of(path: &Path) -> String {
    let two = ["crates", "ebpf"];
    let depth = if two.iter().any(|folder| path.starts_with(folder)) {
        2
    } else {
        1
    };
    path.components()
        .take(depth)
        .collect::<PathBuf>()
        .display()
        .to_string()
}

/// Whether the whole file is there for tests, benches or fuzzing.
fn is_test_file(path: &Path) -> bool {
    let folder = path
        .parent()
        .into_iter()
        .flat_map(Path::components)
        .any(|part| {
            ["tests", "benches", "fuzz", "examples"]
                .iter()
                .any(|name| part.as_os_str() == *name)
        });
    folder || path.file_name().is_some_and(|name| name == "tests.rs")
}

fn measure(path: &Path, text: &str, syntax: &syn::File) -> Measure {
    let lines = text.lines().count();
    if is_test_file(path) {
        return Measure {
            production: 0,
            tests: lines,
            functions: Vec::new(),
        };
    }
    let production = first_test_line(syntax).map_or(lines, |line| line - 1);
    let mut visitor = Functions {
        path,
        found: Vec::new(),
    };
    visitor.visit_file(syntax);
    Measure {
        production,
        tests: lines - production,
        functions: visitor.found,
    }
}

/// The line where the first module of tests with a body begins.
fn first_test_line(syntax: &syn::File) -> Option<usize> {
    let modules = syntax.items.iter().filter_map(|item| {
        if let syn::Item::Mod(module) = item {
            Some(module)
        } else {
            None
        }
    });
    modules
        .filter(|module| module.content.is_some() && is_for_tests(&module.attrs))
        .map(|module| module.span().start().line)
        .min()
}

/// `#[cfg(test)]`, alone or within `all(…)`.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        list.path.is_ident("cfg")
            && list
                .tokens
                .clone()
                .into_iter()
                .any(|token| token.to_string() == "test")
    })
}

struct Functions<'a> {
    path: &'a Path,
    found: Vec<Function>,
}

impl Functions<'_> {
    fn note(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.span().start().line;
        let last = block.span().end().line;
        self.found.push(Function {
            place: format!("{}:{first} {}", self.path.display(), signature.ident),
            lines: last + 1 - first,
        });
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.note(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.note(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.note(&function.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(path: &str, text: &str) -> Measure {
        measure(
            Path::new(path),
            text,
            &syn::parse_file(text).expect("the row is Rust"),
        )
    }

    #[test]
    fn a_function_counts_from_signature_to_brace_and_tests_do_not_count() {
        let text = "/// Doc.\npub fn a(\n) {\n}\n\nimpl X {\n    fn b() {}\n}\n\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\n";
        let measure = measured("crates/x/src/lib.rs", text);
        assert_eq!((measure.production, measure.tests), (9, 4));
        let lengths: Vec<usize> = measure
            .functions
            .iter()
            .map(|function| function.lines)
            .collect();
        assert_eq!(lengths, [3, 1]);
    }

    #[test]
    fn a_declared_module_of_tests_does_not_end_the_production_part() {
        let measure = measured(
            "crates/x/src/lib.rs",
            "#[cfg(test)]\nmod tests;\n\nfn a() {}\n",
        );
        assert_eq!((measure.production, measure.tests), (4, 0));
    }

    #[test]
    fn files_over_budget_and_files_named_after_a_kind_are_told() {
        let long = "fn a() {}\n".repeat(FILE + 1);
        assert_eq!(
            over_budget(
                Path::new("crates/x/src/a.rs"),
                &measured("crates/x/src/a.rs", &long)
            )
            .len(),
            1
        );
        assert_eq!(
            over_budget(
                Path::new("crates/x/tests/a.rs"),
                &measured("crates/x/tests/a.rs", &long)
            )
            .len(),
            1
        );
        assert_eq!(
            over_budget(
                Path::new("crates/x/src/utils.rs"),
                &measured("crates/x/src/utils.rs", "")
            )
            .len(),
            1
        );
        let body = "    b();\n".repeat(FUNCTION);
        assert_eq!(
            over_budget(
                Path::new("a.rs"),
                &measured("a.rs", &format!("fn a() {{\n{body}}}\n"))
            )
            .len(),
            1
        );
    }
}
