//! Packets of established flows in a loop: every entry makes its packet that of the next, and the last that of the first.

use lb_abi::FlowKind;

use crate::fixture::clock::steady_second;
use crate::fixture::kernel::Kernel;
use crate::model::{Flow, FlowKey, Hook, Tuple};
use crate::{Flows, packet_of, pairs, seen};

/// Repetitions of a run, of which each may take a hop off the packet.
const STEPS: u32 = 250;
/// Runs of a round, which must all be within a second: the first packet of a flow in a second takes another way.
const RUNS: usize = 400;
/// Rounds of a pass, of which the best counts.
const ROUNDS: usize = 3;

/// Flows in the order in which a packet goes through them.
pub(crate) struct Walk {
    /// Where the packets come.
    pub(crate) hook: Hook,
    tuples: Vec<Tuple>,
    flows: Flows,
}

impl Walk {
    /// Through packets of these tuples, as they are on the wire. The entries are like the sample but for what becomes of a packet.
    pub(crate) fn new(hook: Hook, kind: FlowKind, sample: Flow, tuples: &[Tuple]) -> Self {
        let steps = tuples.iter().zip(tuples.iter().cycle().skip(1));
        let entry = |(tuple, next): (&Tuple, &Tuple)| {
            let key = match kind {
                FlowKind::Forward => tuple.forward(),
                FlowKind::Reply => tuple.turned().reply(),
            };
            let flow = Flow {
                source: next.source,
                destination: next.destination,
                packets: 0,
                ..sample
            };
            (key, flow)
        };
        Self {
            hook,
            flows: steps.map(entry).collect(),
            tuples: tuples.to_vec(),
        }
    }

    /// The packet of the first flow.
    pub(crate) fn frame(&self) -> Vec<u8> {
        packet_of(&self.tuples[0]).bytes()
    }

    /// Nanoseconds per packet: the best mean of a round.
    pub(crate) fn time(&self, kernel: &mut Kernel, ifindex: u32) -> u64 {
        let mut rounds = Vec::new();
        while rounds.len() < ROUNDS {
            let now = steady_second();
            kernel.set_flows(pairs(&seen(&self.flows, now)));
            let times = (0..RUNS).map(|run| self.run(kernel, ifindex, run));
            let mean = times.sum::<u64>() / RUNS as u64;
            if steady_second() == now {
                rounds.push(mean);
            }
        }
        self.prove(kernel);
        rounds.into_iter().min().unwrap()
    }

    fn run(&self, kernel: &Kernel, ifindex: u32, run: usize) -> u64 {
        let tuple = &self.tuples[run * self.tuples.len() / RUNS];
        let frame = packet_of(tuple).hop_limit(u8::MAX).bytes();
        let run = kernel.test_run(self.hook, ifindex, &frame, None, STEPS);
        u64::try_from(run.duration.as_nanos()).unwrap()
    }

    /// Every packet of the last round was one of these flows.
    fn prove(&self, kernel: &Kernel) {
        let packets = |(key, _): &(FlowKey, Flow)| kernel.flow(*key).map_or(0, |flow| flow.packets);
        let packets: u32 = self.flows.iter().map(packets).sum();
        assert_eq!(packets, STEPS * u32::try_from(RUNS).unwrap());
    }
}

/// The packet's own tuple of an entry, by its key.
pub(crate) fn on_the_wire((tuple, kind): FlowKey) -> Tuple {
    if kind == FlowKind::Forward as u8 {
        tuple
    } else {
        tuple.turned()
    }
}
