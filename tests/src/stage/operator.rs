//! The operator as a process of its own.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command};

use super::{Outcome, Stage, eventually};

impl Stage {
    /// Starts an operator with times of election that suit a test.
    ///
    /// # Errors
    ///
    /// When the program is not built, or does not start.
    pub fn operator(&self, name: &str, arguments: &[&str]) -> Outcome<Operator> {
        let log = self.plane.state().path().join(format!("{name}.log"));
        let mut command = Command::new(lab::binaries::own("tombolo-operator")?);
        command
            .arg("--k8s-kubeconfig-path")
            .arg(self.plane.kubeconfig());
        command.args([
            "--operator-api-serve-addr=127.0.0.1:0",
            "--operator-prometheus-serve-addr=",
        ]);
        command.args([
            "--leader-election-lease-duration=3s",
            "--leader-election-renew-deadline=2s",
        ]);
        command
            .arg("--leader-election-retry-period=500ms")
            .args(arguments);
        command
            .env_remove("KUBERNETES_SERVICE_HOST")
            .env("POD_NAMESPACE", "kube-system")
            .env("POD_NAME", name);
        let child = command.stderr(File::create(&log)?).spawn()?;
        Ok(Operator { child, log })
    }
}

/// A running operator; ends with the test.
pub struct Operator {
    child: Child,
    log: PathBuf,
}

impl Operator {
    /// What it has logged so far.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn log(&self) -> Outcome<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// Waits for a line of its log.
    ///
    /// # Errors
    ///
    /// When there is none within [`PATIENCE`](super::PATIENCE).
    pub async fn await_line(&self, part: &str) -> Outcome<String> {
        let sentence = format!("the log says {part:?}");
        let line = eventually(&sentence, async || {
            Ok(self
                .log()?
                .lines()
                .find(|line| line.contains(part))
                .map(str::to_owned))
        });
        line.await
            .map_err(|error| format!("{error}:\n{}", self.log().unwrap_or_default()).into())
    }

    /// Status and body of a page it serves.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn page(&self, path: &str) -> Outcome<(u16, String)> {
        let line = self.await_line("listens").await?;
        let address = line
            .rsplit("address=")
            .next()
            .unwrap_or_default()
            .trim_matches('"')
            .to_owned();
        let mut stream = TcpStream::connect(&address)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).unwrap_or_default().parse()?;
        Ok((
            status,
            answer
                .split_once("\r\n\r\n")
                .map(|(_, body)| body.to_owned())
                .unwrap_or_default(),
        ))
    }

    /// As when its machine loses power.
    ///
    /// # Errors
    ///
    /// When it cannot be ended.
    pub fn kill(mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// As Kubernetes ends it.
    ///
    /// # Errors
    ///
    /// When it ends with a failure.
    pub fn terminate(mut self) -> Outcome {
        Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()?;
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("ended with {status}: {}", self.log()?).into())
        }
    }

    /// Resident memory in MB.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub fn resident(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .ok_or("no VmRSS")?;
        Ok(line
            .split_whitespace()
            .next()
            .ok_or("no number")?
            .parse::<u64>()?
            / 1000)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
