//! The broker's listeners: which addresses are bound, and which ones clients are told.
//!
//! Every listener is bound before anything else is opened, so that ports are known and a wrong address costs nothing (N14). A
//! request is answered with the end points of the listener that it came in on (M8).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{BrokerConfig, Listener};
use crate::error::StartError;
use crate::metadata::EndPoint;
use crate::network::{ConnectionLimits, ListenerLimits, SocketConfig, bind};

/// A listener that is bound and not yet served.
pub(crate) struct Bound {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Queues connections until its network threads run.
    pub(crate) socket: TcpListener,
    /// The address really bound.
    pub(crate) address: SocketAddr,
    /// What clients are told.
    pub(crate) advertised: EndPoint,
}

impl From<&BrokerConfig> for SocketConfig {
    fn from(config: &BrokerConfig) -> Self {
        Self {
            send_buffer_bytes: config.socket_send_buffer_bytes,
            receive_buffer_bytes: config.socket_receive_buffer_bytes,
            frame_bytes_max: config.socket_request_max_bytes,
            backlog: config.socket_listen_backlog_size,
            idle_max: config.connections_max_idle_ms.map(Duration::from_millis),
        }
    }
}

/// Binds all listeners of the configuration, in its order.
pub(crate) fn bind_all(config: &BrokerConfig, sockets: &SocketConfig) -> Result<Vec<Bound>, StartError> {
    if config.listeners.is_empty() {
        return Err(StartError::Config("listeners names no listener for clients".to_owned()));
    }
    let bind_one = |listener: &Listener| {
        let (socket, address) = listen(listener, sockets)?;
        let advertised = advertised(config, listener, address);
        Ok(Bound { name: listener.name.as_str().into(), socket, address, advertised })
    };
    config.listeners.iter().map(bind_one).collect()
}

/// The limits on connections, with the names in them resolved (N10).
pub(crate) fn connection_limits(config: &BrokerConfig) -> Result<ConnectionLimits, StartError> {
    let mut per_ip_overrides = HashMap::new();
    for (host, max) in &config.max_connections_per_ip_overrides {
        let addresses = (host.as_str(), 0).to_socket_addrs().map_err(|error| {
            StartError::Config(format!(
                "max.connections.per.ip.overrides: {host} cannot be resolved: {error}"
            ))
        })?;
        per_ip_overrides.extend(addresses.map(|address| (address.ip().to_canonical(), *max)));
    }
    let several = config.listeners.len() > 1;
    let of_listener = |listener: &Listener| {
        let own = config.listener_limits.get(&listener.name).copied().unwrap_or_default();
        ListenerLimits {
            connections_max: own.max_connections.unwrap_or(usize::MAX),
            rate_max: own.max_connection_creation_rate.unwrap_or(u32::MAX),
            protected: several && config.inter_broker_listener.as_ref() == Some(&listener.name),
        }
    };
    Ok(ConnectionLimits {
        broker_max: config.max_connections,
        per_ip_max: config.max_connections_per_ip,
        per_ip_overrides,
        rate_max: config.max_connection_creation_rate,
        listeners: config.listeners.iter().map(of_listener).collect(),
    })
}

/// An IPv6 address in brackets, anything else as it is: what may stand before `:port`.
pub(crate) fn host_for_url(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Binds the first address that the listener's host has and that can be bound.
fn listen(listener: &Listener, sockets: &SocketConfig) -> Result<(TcpListener, SocketAddr), StartError> {
    let refuse = |source| StartError::Bind { address: listener.to_string(), source };
    let host = if listener.host.is_empty() { "0.0.0.0" } else { &listener.host };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, listener.port).to_socket_addrs().map_err(refuse)? {
        match bind(address, sockets) {
            Ok(socket) => {
                let address = socket.local_addr().map_err(refuse)?;
                return Ok((socket, address));
            }
            Err(error) => last = error,
        }
    }
    Err(refuse(last))
}

/// What clients are told: `advertised.listeners`, else the listener with the port really bound (N14).
fn advertised(config: &BrokerConfig, listener: &Listener, bound: SocketAddr) -> EndPoint {
    let told = config.advertised_listeners.iter().find(|advertised| advertised.name == listener.name);
    let (host, port) = match told {
        Some(advertised) => (advertised.host.clone(), advertised.port),
        None => (listener.host.clone(), bound.port()),
    };
    let unspecified = host.is_empty() || host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
    EndPoint {
        name: listener.name.clone(),
        host: if unspecified { host_name() } else { host },
        port: if port == 0 { bound.port() } else { port },
        security_protocol: 0,
    }
}

/// The machine's own name, for a listener on all interfaces.
fn host_name() -> String {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let from_file = files.iter().find_map(|path| std::fs::read_to_string(path).ok());
    let from_env = || ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|name| std::env::var(name).ok());
    let name = from_file.or_else(from_env).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        tracing::warn!("the machine has no name; set advertised.listeners for clients on other machines");
        "localhost".to_owned()
    } else {
        name.to_owned()
    }
}
