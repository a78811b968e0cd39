//! Where an example's cluster is: at `-b HOST:PORT`, or in this process.

#![allow(dead_code, reason = "each example uses its part")]

use rohrpost_broker::Cluster;

/// Addresses for [`rohrpost::Producer::builder`]. The cluster, if there is one, lives as long as this.
pub(crate) struct Servers {
    pub(crate) addresses: String,
    cluster: Option<Cluster>,
}

impl Servers {
    /// Reads `-b` from the command line; without it, starts a broker in memory.
    pub(crate) fn from_arguments() -> Result<Servers, Box<dyn std::error::Error>> {
        match Servers::with_words("")? {
            (servers, words) if words.is_empty() => Ok(servers),
            _ => Err(usage("").into()),
        }
    }

    /// The same with further words, as many as `names` has, or none.
    pub(crate) fn with_words(names: &str) -> Result<(Servers, Vec<String>), Box<dyn std::error::Error>> {
        let mut words: Vec<String> = std::env::args().skip(1).collect();
        let addresses = match words.first().map(String::as_str) {
            Some("-b") if words.len() > 1 => words.drain(..2).next_back(),
            _ => None,
        };
        let wanted = names.split_whitespace().count();
        if !(words.is_empty() || words.len() == wanted) || words.iter().any(|word| word.starts_with('-')) {
            return Err(usage(names).into());
        }
        let servers = match addresses {
            Some(addresses) => Servers { addresses, cluster: None },
            None => {
                let cluster = Cluster::builder().topic("orders", 3, 1).start()?;
                Servers { addresses: cluster.bootstrap_servers(), cluster: Some(cluster) }
            }
        };
        Ok((servers, words))
    }

    /// Where the records went, for the last line.
    pub(crate) fn name(&self) -> &str {
        if self.cluster.is_some() { "the embedded broker" } else { &self.addresses }
    }
}

fn usage(names: &str) -> String {
    let words = if names.is_empty() { String::new() } else { format!(" [{names}]") };
    format!("usage: [-b HOST:PORT]{words}   without -b: a broker in this process")
}
