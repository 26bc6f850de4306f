//! The agent as a process, with a real API server and the real kernel: what the one says is in the maps of the other.
//!
//! The same at 10,000 Services, measured, is the bench `services`.

#![expect(
    clippy::print_stdout,
    reason = "a test says what it measured, and why it is left out"
)]

#[path = "../../benches/services/node.rs"]
mod node;
#[path = "../../benches/services/objects.rs"]
#[expect(dead_code, reason = "the bench uses the rest")]
mod objects;
#[path = "../../benches/services/process.rs"]
#[expect(dead_code, reason = "the bench uses the rest")]
mod process;
#[path = "../../benches/services/tables.rs"]
mod tables;

use std::error::Error;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use node::Node;
use objects::Objects;
use process::Agent;
use tables::Tables;

const PATIENCE: Duration = Duration::from_secs(60);
const SERVICES: u32 = 250;
const LOAD_BALANCERS: u32 = 50;
const ENDPOINTS: u32 = 10;

type Failure = Box<dyn Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failure>;

fn main() {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0);
    if !is_root {
        println!("network namespaces and BPF need root: left out");
    }
    let name = "services_and_their_changes_are_in_the_maps_and_go_with_the_agent";
    let claim = || {
        let outcome = node::at_a_node(services_and_their_changes);
        outcome.map_err(|failure| Failed::from(failure.to_string()))
    };
    let trial = Trial::test(name, claim).with_ignored_flag(!is_root);
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}

fn services_and_their_changes(node: &Node) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let options = cluster::ConnectOptions {
        kubeconfig: Some(node.plane.kubeconfig().to_owned()),
        api_server: None,
    };
    let objects = Objects::new(runtime.block_on(cluster::connect(&options))?);
    runtime.block_on(objects.make_node())?;
    let before = SERVICES / 2;
    runtime.block_on(objects.make_services(0..before))?;

    let begin = Instant::now();
    let agent = Agent::start(node, "maglev")?;
    let tables = Tables::await_open(&node.maps(), PATIENCE)?;
    tables.await_services(0..before, PATIENCE)?;
    agent.await_ready()?;
    println!("{before} Services after {:?}", begin.elapsed());
    runtime.block_on(objects.make_services(before..SERVICES))?;
    tables.await_services(before..SERVICES, PATIENCE)?;
    for service in [0, LOAD_BALANCERS, SERVICES - 1] {
        let replacement = objects.replacement();
        let begin = Instant::now();
        runtime.block_on(objects.replace(service, replacement))?;
        tables.await_backend(service, replacement, PATIENCE)?;
        println!(
            "an endpoint of Service {service} after {:?}",
            begin.elapsed()
        );
    }
    let (withheld, usage) = (agent.withheld()?, agent.usage()?);
    let megabytes = tables.memory()? as f64 / 1e6;
    println!(
        "{:.0} MB of the process, {:.0} of them its own, {megabytes:.0} MB of maps",
        usage.resident, usage.anonymous
    );
    assert!(withheld == 0.0, "{withheld} do not fit");
    // The rest is the program, large where it is not optimised, and the maps, which are counted by themselves.
    assert!(usage.anonymous <= 40.0, "{} MB", usage.anonymous);
    agent.terminate()?;
    assert!(
        !node.maps().exists(),
        "nobody comes back, and the maps stay"
    );
    Ok(())
}
