//! `rohrpost verify` as a process of its own: it writes while nodes fail, and checks when they have healed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rohrpost;

/// Until what is outstanding has its outcome: at most delivery.timeout.ms, which is 120 s.
const END_WITHIN: Duration = Duration::from_secs(200);

/// A run that writes. Killed when dropped.
pub struct Writer {
    child: Child,
    /// Each record's outcome.
    pub outcomes: PathBuf,
    /// What it says.
    said: PathBuf,
}

impl Writer {
    /// Starts to write to `topic`, `rate` records a second, until it is stopped. Files go to `folder`.
    pub fn start(bootstrap: &str, topic: &str, rate: u64, settings: &[&str], folder: &Path) -> Writer {
        let outcomes = folder.join(format!("{topic}.outcomes"));
        let said = folder.join(format!("{topic}.log"));
        // that of an earlier run would look as if this one had begun
        let _ = std::fs::remove_file(&outcomes);
        let mut command = rohrpost();
        command.args([
            "verify",
            "-b",
            bootstrap,
            "-t",
            topic,
            "--seconds",
            "86400",
            "--rate",
            &rate.to_string(),
        ]);
        command.args(["--no-check", "--quiet", "--json", "--outcomes"]).arg(&outcomes);
        for setting in settings {
            command.args(["-X", setting]);
        }
        let log = File::create(&said).expect("a file in the folder of results");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        Writer { child: child.expect("the rohrpost command starts"), outcomes, said }
    }

    /// True if a record was acknowledged.
    pub fn has_begun(&mut self) -> bool {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("rohrpost verify ended with {status}: {}", self.said());
        }
        std::fs::read_to_string(&self.outcomes).is_ok_and(|text| text.contains(" acked "))
    }

    /// Waits until outcomes come at the pace of sending: what had piled up in an outage is through. At most `END_WITHIN`.
    pub fn await_pace(&self, rate: u64) {
        let len = || std::fs::metadata(&self.outcomes).map_or(0, |file| file.len());
        let start = Instant::now();
        let (mut before, mut even) = (len(), 0);
        while even < 3 && start.elapsed() < END_WITHIN {
            std::thread::sleep(Duration::from_secs(1));
            let now = len();
            // a line has 25 to 40 bytes; what has piled up comes several times as fast
            even = if (1..rate * 50).contains(&(now - before)) { even + 1 } else { 0 };
            before = now;
        }
    }

    /// Ends sending, and waits until every record has its outcome. The error is what it said.
    pub fn stop(mut self) -> Result<PathBuf, String> {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-s", "INT", &pid]).status();
        let start = Instant::now();
        while start.elapsed() < END_WITHIN {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(self.outcomes.clone()),
                Ok(Some(status)) => {
                    return Err(format!("rohrpost verify ended with {status}: {}", self.said()));
                }
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        Err(format!("rohrpost verify did not end within {END_WITHIN:?}: {}", self.said()))
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the topic, and holds the outcomes against it. The error is what it said.
pub fn check(bootstrap: &str, outcomes: &Path, deleted_at: &[u64]) -> Result<Value, String> {
    let mut command = rohrpost();
    command.args(["verify", "-b", bootstrap, "--json", "--check"]).arg(outcomes);
    for at in deleted_at {
        command.args(["--deleted-at", &at.to_string()]);
    }
    let output = command.output().map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// By partition: when a record was acknowledged, in milliseconds since 1970, in order.
pub fn acknowledged_at(outcomes: &Path, partitions: usize) -> Vec<Vec<u64>> {
    let mut times = vec![Vec::new(); partitions];
    let text = std::fs::read_to_string(outcomes).unwrap_or_default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut fields = line.split(' ');
        let id = fields.next().and_then(|id| id.split('-').next()).and_then(|id| id.parse::<usize>().ok());
        let is_acked = fields.next() == Some("acked");
        let time = fields.nth(2).and_then(|time| time.parse().ok());
        if let (true, Some(id), Some(time)) = (is_acked, id, time)
            && let Some(times) = times.get_mut(id)
        {
            times.push(time);
        }
    }
    times
}
