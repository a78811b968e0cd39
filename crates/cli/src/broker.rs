//! `rohrpost broker`: the embedded broker's code as a server, until Ctrl-C.

use std::sync::mpsc::sync_channel;

use rohrpost_broker::{Cluster, StartError};

use crate::args::Broker;
use crate::cluster::{settings, start_failure};
use crate::failure::Failure;
use crate::{interrupt, terminal};

pub(crate) fn run(options: &Broker) -> Result<(), Failure> {
    let (signal, stopped) = sync_channel(1);
    interrupt::catch(move |count| {
        if count > 1 {
            // the data directory recovers at the next start, as after a crash
            std::process::exit(1);
        }
        let _ = signal.try_send(());
    })?;
    let mut builder = Cluster::builder().data_dir(&options.data_dir).listen(&options.listen);
    for (key, value) in settings(&options.settings)? {
        builder = builder.config(key, value);
    }
    let cluster = builder.start().map_err(|error| match error {
        StartError::DirectoryInUse { address: Some(address), .. } => Failure::start(format!(
            "{} is held by the broker at {address}: stop that one, or use another --data-dir",
            options.data_dir.display()
        )),
        error => start_failure(&options.data_dir, &error),
    })?;
    terminal::note(&format!(
        "listening on {}, data in {}; Ctrl-C stops",
        cluster.bootstrap_servers(),
        options.data_dir.display()
    ));
    // an error means that the sender is gone, which it never is
    let _ = stopped.recv();
    terminal::note("stopping");
    cluster.stop().map_err(|error| Failure::run(format!("did not stop cleanly: {error}")))
}
