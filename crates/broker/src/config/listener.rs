//! Listeners: `NAME://host:port`, which protocol a name stands for, and what may be said of one listener alone.

use std::fmt;

use super::read::Reader;
use super::value::list;

/// `NAME://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The listener's name. Its protocol is PLAINTEXT: others are refused for now.
    pub name: String,
    /// Host name or address, IPv6 without brackets. Empty: all interfaces to bind, or the host's own name to advertise.
    pub host: String,
    /// The port; 0 = any free one.
    pub port: u16,
}

/// Limits of one listener, beside those of the broker. `None`: no limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListenerLimits {
    /// `listener.name.NAME.max.connections`.
    pub max_connections: Option<usize>,
    /// `listener.name.NAME.max.connection.creation.rate`: per second.
    pub max_connection_creation_rate: Option<u32>,
}

/// What the listener keys say together.
pub(super) struct Listeners {
    pub(super) bound: Vec<Listener>,
    pub(super) advertised: Vec<Listener>,
    /// Those of `controller.listener.names` that `listeners` has; they are not opened.
    pub(super) of_controller: Vec<Listener>,
    pub(super) inter_broker: Option<String>,
}

const LISTENERS: &str = "listeners";
const ADVERTISED: &str = "advertised.listeners";
const MAP: &str = "listener.security.protocol.map";
const INTER_BROKER: &str = "inter.broker.listener.name";

impl Listeners {
    pub(super) fn read(reader: &mut Reader) -> Listeners {
        let controller = reader.text("controller.listener.names").unwrap_or_default();
        let of_controller =
            |listener: &Listener| list(&controller).any(|name| name.eq_ignore_ascii_case(&listener.name));
        let all = parse_all(reader, LISTENERS).unwrap_or_else(|| {
            vec![Listener { name: "PLAINTEXT".to_owned(), host: String::new(), port: 9092 }]
        });
        let advertised: Vec<Listener> = parse_all(reader, ADVERTISED).unwrap_or_default();
        let (of_controllers, bound): (Vec<_>, Vec<_>) = all.into_iter().partition(of_controller);
        let advertised: Vec<Listener> =
            advertised.into_iter().filter(|listener| !of_controller(listener)).collect();
        check_protocols(reader, &bound);
        check_ports(reader, &bound);
        // if the list itself cannot be read, that is told already
        if bound.is_empty() && !reader.has_problem(LISTENERS) {
            reader.problem(LISTENERS, "must name at least one listener that is not the controller's");
        }
        for listener in &advertised {
            if !bound.iter().any(|b| b.name == listener.name) && !reader.has_problem(LISTENERS) {
                reader.problem(ADVERTISED, format!("{} is not one of listeners", listener.name));
            }
            if matches!(listener.host.as_str(), "0.0.0.0" | "::") {
                reader.problem(ADVERTISED, format!("{listener} is no address that a client can reach"));
            }
        }
        let inter_broker = inter_broker(reader, &bound);
        Listeners { bound, advertised, of_controller: of_controllers, inter_broker }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.name, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.name, self.host, self.port)
        }
    }
}

/// `None` if the key is not set.
fn parse_all(reader: &mut Reader, key: &str) -> Option<Vec<Listener>> {
    let text = reader.text(key)?;
    let mut listeners: Vec<Listener> = Vec::new();
    for part in list(&text) {
        match parse(part) {
            Some(listener) if listeners.iter().any(|other| other.name == listener.name) => {
                reader.problem(key, format!("names {} twice", listener.name));
            }
            Some(listener) => listeners.push(listener),
            None => reader.problem(key, format!("{part:?} is not of the form NAME://host:port")),
        }
    }
    Some(listeners)
}

fn parse(text: &str) -> Option<Listener> {
    let (name, address) = text.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
    };
    let port = port.parse().ok()?;
    is_name(name).then(|| Listener { name: name.to_ascii_uppercase(), host: host.to_owned(), port })
}

/// A listener whose protocol is not PLAINTEXT is refused: who asks for encryption or a login must not get a broker without.
fn check_protocols(reader: &mut Reader, listeners: &[Listener]) {
    let map = reader.text(MAP);
    for listener in listeners {
        let mapped = map.as_deref().and_then(|map| {
            list(map).find_map(|entry| {
                let (name, protocol) = entry.split_once(':')?;
                name.trim().eq_ignore_ascii_case(&listener.name).then(|| protocol.trim().to_ascii_uppercase())
            })
        });
        match mapped.or(map.is_none().then(|| listener.name.clone())).as_deref() {
            Some("PLAINTEXT") => {}
            Some(protocol @ ("SSL" | "SASL_PLAINTEXT" | "SASL_SSL")) => reader.problem(
                LISTENERS,
                format!(
                    "{listener} asks for {protocol}, which is not implemented; only PLAINTEXT is. Remove this listener, or map it to \
                     PLAINTEXT in listener.security.protocol.map if nothing needs protection"
                ),
            ),
            Some(other) if map.is_some() => reader.problem(
                MAP,
                format!("{}:{other}: no such protocol; must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL", listener.name),
            ),
            _ => reader.problem(
                if map.is_some() { MAP } else { LISTENERS },
                format!("{} has no protocol; add {0}:PLAINTEXT to {MAP}", listener.name),
            ),
        }
    }
}

fn check_ports(reader: &mut Reader, listeners: &[Listener]) {
    for (n, listener) in listeners.iter().enumerate() {
        let same = |other: &&Listener| other.port == listener.port && other.host == listener.host;
        if listener.port != 0 && listeners[..n].iter().any(|other| same(&other)) {
            reader.problem(LISTENERS, format!("{listener}: each listener must have an address of its own"));
        }
    }
}

fn inter_broker(reader: &mut Reader, bound: &[Listener]) -> Option<String> {
    let Some(name) = reader.text(INTER_BROKER) else {
        return bound
            .iter()
            .find(|listener| listener.name == "PLAINTEXT")
            .map(|listener| listener.name.clone());
    };
    if reader.text("security.inter.broker.protocol").is_some() {
        reader.problem(INTER_BROKER, "must not be set together with security.inter.broker.protocol");
    }
    let found = bound.iter().find(|listener| listener.name.eq_ignore_ascii_case(&name));
    if found.is_none() && !reader.has_problem(LISTENERS) {
        reader.problem(INTER_BROKER, "must be the name of one of listeners, and not the controller's");
    }
    found.map(|listener| listener.name.clone())
}
