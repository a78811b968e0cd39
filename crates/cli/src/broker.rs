//! `rohrpost broker`: the embedded broker's code as a server, until Ctrl-C. Configured by a `server.properties` and by flags;
//! everything that neither says is Kafka's default.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use rohrpost_broker::config::{BrokerConfig, ConfigError, Origin, Setting};
use rohrpost_broker::{BrokerServer, ListenerAddress, StartError};

use crate::args::{self, Broker};
use crate::cluster::start_failure;
use crate::failure::Failure;
use crate::{interrupt, terminal};

/// Where topics go when nobody says.
const DATA_DIR: &str = "rohrpost-data";
/// Where the broker listens when nobody says and there is no file: nothing outside this machine gets in unasked.
const LISTEN: &str = "127.0.0.1:9092";
/// How long it takes at most until a broker without a working data directory ends (D30).
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

pub(crate) fn run(options: &Broker) -> Result<(), Failure> {
    let (signal, stopped) = sync_channel(1);
    interrupt::catch(move |count| {
        if count > 1 {
            // the data directory recovers at the next start, as after a crash
            std::process::exit(1);
        }
        let _ = signal.try_send(());
    })?;
    let mut config = configuration(options)?;
    let data_dir = config.log_dirs[0].clone(); // configuration() makes sure of it
    let data_dirs: Vec<String> = config.log_dirs.iter().map(|dir| dir.display().to_string()).collect();
    // who has set max.connections has thought about it
    if let Some(limit) = raise_file_limit()
        && config.max_connections == i32::MAX as usize
    {
        config.max_connections = connections_for(limit);
    }
    let server = BrokerServer::start(config).map_err(|error| match error {
        StartError::DirectoryInUse { address: Some(address), .. } => Failure::start(format!(
            "{} is held by the broker at {address}: stop that one, or use another --data-dir",
            data_dir.display()
        )),
        error => start_failure(&data_dir, &error),
    })?;
    terminal::note(&format!(
        "listening on {}, data in {}; Ctrl-C stops",
        listening_on(&server),
        data_dirs.join(", ")
    ));
    // an error other than a time-out means that the sender is gone, which it never is
    while stopped.recv_timeout(BETWEEN_LOOKS) == Err(RecvTimeoutError::Timeout) {
        if let Some(reason) = server.fatal_storage_failure() {
            // what could not be closed is recovered at the next start
            let _ = server.stop();
            return Err(Failure::run(format!(
                "stopped, since nothing can be stored any more: {reason}; once the disk is in order, start again: the logs are recovered"
            )));
        }
    }
    terminal::note("stopping");
    server.stop().map_err(|error| Failure::run(format!("did not stop cleanly: {error}")))
}

/// The file, then what flags say; a later setting of the same key wins.
fn configuration(options: &Broker) -> Result<BrokerConfig, Failure> {
    let mut settings = match &options.config {
        Some(path) => read(path)?,
        None => vec![Setting::new("listeners", format!("PLAINTEXT://{LISTEN}"), Origin::Program)],
    };
    if let Some(address) = &options.listen {
        if !address.contains(':') {
            return Err(Failure::start(format!(
                "--listen {address}: the port is missing; expected HOST:PORT, for example {LISTEN}"
            )));
        }
        settings.push(Setting::new("listeners", format!("PLAINTEXT://{address}"), Origin::Flag("--listen")));
    }
    for setting in &options.settings {
        let (key, value) = args::key_value(setting).map_err(Failure::start)?;
        settings.push(Setting::new(key, value, Origin::Flag("-X")));
    }
    let mut config = BrokerConfig::from_settings(settings).map_err(|error| mistakes(&error))?;
    // In a file a key may be meant for another program, or for a later version. Who types it means this one.
    let slips: Vec<String> = config
        .ignored
        .iter()
        .filter(|ignored| ignored.origin == Origin::Flag("-X") && ignored.reason.contains("did you mean"))
        .map(|ignored| format!("-X {}: {}", ignored.key, ignored.reason.trim_start_matches("is ignored: ")))
        .collect();
    if !slips.is_empty() {
        return Err(Failure::start(slips.join("\n")));
    }
    if let Some(path) = &options.data_dir {
        config.log_dirs = vec![path.clone()];
    } else if config.log_dirs.is_empty() {
        // not Kafka's default below /tmp: what is produced here is meant to be found again
        let path = std::env::var_os("ROHRPOST_DATA_DIR").filter(|path| !path.is_empty());
        config.log_dirs = vec![path.map_or_else(|| DATA_DIR.into(), PathBuf::from)];
    }
    Ok(config)
}

fn read(path: &Path) -> Result<Vec<Setting>, Failure> {
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::start(format!("cannot read {}: {error}", path.display())))?;
    // Java reads these files as Latin-1; who writes anything else than ASCII today means UTF-8
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect());
    Setting::parse(&text, &path.display().to_string()).map_err(|error| mistakes(&error))
}

fn mistakes(error: &ConfigError) -> Failure {
    match error.problems.len() {
        1 => Failure::start(error),
        _ => Failure::start(format!("the broker's configuration has {error}")),
    }
}

/// Addresses that are bound, with the listeners' names if there are several, and what clients are told if that is another one.
fn listening_on(server: &BrokerServer) -> String {
    let several = server.listeners().count() > 1;
    let one = |listener: ListenerAddress<'_>| {
        let ListenerAddress { name, bound, advertised } = listener;
        let told = (bound.to_string() != advertised).then(|| format!("clients are told {advertised}"));
        let notes: Vec<String> = several.then(|| name.to_owned()).into_iter().chain(told).collect();
        if notes.is_empty() { bound.to_string() } else { format!("{bound} ({})", notes.join("; ")) }
    };
    server.listeners().map(one).collect::<Vec<_>>().join(", ")
}

/// How many connections fit a limit on descriptors. A quarter is left for the logs' files: a log that cannot begin a segment takes
/// its directory offline, and nobody is to bring that about by opening connections.
fn connections_for(limit: usize) -> usize {
    limit - limit / 4
}

/// As many descriptors as the system lets this process have, as Java's machine does: the soft limit is for programs that use
/// `select`, which the broker does not. The limit that is in force then.
#[cfg(unix)]
fn raise_file_limit() -> Option<usize> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if soft < hard {
        // without it there are fewer connections
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    usize::try_from(soft).ok()
}

#[cfg(not(unix))]
fn raise_file_limit() -> Option<usize> {
    None
}
