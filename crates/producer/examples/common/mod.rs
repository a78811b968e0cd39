//! Where an example's cluster is: at `-b HOST:PORT`, or in this process.

use rohrpost_broker::Cluster;

/// Addresses for [`rohrpost::Producer::builder`]. The cluster, if there is one, lives as long as this.
pub(crate) struct Servers {
    pub(crate) addresses: String,
    cluster: Option<Cluster>,
}

impl Servers {
    /// Reads `-b` from the command line; without it, starts a broker in memory.
    pub(crate) fn from_arguments() -> Result<Servers, Box<dyn std::error::Error>> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => {
                let cluster = Cluster::builder().topic("orders", 3, 1).start()?;
                Ok(Servers { addresses: cluster.bootstrap_servers(), cluster: Some(cluster) })
            }
            ["-b", addresses] => Ok(Servers { addresses: addresses.to_owned(), cluster: None }),
            _ => Err("usage: [-b HOST:PORT]   without -b: a broker in this process".into()),
        }
    }

    /// Where the records went, for the last line.
    pub(crate) fn name(&self) -> &str {
        if self.cluster.is_some() { "the embedded broker" } else { &self.addresses }
    }
}
