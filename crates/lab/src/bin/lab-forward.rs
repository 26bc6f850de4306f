//! A door from the loopback of this machine into a network namespace: `lab-forward LISTEN NAMESPACE TARGET`
//! listens on LISTEN here and connects every client to TARGET inside NAMESPACE (a file).
//!
//! While the target refuses connections the door is closed: clients here are refused too, at once, as they would
//! be by the target itself.

use std::env;
use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

/// How often a target that refused is tried again.
const POLL: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    match env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [listen, namespace, target] => match serve(listen, namespace, target) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error.to_string()),
        },
        _ => complain("usage: lab-forward LISTEN NAMESPACE TARGET"),
    }
}

#[expect(clippy::print_stderr, reason = "a program that says why it ends")]
fn complain(reason: &str) -> ExitCode {
    eprintln!("lab-forward: {reason}");
    ExitCode::FAILURE
}

fn serve(listen: &str, namespace: &str, target: &str) -> io::Result<()> {
    let dialer = Dialer::start(
        File::open(namespace)?,
        target.parse().map_err(io::Error::other)?,
    )?;
    loop {
        // Nobody is let in before somebody is there to talk to.
        while dialer.dial()?.is_err() {
            thread::sleep(POLL);
        }
        let listener = TcpListener::bind(listen)?;
        loop {
            let (client, _) = listener.accept()?;
            match dialer.dial()? {
                Ok(server) => thread::spawn(move || join(&client, &server)),
                Err(_) => break,
            };
        }
    }
}

/// A thread inside the namespace that connects to the target when asked. Sockets stay in the namespace they were
/// made in, whoever uses them.
struct Dialer {
    ask: SyncSender<()>,
    answers: Receiver<io::Result<TcpStream>>,
}

impl Dialer {
    fn start(namespace: File, target: SocketAddr) -> io::Result<Self> {
        let (ask, asked) = sync_channel(0);
        let (answer, answers) = sync_channel(0);
        let (entered, has_entered) = sync_channel(0);
        thread::spawn(move || {
            let inside = setns(namespace, CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
            let may_serve = inside.is_ok();
            let _ = entered.send(inside);
            while may_serve && asked.recv().is_ok() {
                if answer
                    .send(TcpStream::connect_timeout(&target, Duration::from_secs(5)))
                    .is_err()
                {
                    return;
                }
            }
        });
        has_entered.recv().map_err(io::Error::other)??;
        Ok(Self { ask, answers })
    }

    /// The outer error is the dialer's, the inner one the target's.
    fn dial(&self) -> io::Result<io::Result<TcpStream>> {
        self.ask.send(()).map_err(io::Error::other)?;
        self.answers.recv().map_err(io::Error::other)
    }
}

/// Carries bytes both ways until both sides have ended.
fn join(client: &TcpStream, server: &TcpStream) {
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    thread::scope(|scope| {
        scope.spawn(|| carry(client, server));
        carry(server, client);
    });
}

/// Carries bytes one way; a broken side ends both, the end of the data is passed on.
fn carry(mut from: &TcpStream, mut to: &TcpStream) {
    if io::copy(&mut from, &mut to).is_ok() {
        let _ = to.shutdown(Shutdown::Write);
    } else {
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
