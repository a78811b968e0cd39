//! The broker's process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use super::{Dice, PATIENCE};
use crate::common::{rohrpost, send_signal};

const SAID: &str = "broker.txt";

/// Killed when dropped.
pub struct BrokerProcess {
    child: Option<Child>,
    port: u16,
    said: PathBuf,
}

impl BrokerProcess {
    /// Starts it; returns at once.
    pub fn spawn(folder: &Path, port: u16) -> BrokerProcess {
        let listen = format!("127.0.0.1:{port}");
        let said = folder.join(SAID);
        let settings = [
            // everything that is done from time to time is done all the time
            "log.initial.task.delay.ms=0",
            "log.retention.check.interval.ms=20",
            "log.flush.offset.checkpoint.interval.ms=30",
            "log.flush.start.offset.checkpoint.interval.ms=30",
            "replica.high.watermark.checkpoint.interval.ms=30",
            "log.segment.delete.delay.ms=50",
            "log.index.interval.bytes=512",
            // looked through after each kill: no more than these segments need
            "log.index.size.max.bytes=65536",
            "metadata.log.max.record.bytes.between.snapshots=3000",
        ];
        let mut arguments = vec!["broker", "--listen", &listen];
        settings.iter().for_each(|setting| arguments.extend(["-X", setting]));
        let mut command = rohrpost(folder, &arguments);
        command.env("RUST_LOG", "warn").stderr(File::create(&said).unwrap());
        BrokerProcess { child: Some(command.spawn().unwrap()), port, said }
    }

    /// Returns when it has answered a request.
    pub fn wait_until_it_answers(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !answers(self.port) {
            assert!(Instant::now() < deadline, "the broker does not answer; it said:\n{}", self.said());
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "the broker ended with {ended:?}; it said:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(mut self) {
        let mut child = self.child.take().expect("it runs");
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "the broker ended by itself with {ended:?}; it said:\n{}", self.said());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; returns when it has stopped cleanly.
    pub fn stop(mut self) {
        let mut child = self.child.take().expect("it runs");
        send_signal(&child, "TERM");
        assert!(child.wait().unwrap().success(), "no clean stop:\n{}", self.said());
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Asks for the API versions, and reads the size of the answer.
fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut size = [0; 4];
    let request = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    stream.write_all(&request).is_ok() && stream.read_exact(&mut size).is_ok()
}

/// A port on which nobody listens, below those that the system gives to connections: those would now and then take it while
/// the broker is away.
pub fn free_port(dice: &mut Dice) -> u16 {
    // two test processes may draw from the same seed
    let own = u64::from(std::process::id());
    loop {
        let port = 10_000 + ((dice.below(1 << 20) + own * 7919) % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
