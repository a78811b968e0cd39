//! Where a command's cluster is: at `-b`, or embedded on a data directory, or at the rohrpost that holds that directory.

use std::path::Path;

use rohrpost_broker::{Cluster, StartError};

use crate::args::{self, Where};
use crate::failure::Failure;
use crate::terminal;

/// A cluster to talk to, and the embedded broker if this process runs it.
pub(crate) struct Target {
    /// For a client's `bootstrap.servers`.
    pub(crate) bootstrap_servers: String,
    embedded: Option<Cluster>,
}

impl Target {
    /// Finds or starts the cluster.
    pub(crate) fn open(place: &Where) -> Result<Target, Failure> {
        if let Some(servers) = &place.bootstrap_server {
            return Ok(Target { bootstrap_servers: servers.clone(), embedded: None });
        }
        match Cluster::builder().data_dir(&place.data_dir).start() {
            Ok(cluster) => {
                Ok(Target { bootstrap_servers: cluster.bootstrap_servers(), embedded: Some(cluster) })
            }
            Err(StartError::DirectoryInUse { address: Some(address), .. }) => {
                terminal::note(&format!(
                    "{} is held by the broker at {address}: using that one",
                    place.data_dir.display()
                ));
                Ok(Target { bootstrap_servers: address, embedded: None })
            }
            Err(error) => Err(start_failure(&place.data_dir, &error)),
        }
    }

    /// Returns when everything acknowledged is on disk; at a cluster elsewhere there is nothing to wait for.
    pub(crate) fn sync(&self) -> Result<(), Failure> {
        match &self.embedded {
            Some(cluster) => {
                cluster.sync().map_err(|error| Failure::run(format!("cannot sync to disk: {error}")))
            }
            None => Ok(()),
        }
    }

    /// Stops the embedded broker cleanly.
    pub(crate) fn close(self) -> Result<(), Failure> {
        match self.embedded {
            Some(cluster) => cluster
                .stop()
                .map_err(|error| Failure::run(format!("the broker did not stop cleanly: {error}"))),
            None => Ok(()),
        }
    }
}

/// A failed start of a broker on a directory, in words.
pub(crate) fn start_failure(data_dir: &Path, error: &StartError) -> Failure {
    Failure::start(format!("cannot start the broker on {}: {error}", data_dir.display()))
}

/// `KEY=VALUE` settings, split.
pub(crate) fn settings(settings: &[String]) -> Result<Vec<(&str, &str)>, Failure> {
    settings.iter().map(|setting| args::key_value(setting).map_err(Failure::start)).collect()
}
