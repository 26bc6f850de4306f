//! What Tombolo costs while nothing happens: memory and processor time of an agent with an established session, its
//! log since it started, memory of the operator.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lab::error::Error;
use scenarios::lab::{NAMESPACE, Pod};
use scenarios::{Failure, Lab, claim, peering, tell};

/// Resident memory of an idle agent, in kB (Cilium's agent: 185 MB).
const AGENT_MEMORY: u64 = 25_000;
/// Resident memory of the operator, in kB (Cilium's operator: 118 MB).
const OPERATOR_MEMORY: u64 = 40_000;
/// Share of one processor that an idle agent takes.
const AGENT_PROCESSOR: f64 = 0.002;
/// How long it is watched: some keepalives and a renewal of everything that is renewed.
const WATCHED: Duration = Duration::from_secs(20);
/// Lines an agent may log until its session is established and shortly after (Cilium's: 690 in 14 s).
const LOG_LINES: usize = 30;

pub(crate) fn an_idle_agent_is_small_and_quiet(lab: &mut Lab) -> Result<(), Failure> {
    peering::as_published(lab)?;
    let node = &lab.cluster.topology().nodes[0].name;
    let agent = lab.agent(node)?;
    let process = process(lab, &agent)?;
    thread::sleep(Duration::from_secs(1));

    let (begun, before) = (Instant::now(), processor_time(&process)?);
    thread::sleep(WATCHED);
    let used = processor_time(&process)? - before;
    let share = used.as_secs_f64() / begun.elapsed().as_secs_f64();
    claim(share <= AGENT_PROCESSOR, || {
        format!(
            "an idle agent takes at most 0.2 % of a processor, not {:.2} %",
            share * 100.0
        )
    })?;
    let memory = resident(&process)?;
    claim(memory <= AGENT_MEMORY, || {
        format!("an idle agent takes at most {AGENT_MEMORY} kB, not {memory}")
    })?;
    let log = lab
        .cluster
        .kubectl(["logs", "--namespace", NAMESPACE, &agent.name])?;
    let lines = log.lines().count();
    claim((1..=LOG_LINES).contains(&lines), || {
        format!("an agent logs what happened in at most {LOG_LINES} lines, not {lines}:\n{log}")
    })?;

    for operator in lab.pods(NAMESPACE, "app.kubernetes.io/component=operator")? {
        let memory = resident(&self::process(lab, &operator)?)?;
        claim(memory <= OPERATOR_MEMORY, || {
            format!("an operator takes at most {OPERATOR_MEMORY} kB, not {memory}")
        })?;
    }
    tell(&format!(
        "agent {memory} kB, {:.3} % of a processor, {lines} lines of log",
        share * 100.0
    ));
    Ok(())
}

/// The folder that tells about the process of a pod's only container (proc(5)).
fn process(lab: &Lab, pod: &Pod) -> Result<String, Failure> {
    let pid = lab
        .cluster
        .container_pid(NAMESPACE, &pod.name, &pod.container)?;
    Ok(format!("/proc/{pid}"))
}

/// Time on a processor of all its threads together: the first number of `schedstat`, in nanoseconds.
fn processor_time(process: &str) -> Result<Duration, Failure> {
    let tasks = format!("{process}/task");
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(&tasks).map_err(Error::file(&tasks))? {
        let path = task.map_err(Error::file(&tasks))?.path().join("schedstat");
        let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
        let nanoseconds = text.split(' ').next().and_then(|text| text.parse().ok());
        sum += Duration::from_nanos(nanoseconds.unwrap_or_default());
    }
    Ok(sum)
}

/// Resident memory in kB.
fn resident(process: &str) -> Result<u64, Failure> {
    let path = Path::new(process).join("status");
    let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| Failure::Untrue(format!("{} tells VmRSS", path.display())))
}
