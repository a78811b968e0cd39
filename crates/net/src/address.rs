//! `host:port` as people write it in `bootstrap.servers` and on command lines.
//!
//! A name, an IPv4 address, or an IPv6 address in brackets, and always a port: Kafka has no default port (CFG-16). Nothing
//! is resolved here.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Where a broker listens, not yet resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// A host name or an IP address; an IPv6 address stands here without its brackets.
    pub host: String,
    /// The TCP port, never 0.
    pub port: u16,
}

impl Address {
    /// An address from its parts.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |problem: &str| AddressError(format!("'{text}': {problem}"));
        let entry = text.trim();
        if entry.is_empty() {
            return Err(error("an address is missing here; expected host:port, for example localhost:9092"));
        }
        if entry.contains("://") {
            return Err(error("expected host:port without a scheme, for example localhost:9092"));
        }
        let (host, port) = match entry.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest
                    .split_once(']')
                    .ok_or_else(|| error("the bracket is not closed; expected [::1]:9092"))?;
                // A zone (`fe80::1%eth0`) is the resolver's business.
                let bare = host.split_once('%').map_or(host, |(address, _zone)| address);
                if bare.parse::<Ipv6Addr>().is_err() {
                    return Err(error("what stands in brackets is not an IPv6 address; expected [::1]:9092"));
                }
                let port = after.strip_prefix(':').ok_or_else(|| error(NO_PORT_V6))?;
                (host, port)
            }
            // CFG-16: an entry without a port is refused.
            None => match entry.rsplit_once(':') {
                None => {
                    return Err(error("the port is missing; expected host:port, for example localhost:9092"));
                }
                Some((host, _)) if host.contains(':') => {
                    return Err(error("an IPv6 address must stand in brackets; expected [::1]:9092"));
                }
                Some(parts) => parts,
            },
        };
        if host.is_empty() {
            return Err(error("the host is missing before the colon; expected host:port"));
        }
        if host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | ',' | ';' | '@' | '[' | ']')) {
            return Err(error(
                "this is not a host name; expected host:port, several of them separated by commas",
            ));
        }
        if port.is_empty() {
            return Err(error("the port is missing after the colon; expected host:port"));
        }
        // `u16::from_str` takes a leading plus sign; a port has digits only.
        let number = port.parse::<u16>().ok().filter(|&n| n != 0 && port.bytes().all(|b| b.is_ascii_digit()));
        let port = number.ok_or_else(|| error("the port must be a number from 1 to 65535"))?;
        Ok(Self::new(host, port))
    }
}

const NO_PORT_V6: &str = "the port is missing after the bracket; expected [::1]:9092";

/// Why a text is not an address. The text is quoted in the message, which says what is expected instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError(String);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AddressError {}

/// Parses a `bootstrap.servers` list: entries separated by commas, trimmed, duplicates dropped (the first stays).
///
/// # Errors
/// An empty list and an empty entry (`a:1,`) are refused (CFG-1), and so is an entry without a port (CFG-16).
pub fn parse_bootstrap_servers(list: &str) -> Result<Vec<Address>, AddressError> {
    if list.trim().is_empty() {
        return Err(AddressError("no address given; expected host:port, for example localhost:9092".into()));
    }
    let mut addresses = Vec::new();
    for entry in list.split(',') {
        if entry.trim().is_empty() {
            return Err(AddressError(format!("'{list}': an entry between the commas is empty")));
        }
        let address: Address = entry.parse()?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<Address>().expect_err(text).to_string()
    }

    #[test]
    fn names_and_addresses_of_both_families_are_read() {
        assert_eq!("localhost:9092".parse(), Ok(Address::new("localhost", 9092)));
        assert_eq!(" 10.0.0.1:1 ".parse(), Ok(Address::new("10.0.0.1", 1)));
        assert_eq!("[::1]:65535".parse(), Ok(Address::new("::1", 65535)));
        assert_eq!("[fe80::1%eth0]:9092".parse(), Ok(Address::new("fe80::1%eth0", 9092)));
        assert_eq!(Address::new("::1", 9092).to_string(), "[::1]:9092");
        assert_eq!(Address::new("kafka", 9092).to_string(), "kafka:9092");
    }

    #[test]
    fn an_entry_without_a_port_is_refused_and_the_text_says_what_is_expected() {
        // CFG-16
        assert_eq!(
            refused("localhost"),
            "'localhost': the port is missing; expected host:port, for example localhost:9092"
        );
        assert!(refused("localhost:").contains("port is missing"));
        assert!(refused("[::1]").contains("port is missing"));
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_the_reason() {
        assert!(refused("::1:9092").contains("brackets"));
        assert!(refused("[::1:9092").contains("not closed"));
        assert!(refused("[kafka]:9092").contains("not an IPv6 address"));
        assert!(refused("PLAINTEXT://kafka:9092").contains("without a scheme"));
        assert!(refused("kafka:0").contains("1 to 65535"));
        assert!(refused("kafka:65536").contains("1 to 65535"));
        assert!(refused("kafka:+92").contains("1 to 65535"));
        assert!(refused(":9092").contains("host is missing"));
        assert!(refused("my host:9092").contains("not a host name"));
        assert!(refused("").contains("missing"));
    }

    #[test]
    fn lists_are_trimmed_deduplicated_and_may_not_have_gaps() {
        // CFG-1
        let list = parse_bootstrap_servers("a:1, b:2 ,a:1").unwrap();
        assert_eq!(list, [Address::new("a", 1), Address::new("b", 2)]);
        assert!(parse_bootstrap_servers("a:1,").unwrap_err().to_string().contains("empty"));
        assert!(parse_bootstrap_servers("  ").unwrap_err().to_string().contains("no address"));
        assert!(parse_bootstrap_servers("a:1,b").unwrap_err().to_string().starts_with("'b': the port"));
    }
}
