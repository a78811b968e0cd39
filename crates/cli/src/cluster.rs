//! Where a command's cluster is: at `-b`, or embedded on a data directory, or at the rohrpost that holds that directory.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rohrpost_broker::{Cluster, StartError};

use crate::args::{self, Where};
use crate::failure::Failure;
use crate::terminal;

/// A cluster to talk to, and the embedded broker if this process runs it.
pub(crate) struct Target {
    /// For a client's `bootstrap.servers`.
    pub(crate) bootstrap_servers: String,
    broker: Broker,
}

/// Who runs the broker.
enum Broker {
    /// This process.
    Embedded(Cluster),
    /// Another rohrpost, on this data directory.
    Holding(PathBuf),
    /// Somebody, at `-b`.
    Elsewhere,
}

impl Target {
    /// Finds or starts the cluster.
    pub(crate) fn open(place: &Where) -> Result<Target, Failure> {
        if let Some(servers) = &place.bootstrap_server {
            return Ok(Target { bootstrap_servers: servers.clone(), broker: Broker::Elsewhere });
        }
        if place.data_dir.is_file() {
            return Err(Failure::start(format!(
                "--data-dir {} is a file: give a directory, or -b for a broker elsewhere",
                place.data_dir.display()
            )));
        }
        let is_new = !place.data_dir.exists();
        match Cluster::builder().data_dir(&place.data_dir).start() {
            Ok(cluster) => {
                if is_new {
                    terminal::note(&format!("made the data directory {}", place.data_dir.display()));
                }
                let bootstrap_servers = cluster.bootstrap_servers();
                Ok(Target { bootstrap_servers, broker: Broker::Embedded(cluster) })
            }
            Err(StartError::DirectoryInUse { address: Some(address), .. }) => {
                terminal::note(&format!(
                    "{} is held by the broker at {address}: using that one",
                    place.data_dir.display()
                ));
                Ok(Target { bootstrap_servers: address, broker: Broker::Holding(place.data_dir.clone()) })
            }
            Err(error) => Err(start_failure(&place.data_dir, &error)),
        }
    }

    /// Returns when everything acknowledged is on disk; at a cluster elsewhere there is nothing to wait for.
    pub(crate) fn sync(&self) -> Result<(), Failure> {
        match &self.broker {
            Broker::Embedded(cluster) => {
                cluster.sync().map_err(|error| Failure::run(format!("cannot sync to disk: {error}")))
            }
            Broker::Holding(data_dir) => sync_logs(data_dir).map_err(|error| {
                Failure::run(format!("cannot sync {} to disk: {error}", data_dir.display()))
            }),
            Broker::Elsewhere => Ok(()),
        }
    }

    /// Stops the embedded broker cleanly.
    pub(crate) fn close(self) -> Result<(), Failure> {
        match self.broker {
            Broker::Embedded(cluster) => cluster
                .stop()
                .map_err(|error| Failure::run(format!("the broker did not stop cleanly: {error}"))),
            Broker::Holding(_) | Broker::Elsewhere => Ok(()),
        }
    }
}

/// Syncs every log file of a data directory that another process writes: a sync is of the file, whoever wrote it.
fn sync_logs(data_dir: &Path) -> io::Result<()> {
    for entry in data_dir.read_dir()? {
        let partition = entry?.path();
        if !partition.is_dir() {
            continue;
        }
        for entry in partition.read_dir()? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "log") {
                match File::open(&file) {
                    // retention or a deleted topic took it meanwhile
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    opened => opened?.sync_all()?,
                }
            }
        }
        #[cfg(unix)]
        File::open(&partition)?.sync_all()?;
    }
    Ok(())
}

/// A failed start of a broker on a directory, in words.
pub(crate) fn start_failure(data_dir: &Path, error: &StartError) -> Failure {
    Failure::start(format!("cannot start the broker on {}: {error}", data_dir.display()))
}

/// `KEY=VALUE` settings, split.
pub(crate) fn settings(settings: &[String]) -> Result<Vec<(&str, &str)>, Failure> {
    settings.iter().map(|setting| args::key_value(setting).map_err(Failure::start)).collect()
}
