//! Nanoseconds per packet, and what a wish costs.
//!
//! `cargo bench -p lb --bench packets`, as root, on a quiet machine. Every packet is run once (`BPF_PROG_TEST_RUN`), fresh: the kernel's own
//! clock measures the run and is part of it. What is passed or dropped as it came is run in a loop too, and so are packets of established
//! flows, whose entries make each of them the packet of the next. The first row is the overhead: a frame that is not IP, which the program
//! leaves at its first test. All rows are measured in several passes, so that what disturbs the machine for some seconds decides none.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench talks to a person and fails by panicking"
)]

#[path = "../../tests/packets/fixture/mod.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod fixture;
mod machine;
#[path = "../../tests/packets/model/mod.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod model;
#[path = "../../tests/packets/packet/mod.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod packet;
mod table;
mod walk;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fixture::cast::Cast;
use fixture::clock::second;
use fixture::kernel::{CAPACITY, Kernel};
use fixture::services::{self, NODE_PORT, number};
use fixture::{Place, agent};
use lb::Capacity;
use lb_abi::FlowKind;
use model::{Flow, FlowKey, Hook, Tuple, Verdict};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use packet::{ACK, End, Packet, SYN};
use table::{Beside, Measured, Table};
use walk::Walk;

/// Passes over all rows.
const PASSES: usize = 3;
/// Single runs of each row in a pass: in all as many as those of the incumbent's figures.
const RUNS: usize = 10_000;
/// Repetitions of a loop.
const LOOP: u32 = 1_000_000;
/// Loops of a row in a pass.
const LOOPS: usize = 3;
/// Seconds of a row of many flows in a pass.
const SECONDS: usize = 3;
/// Flows among which packets choose at random.
const FLOWS: usize = 262_144;

fn main() {
    machine::run();
    let Some(place) = Place::make("bench") else {
        return;
    };
    let interfaces = place.interfaces();
    place.run(|| {
        let mut processor = CpuSet::new();
        processor.set(1).unwrap();
        sched_setaffinity(Pid::from_raw(0), &processor).unwrap();
        let bench = Bench::new(interfaces);
        bench.run();
    });
}

type Flows = Vec<(FlowKey, Flow)>;

struct Bench {
    kernel: Kernel,
    interfaces: fixture::Interfaces,
    table: Table,
}

impl Bench {
    fn new(interfaces: fixture::Interfaces) -> Self {
        let capacity = Capacity {
            flows4: 1 << 20,
            flows6: 1 << 20,
            ..CAPACITY
        };
        let mut kernel = Kernel::load(capacity);
        kernel.configure(&agent::configuration());
        let mut machine = agent::machine(capacity);
        let mut wish = services::wish();
        for family in services::BOTH {
            let node = Cast::of(family).node;
            let spare = (0..FLOWS >> 15).map(|number| spare_address(node, number));
            wish.node_addresses.extend(spare);
        }
        kernel.perform(&agent::steps(&mut machine, &wish));
        Self {
            kernel,
            interfaces,
            table: Table::default(),
        }
    }

    fn run(mut self) {
        println!(
            "\nNanoseconds per packet; single runs: {PASSES} × {RUNS} of each, with the clock's overhead"
        );
        for _ in 0..PASSES {
            for family in services::BOTH {
                self.run_family(&Cast::of(family));
            }
            for family in services::BOTH {
                self.run_random(&Cast::of(family));
            }
        }
        self.table.print();
    }

    fn run_family(&mut self, cast: &Cast) {
        let name = |text: &str| format!("{:?}: {text}", cast.family);
        let syn = |to: End| Packet::tcp((cast.client, 40_000), to, SYN);
        let vip = |number| (cast.vip(number), 80);
        let mut arp = syn(vip(number::LOCAL)).bytes();
        arp[12..14].copy_from_slice(&[8, 6]);
        self.both(
            &name("not IP (overhead)"),
            Hook::UplinkIn,
            &arp,
            Beside::default(),
        );
        let not_ours = Beside {
            incumbent: "124/135",
            budget: "60",
        };
        let forwarded = syn((cast.remote_pod, 8080)).flags(ACK).bytes();
        self.both(
            &name("not ours, forwarded"),
            Hook::UplinkIn,
            &forwarded,
            not_ours,
        );
        let to_host = syn((cast.node, 6443)).flags(ACK).bytes();
        let beside = Beside {
            incumbent: "128/137",
            budget: "60",
        };
        self.both(
            &name("not ours, to the node"),
            Hook::UplinkIn,
            &to_host,
            beside,
        );
        self.both(
            &name("not ours, out of the node"),
            Hook::HostOut,
            &Packet::tcp((cast.node, 40_000), (cast.client, 443), ACK).bytes(),
            Beside::default(),
        );
        let direct = syn((cast.local_pod, 8080)).flags(ACK).bytes();
        self.both(
            &name("not ours, to a local backend's pod"),
            Hook::UplinkIn,
            &direct,
            not_ours,
        );
        let closed = syn((cast.vip(number::LOCAL), 81)).bytes();
        let beside = Beside {
            incumbent: "6743/8031",
            budget: "150",
        };
        self.both(
            &name("SYN to a closed port of a VIP"),
            Hook::UplinkIn,
            &closed,
            beside,
        );
        self.established(cast, &name);
        self.new_flows(cast, &name);
    }

    fn established(&mut self, cast: &Cast, name: &dyn Fn(&str) -> String) {
        let rows = [
            (
                "established, to a remote backend",
                (cast.vip(number::REMOTE), 80),
                "409/440",
            ),
            (
                "established, NodePort to a remote backend",
                (cast.node, NODE_PORT),
                "419/442",
            ),
            (
                "established, to a local backend",
                (cast.vip(number::LOCAL), 80),
                "489/526",
            ),
        ];
        for (text, to, incumbent) in rows {
            let names = [name(text), name(&format!("reply: {text}"))];
            let beside = [incumbent, "326/346"].map(|incumbent| Beside {
                incumbent,
                budget: "110",
            });
            let walks = self.connect(cast, to);
            let single = |walk: &Walk| {
                let frame = walk.frame();
                Measured {
                    singles: self.times(walk.hook, |_| frame.clone()),
                    best: None,
                    verdict: self.verdict(walk.hook, &frame),
                }
            };
            let singles = walks.each_ref().map(single);
            // Not before, because they take the connection's own entries.
            let loops = walks.map(|walk| walk.time(&mut self.kernel, self.interfaces.uplink));
            for (row, singles) in singles.into_iter().enumerate() {
                let best = Some(loops[row]);
                let measured = Measured { best, ..singles };
                self.table.add(&names[row], measured, beside[row]);
            }
            self.kernel.forget_flows();
        }
    }

    /// Makes a connection, and walks that are like its two directions: each between its own packet and another.
    fn connect(&self, cast: &Cast, to: End) -> [Walk; 2] {
        let there = tuple((cast.client, 40_000), to);
        self.once(Hook::UplinkIn, &packet_of(&there).flags(SYN));
        let forward = self.kernel.flow(there.forward()).unwrap();
        let back = tuple(forward.destination, forward.source);
        let client = (cast.far_client, 40_001);
        let (hook, other_back) = if forward.ifindex == 0 {
            (Hook::UplinkOut, tuple((cast.lone_pod, 8080), client))
        } else {
            let source = (spare_address(cast.node, 1), 40_001);
            let backend = (cast.other_remote_pod, 8081);
            (Hook::UplinkIn, tuple(backend, source))
        };
        self.once(hook, &packet_of(&back));
        let reply = self.kernel.flow(back.turned().reply()).unwrap();
        let other = tuple(client, (cast.vip(number::RING), 80));
        [
            Walk::new(Hook::UplinkIn, FlowKind::Forward, forward, &[there, other]),
            Walk::new(hook, FlowKind::Reply, reply, &[back, other_back]),
        ]
    }

    fn new_flows(&mut self, cast: &Cast, name: &dyn Fn(&str) -> String) {
        for (text, number, incumbent) in [
            ("new TCP flow, remote", number::REMOTE, "806/1458"),
            ("new TCP flow, local", number::LOCAL, "952/2551"),
            ("new TCP flow, by a ring", number::RING, ""),
        ] {
            let beside = Beside {
                incumbent,
                budget: "1800",
            };
            let to = (cast.vip(number), 80);
            let frame = |run: usize| Packet::tcp(stranger(cast, run), to, SYN).bytes();
            self.single(&name(text), Hook::UplinkIn, frame, beside);
            self.kernel.forget_flows();
        }
    }

    /// Nanoseconds that a program took for a frame, as the kernel measures it, on average over the repetitions.
    fn time(&self, hook: Hook, frame: &[u8], repeat: u32) -> u64 {
        let uplink = self.interfaces.uplink;
        let run = self.kernel.test_run(hook, uplink, frame, None, repeat);
        u64::try_from(run.duration.as_nanos()).unwrap()
    }

    fn once(&self, hook: Hook, packet: &Packet) {
        self.verdict(hook, &packet.bytes());
    }

    fn verdict(&self, hook: Hook, frame: &[u8]) -> Verdict {
        self.kernel.run(hook, self.interfaces.uplink, frame, 1).0
    }

    /// A row of single runs, and a loop of what is not changed by its run.
    fn both(&mut self, name: &str, hook: Hook, frame: &[u8], beside: Beside) {
        let loops = (0..LOOPS).map(|_| self.time(hook, frame, LOOP));
        let measured = Measured {
            best: loops.min(),
            singles: self.times(hook, |_| frame.to_vec()),
            verdict: self.verdict(hook, frame),
        };
        self.table.add(name, measured, beside);
    }

    fn single(&mut self, name: &str, hook: Hook, frame: impl Fn(usize) -> Vec<u8>, beside: Beside) {
        let measured = Measured {
            verdict: self.verdict(hook, &frame(RUNS)),
            singles: self.times(hook, frame),
            best: None,
        };
        self.table.add(name, measured, beside);
    }

    fn times(&self, hook: Hook, frame: impl Fn(usize) -> Vec<u8>) -> Vec<u64> {
        let time = |run| self.time(hook, &frame(run), 1);
        (0..RUNS).map(time).collect()
    }

    /// Packets of many flows in no order.
    fn run_random(&mut self, cast: &Cast) {
        let (forward, reply) = self.flows(cast);
        for (text, flows) in [("established, remote", &forward), ("reply, remote", &reply)] {
            let name = format!("{:?}: {text}, {FLOWS} flows at random", cast.family);
            let frames: Vec<Vec<u8>> = flows.iter().map(|(key, _)| frame_of(*key)).collect();
            let order = shuffled(flows.len());
            self.kernel.set_flows(pairs(&forward));
            self.kernel.set_flows(pairs(&reply));
            let singles = self.times_in_second(flows, &frames, &order);
            let walk = self.walk_through(flows, &order);
            let best = Some(walk.time(&mut self.kernel, self.interfaces.uplink));
            self.kernel.set_flows(pairs(flows));
            let beside = Beside {
                incumbent: "",
                budget: "500",
            };
            let verdict = self.verdict(Hook::UplinkIn, &frames[0]);
            let measured = Measured {
                singles,
                best,
                verdict,
            };
            self.table.add(&name, measured, beside);
            let late = second() - 3;
            self.kernel.set_flows(pairs(&seen(&forward, late)));
            self.kernel.set_flows(pairs(&seen(&reply, late)));
            let run = |place: &usize| self.time(Hook::UplinkIn, &frames[*place], 1);
            let measured = Measured {
                singles: order.iter().take(RUNS).map(run).collect(),
                best: None,
                verdict,
            };
            let name = format!("{name}, each its first of a second");
            self.table.add(&name, measured, Beside::default());
        }
        self.kernel.forget_flows();
    }

    /// Through all flows in that order.
    fn walk_through(&self, flows: &Flows, order: &[usize]) -> Walk {
        let ((_, kind), sample) = flows[0];
        let kind = if kind == FlowKind::Forward as u8 {
            FlowKind::Forward
        } else {
            FlowKind::Reply
        };
        let tuple = |place: &usize| walk::on_the_wire(flows[*place].0);
        let tuples: Vec<Tuple> = order.iter().map(tuple).collect();
        Walk::new(Hook::UplinkIn, kind, sample, &tuples)
    }

    /// Entries are written at the beginning of a second, as if each had just had a packet, and packets are run until it ends.
    fn times_in_second(
        &mut self,
        flows: &[(FlowKey, Flow)],
        frames: &[Vec<u8>],
        order: &[usize],
    ) -> Vec<u64> {
        let mut times = Vec::new();
        for round in 0..SECONDS {
            let now = next_second();
            self.kernel.set_flows(pairs(&seen(flows, now)));
            let start = round * order.len() / SECONDS;
            for place in order.iter().cycle().skip(start) {
                let time = self.time(Hook::UplinkIn, &frames[*place], 1);
                if second() != now {
                    break;
                }
                times.push(time);
            }
        }
        times
    }

    /// Both entries of many flows to the remote backend.
    fn flows(&mut self, cast: &Cast) -> (Flows, Flows) {
        let syn = Packet::tcp((cast.client, 40_000), (cast.vip(number::REMOTE), 80), SYN);
        self.once(Hook::UplinkIn, &syn);
        let sample = tuple(syn.source, syn.destination);
        let model = self.kernel.flow(sample.forward()).unwrap();
        let answer = Packet::tcp(model.destination, model.source, SYN | ACK);
        self.once(Hook::UplinkIn, &answer);
        let after = tuple(model.source, model.destination);
        let forward = self.kernel.flow(sample.forward()).unwrap();
        let reply = self.kernel.flow(after.reply()).unwrap();
        self.kernel.forget_flows();
        let flow = |number: usize| {
            let client = stranger(cast, number);
            let source = snat_end(cast.node, number);
            let key = Tuple {
                source: client,
                ..sample
            };
            let twin = Tuple { source, ..after };
            let forward = Flow { source, ..forward };
            let reply = Flow {
                destination: client,
                ..reply
            };
            ((key.forward(), forward), (twin.reply(), reply))
        };
        (0..FLOWS).map(flow).unzip()
    }
}

fn pairs(flows: &[(FlowKey, Flow)]) -> impl Iterator<Item = (&FlowKey, &Flow)> {
    flows.iter().map(|(key, flow)| (key, flow))
}

/// The same, last seen then.
fn seen(flows: &[(FlowKey, Flow)], last_seen: u32) -> Flows {
    let seen = |(key, flow): &(FlowKey, Flow)| (*key, Flow { last_seen, ..*flow });
    flows.iter().map(seen).collect()
}

/// The packet that an entry is for.
fn frame_of(key: FlowKey) -> Vec<u8> {
    packet_of(&walk::on_the_wire(key)).bytes()
}

fn tuple(source: End, destination: End) -> Tuple {
    Tuple {
        source,
        destination,
        protocol: lb_abi::TCP,
    }
}

fn packet_of(tuple: &Tuple) -> Packet {
    Packet::tcp(tuple.source, tuple.destination, ACK)
}

/// One of many clients behind the router of the other uplink.
fn stranger(cast: &Cast, number: usize) -> End {
    let [low, high] = [number & 0xffff, number >> 16].map(|half| u16::try_from(half).unwrap());
    let address = match cast.far_client {
        IpAddr::V4(_) => Ipv4Addr::from(0x0a14_0000 + u32::from(low)).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0x20, 0, 0, 0, low, 1).into(),
    };
    (address, 32_768 + (low.wrapping_add(high * 8_191) & 0x7fff))
}

/// What replaces a client: more flows than a port can tell apart need more addresses.
fn snat_end(node: IpAddr, number: usize) -> End {
    let address = spare_address(node, number >> 15);
    (address, 32_768 | u16::try_from(number & 0x7fff).unwrap())
}

fn spare_address(node: IpAddr, number: usize) -> IpAddr {
    let number = 10 * u8::try_from(number).unwrap();
    match node {
        IpAddr::V4(node) => {
            let [a, b, c, d] = node.octets();
            [a, b, c, d + number].into()
        }
        IpAddr::V6(node) => Ipv6Addr::from(u128::from(node) + u128::from(number)).into(),
    }
}

/// Waits for a second to begin.
fn next_second() -> u32 {
    let now = second();
    while second() == now {
        std::hint::spin_loop();
    }
    now + 1
}

/// Numbers in no order (Fisher–Yates, with a generator of its own).
fn shuffled(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for place in (1..count).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(place, usize::try_from(state >> 33).unwrap() % (place + 1));
    }
    order
}
