//! Programs are started, watched and ended as promised, and with their folder everything goes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use lab::error::Error;
use lab::process::{Launch, Place, Process};
use lab::state::StateFolder;
use lab::wait;

fn folder(test: &str) -> StateFolder {
    StateFolder::create(&format!("test-{test}-{}", std::process::id())).unwrap()
}

fn sleeper(state: &StateFolder, name: &str) -> Process {
    Process::start(state, Launch::new(name, "sleep").arg("600")).unwrap()
}

fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_program_that_has_ended_is_noticed_and_its_last_words_are_told() {
    let state = folder("words");
    let launch = Launch::new("speaker", "sh").args(["-c", "echo last words; exit 3"]);
    let process = Process::start(&state, launch).unwrap();
    let error = wait::until(Duration::from_secs(10), "it has ended", || {
        process.check().err()
    })
    .unwrap();
    assert!(
        matches!(&error, Error::Ended { tail, .. } if tail == "last words"),
        "{error}"
    );
}

#[test]
fn a_program_can_be_killed_and_started_again() {
    let state = folder("again");
    let process = sleeper(&state, "sleeper");
    let first = process.pid();
    process.kill().unwrap();
    assert!(!process.is_alive());
    assert!(!exists(first), "its exit status has been taken");
    process.start_again().unwrap();
    assert!(process.is_alive());
    assert_ne!(process.pid(), first);
}

#[test]
fn a_frozen_program_is_alive_but_does_not_answer() {
    let state = folder("frozen");
    let process = sleeper(&state, "sleeper");
    process.freeze().unwrap();
    let error = process.terminate(Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
    assert!(process.is_alive());
    process.thaw().unwrap();
    wait::until(Duration::from_secs(10), "SIGTERM reaches it", || {
        (!process.is_alive()).then_some(())
    })
    .unwrap();
}

#[test]
fn with_the_last_handle_of_its_folder_everything_goes() {
    let state = folder("everything");
    let path = state.path().to_path_buf();
    let pid = sleeper(&state, "sleeper").pid();
    // What a program of the lab starts carries its mark too, even when its parent is gone.
    let launch = Launch::new("parent", "sh").args(["-c", "sleep 600 & echo $!"]);
    let parent = Process::start(&state, launch).unwrap();
    wait::until(Duration::from_secs(10), "the parent has ended", || {
        (!parent.is_alive()).then_some(())
    })
    .unwrap();
    let orphan: u32 = std::fs::read_to_string(parent.log())
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(exists(pid) && exists(orphan));
    drop(parent);
    drop(state);
    assert!(!exists(pid));
    assert!(!path.exists());
    wait::until(Duration::from_secs(10), "the orphan is gone", || {
        (!exists(orphan)).then_some(())
    })
    .unwrap();
}

#[test]
fn a_living_owner_is_not_robbed() {
    let state = folder("owner");
    let error = StateFolder::create(state.name()).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(
        !lab::sweep::repair()
            .unwrap()
            .contains(&state.name().to_owned())
    );
    assert!(state.path().exists());
}

#[test]
fn a_lab_that_was_left_standing_is_found_again_and_taken_down_on_demand() {
    let state = folder("standing");
    let name = state.name().to_owned();
    let pid = sleeper(&state, "sleeper").pid();
    state.leave_standing().unwrap();
    drop(state);
    assert!(exists(pid));
    assert!(lab::sweep::standing().unwrap().contains(&name));
    assert!(matches!(
        StateFolder::create(&name).unwrap_err(),
        Error::Standing { .. }
    ));
    let again = StateFolder::attach(&name).unwrap();
    assert_eq!(again.process("sleeper").unwrap().unwrap().pid(), pid);
    drop(again);
    lab::sweep::down(&name).unwrap();
    assert!(!exists(pid));
    assert!(matches!(
        StateFolder::attach(&name).unwrap_err(),
        Error::NotStanding { .. }
    ));
}

#[test]
fn a_place_is_entered_by_the_command_line() {
    let command = Place::Beside { pid: 7 }.command("ip");
    let words: Vec<_> = command
        .get_args()
        .map(|word| word.to_string_lossy())
        .collect();
    assert_eq!(
        words,
        ["--target", "7", "--mount", "--uts", "--net", "--", "ip"]
    );
}
