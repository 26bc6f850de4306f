//! What the kernel's verifier has to go through for each program, against what is written in `ebpf/prebuilt/instructions.txt`: a change that
//! makes it much more is seen here, long before a program is refused (at a million instructions).
//!
//! `cargo xtask ebpf` runs this with `LB_RECORD_INSTRUCTIONS` set, which writes the file instead.
#![expect(clippy::print_stdout, reason = "a test that says what it wrote")]

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};
use lb_abi::{map, program};
use libtest_mimic::{Arguments, Failed, Trial};

static ELF: &[u8] = aya::include_bytes_aligned!("../../../ebpf/prebuilt/lb.o");

/// Growth that is let pass, in hundredths.
const GROWTH: u32 = 10;

const HEAD: &str = "# program, instructions verified, bytes of the program as the kernel runs it";

/// What one program costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    verified: u32,
    bytes: u32,
}

fn main() -> ExitCode {
    let record = std::env::var_os("LB_RECORD_INSTRUCTIONS").is_some();
    if record && is_root() {
        let text = lines(&costs());
        std::fs::write(path(), &text).expect("the checkout can be written");
        println!("{}:\n{text}", path().display());
        return ExitCode::SUCCESS;
    }
    if record {
        println!(
            "{} NOT WRITTEN: only root may load programs",
            path().display()
        );
        return ExitCode::SUCCESS;
    }
    // Shown as ignored where nobody may load a program.
    let trial = Trial::test(
        "no_program_costs_the_verifier_much_more_than_is_written",
        compare,
    )
    .with_ignored_flag(!is_root());
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit_code()
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ebpf/prebuilt/instructions.txt")
}

fn compare() -> Result<(), Failed> {
    let written = parse(&std::fs::read_to_string(path())?)?;
    let found = costs();
    if written.keys().ne(found.keys()) {
        return Err(format!("programs {:?}, written {:?}", found.keys(), written.keys()).into());
    }
    let grown: Vec<String> = found
        .iter()
        .filter_map(|(name, cost)| {
            let before = written[name].verified;
            let limit = before + before * GROWTH / 100;
            (cost.verified > limit).then(|| {
                format!(
                    "{name}: {} instructions verified, {before} written",
                    cost.verified
                )
            })
        })
        .collect();
    if grown.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{}; if it must be so, run `cargo xtask ebpf`",
            grown.join("; ")
        )
        .into())
    }
}

/// Loads every program of the object, attached to nothing.
fn costs() -> BTreeMap<String, Cost> {
    let mut loader = EbpfLoader::new();
    for name in [map::FLOWS4, map::FLOWS6, map::SOCKETS] {
        loader.map_max_entries(name, 1024);
    }
    let mut object = loader.load(ELF).expect("the object is one");
    let names = [
        program::UPLINK_IN,
        program::UPLINK_OUT,
        program::POD_IN,
        program::POD_OUT,
    ];
    names
        .into_iter()
        .chain(program::SOCKET)
        .map(|name| (name.to_owned(), cost(&mut object, name)))
        .collect()
}

fn cost(object: &mut Ebpf, name: &str) -> Cost {
    let program = object
        .program_mut(name)
        .unwrap_or_else(|| panic!("the object has no {name}"));
    match program {
        Program::SchedClassifier(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        other => panic!("{name} is a {:?}", other.prog_type()),
    }
    .unwrap_or_else(|error| panic!("{name} is refused: {error}"));
    let info = program.info().expect("a loaded program tells of itself");
    Cost {
        verified: info
            .verified_instruction_count()
            .expect("kernels with TCX count"),
        bytes: info.size_translated().expect("root may see it"),
    }
}

fn lines(costs: &BTreeMap<String, Cost>) -> String {
    let rows = costs
        .iter()
        .map(|(name, cost)| format!("{name} {} {}\n", cost.verified, cost.bytes));
    std::iter::once(format!("{HEAD}\n")).chain(rows).collect()
}

fn parse(text: &str) -> Result<BTreeMap<String, Cost>, Failed> {
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, verified, bytes] = words[..] else {
            return Err(Failed::from(format!("not three words: {line}")));
        };
        let cost = Cost {
            verified: verified.parse()?,
            bytes: bytes.parse()?,
        };
        Ok((name.to_owned(), cost))
    })
    .collect()
}
