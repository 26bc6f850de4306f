//! What somebody else has in a node's kernel: a program on both sides of its uplink, which passes everything on, links and a map that are
//! pinned, and a route.

use std::error::Error;
use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use ::lab::error::Error as LabError;
use ::lab::machine::Machine;
use ::lab::namespace::Namespace;
use aya::Ebpf;
use aya::maps::{Array, Map, MapData};
use aya::programs::links::FdLink;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use aya::sys::{Stats, enable_stats};

use crate::{Failure, claim};

/// The name of the program, of the folder of pins, and of nobody else.
const NAME: &str = "somebody";
/// Where nodes meet their network.
const UPLINK: &str = "eth1";
const SIDES: [(TcAttachType, &str); 2] =
    [(TcAttachType::Ingress, "in"), (TcAttachType::Egress, "out")];
/// The route's prefix and protocol number.
const ROUTE: [&str; 3] = ["198.51.100.0/24", "proto", "187"];
/// What the map holds.
const KEPT: u64 = 4711;

/// All of it on one node. Gone when dropped.
pub struct Foreign {
    machine: Machine,
    gateway: IpAddr,
    /// One for each of [`SIDES`].
    programs: Vec<Ebpf>,
    /// As long as it is open, the kernel counts how often programs run.
    _counting: OwnedFd,
}

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

impl Foreign {
    /// Attaches, pins and routes, by way of `gateway`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn settle(machine: &Machine, gateway: IpAddr) -> Result<Self, Failure> {
        let counting = enable_stats(Stats::RunTime);
        let counting = counting.map_err(Failure::kernel("count runs of programs"))?;
        let mut foreign = Self {
            machine: machine.clone(),
            gateway,
            programs: Vec::new(),
            _counting: counting,
        };
        let folder = foreign.pin("");
        fs::create_dir(&folder).map_err(LabError::file(&folder))?;
        let filled = foreign.fill();
        filled.map_err(Failure::kernel("attach and pin what is somebody's"))?;
        let route = machine.exec(foreign.route("add"))?;
        claim(route.success(), || {
            format!("a route of {NAME}'s: {}", route.stderr)
        })?;
        Ok(foreign)
    }

    fn fill(&mut self) -> Outcome<()> {
        let mut map = Array::<MapData, u64>::create(1, 0)?;
        map.set(0, KEPT, 0)?;
        map.pin(self.pin("map"))?;
        for (side, name) in SIDES {
            let (program, link) = attach(self.machine.namespace(), side)?;
            self.programs.push(program);
            link.pin(self.pin(name))?;
        }
        Ok(())
    }

    /// How many packets have come in and gone out, as the programs have seen them.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn packets(&self) -> Result<Vec<u64>, Failure> {
        let counts: Outcome<_> = self.programs.iter().map(runs).collect();
        counts.map_err(Failure::kernel("count runs of programs"))
    }

    /// Makes sure that all of it is there, and that both programs see what passes.
    ///
    /// # Errors
    /// [`Failure::Untrue`] that names what is not.
    pub fn verify(&self) -> Result<(), Failure> {
        let node = self.machine.name();
        let map = MapData::from_pin(self.pin("map"));
        let map = map.and_then(|data| Array::<_, u64>::try_from(Map::Array(data)));
        let kept = map.and_then(|map| map.get(&0, 0));
        claim(matches!(kept, Ok(KEPT)), || {
            format!("{NAME}'s map on {node} is as it was: {kept:?}")
        })?;
        for (_, name) in SIDES {
            claim(self.pin(name).exists(), || {
                format!("{NAME}'s link {name} is pinned on {node}")
            })?;
        }
        let shown = self
            .machine
            .exec(["ip", "route", "show"].iter().chain(&ROUTE))?;
        claim(shown.stdout.contains(&self.gateway.to_string()), || {
            format!("{NAME}'s route is on {node}: {shown:?}")
        })?;
        let before = self.packets()?;
        let gateway = self.gateway.to_string();
        let ping = self
            .machine
            .exec(["ping", "-c", "1", "-W", "1", &gateway])?;
        let after = self.packets()?;
        let is_seen = before
            .iter()
            .zip(&after)
            .all(|(before, after)| before < after);
        claim(ping.success() && is_seen, || {
            format!(
                "{NAME}'s programs on {node} see a ping and its answer: {before:?}, {after:?}, {ping:?}"
            )
        })
    }

    /// Where something is pinned, as seen from here.
    fn pin(&self, name: &str) -> PathBuf {
        self.machine.path("/sys/fs/bpf").join(NAME).join(name)
    }

    fn route(&self, verb: &str) -> Vec<String> {
        let [prefix, rest @ ..] = ROUTE;
        let gateway = self.gateway.to_string();
        let words = ["ip", "route", verb, prefix, "via", &gateway].into_iter();
        words.chain(rest).map(str::to_owned).collect()
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // What is already gone, a scenario has complained about.
        for name in ["map", "in", "out"] {
            drop(fs::remove_file(self.pin(name)));
        }
        drop(fs::remove_dir(self.pin("")));
        drop(self.machine.exec(self.route("del")));
    }
}

fn attach(namespace: &Namespace, side: TcAttachType) -> Outcome<(Ebpf, FdLink)> {
    let mut object = Ebpf::load(&object())?;
    let program = object
        .program_mut(NAME)
        .ok_or("the object has no program")?;
    let program: &mut SchedClassifier = program.try_into()?;
    program.load()?;
    let order = TcAttachOptions::TcxOrder(LinkOrder::default());
    let link = namespace.run(|| program.attach_with_options(UPLINK, side, order))??;
    let link = program.take_link(link)?.try_into()?;
    Ok((object, link))
}

/// How often a program ran (`run_cnt` of `fdinfo`).
fn runs(object: &Ebpf) -> Outcome<u64> {
    let program = object.program(NAME).ok_or("the object has no program")?;
    let path = format!("/proc/self/fdinfo/{}", program.fd()?.as_fd().as_raw_fd());
    let text = fs::read_to_string(&path).map_err(LabError::file(&path))?;
    let count = text.lines().find_map(|line| line.strip_prefix("run_cnt:"));
    Ok(count.ok_or("nothing is counted")?.trim().parse()?)
}

/// The strings of the object.
const STRINGS: &[u8] = b"\0classifier\0.symtab\0license\0.strtab\0somebody\0";
/// The length of the ELF header, and of that of each section.
const HEADER: usize = 64;

/// A section of an ELF object.
struct Section<'a> {
    name: &'static str,
    /// Type and flags.
    kind: (u32, u64),
    /// The section of strings, and the first symbol that is global.
    links: [u32; 2],
    /// Length of an entry.
    entry: u64,
    content: &'a [u8],
}

/// The least object that a loader takes (ELF gABI, chapter 4): the program, a symbol where it begins, and its licence.
fn object() -> Vec<u8> {
    // r0 = TCX_NEXT (-1); exit.
    let program = [0xffff_ffff_0000_00b7_u64, 0x95];
    let program = program.map(u64::to_le_bytes).concat();
    // A global function at the beginning of the first section.
    let symbol = [
        &string(NAME).to_le_bytes()[..],
        &[0x12, 0, 1, 0],
        &0_u64.to_le_bytes(),
        &(program.len() as u64).to_le_bytes(),
    ];
    let symbols = [vec![0; 24], symbol.concat()].concat();
    let section = |name, kind, content| Section {
        name,
        kind,
        links: [0, 0],
        entry: 0,
        content,
    };
    together(&[
        section("classifier", (1, 6), &program),
        Section {
            links: [4, 1],
            entry: 24,
            ..section(".symtab", (2, 0), &symbols)
        },
        section("license", (1, 0), b"GPL\0"),
        section(".strtab", (3, 0), STRINGS),
    ])
}

/// The sections between the header and the table of them, the last of which has the strings.
fn together(sections: &[Section<'_>]) -> Vec<u8> {
    let mut contents = Vec::new();
    let mut table = vec![0; HEADER];
    for section in sections {
        let (kind, flags) = section.kind;
        let offset = (HEADER + contents.len()) as u64;
        let place = [flags, 0, offset, section.content.len() as u64];
        table.extend([string(section.name), kind].map(u32::to_le_bytes).concat());
        table.extend(place.map(u64::to_le_bytes).concat());
        table.extend(section.links.map(u32::to_le_bytes).concat());
        table.extend([1, section.entry].map(u64::to_le_bytes).concat());
        contents.extend_from_slice(section.content);
    }
    contents.resize(contents.len().next_multiple_of(8), 0);
    let end = (HEADER + contents.len()) as u64;
    let count = sections.len() as u16;
    let object = [
        // Little-endian, 64 bits, relocatable, for BPF.
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec(),
        [1_u16, 247, 1, 0].map(u16::to_le_bytes).concat(),
        [0, 0, end].map(u64::to_le_bytes).concat(),
        [0, 0, 64, 0, 0, 64, count + 1, count]
            .map(u16::to_le_bytes)
            .concat(),
        contents,
        table,
    ];
    object.concat()
}

/// Where a string is among [`STRINGS`].
fn string(wanted: &str) -> u32 {
    let mut places = STRINGS.windows(wanted.len());
    let found = places.position(|place| place == wanted.as_bytes());
    found.expect("it is one of them") as u32
}
