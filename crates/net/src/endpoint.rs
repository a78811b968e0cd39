//! The addresses behind a broker's name, and which of them is tried next (CON-2, `client.dns.lookup=use_all_dns_ips`).

use std::net::SocketAddr;

/// The addresses of the last resolution that are still to be tried.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    list: Vec<SocketAddr>,
    next: usize,
    last_tried: Option<SocketAddr>,
}

impl Addresses {
    /// The next address to try, or none if the name must be resolved (again).
    pub(crate) fn take_next(&mut self) -> Option<SocketAddr> {
        let address = *self.list.get(self.next)?;
        self.next += 1;
        self.last_tried = Some(address);
        Some(address)
    }

    /// Takes the result of a resolution. CON-2: only addresses of the first one's family are kept, and if there are
    /// several, the one tried last is not the first again.
    ///
    /// The first one's family is IPv4 if the name has any IPv4 address: that is the order in which Java's resolver gives
    /// them, whatever the system prefers. Otherwise `localhost` could mean `::1` only, where no broker listens.
    pub(crate) fn resolved(&mut self, found: &[SocketAddr]) {
        let v4 = found.iter().any(SocketAddr::is_ipv4);
        self.list.clear();
        for address in found.iter().filter(|a| a.is_ipv4() == v4) {
            if !self.list.contains(address) {
                self.list.push(*address);
            }
        }
        let begins_with_last = self.list.len() > 1 && self.list.first() == self.last_tried.as_ref();
        self.next = usize::from(begins_with_last);
    }

    /// After the loss of an established connection the name is resolved anew (CON-2): it may point elsewhere now.
    pub(crate) fn forget(&mut self) {
        self.list.clear();
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 9092))
    }

    fn v6(last: u16) -> SocketAddr {
        SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, last], 9092))
    }

    #[test]
    fn addresses_are_tried_one_after_the_other_and_then_resolved_anew() {
        // CON-2
        let mut addresses = Addresses::default();
        assert_eq!(addresses.take_next(), None);
        addresses.resolved(&[v4(1), v4(2), v4(2)]);
        assert_eq!(
            [addresses.take_next(), addresses.take_next(), addresses.take_next()],
            [Some(v4(1)), Some(v4(2)), None]
        );
    }

    #[test]
    fn only_one_family_is_tried() {
        // CON-2
        let mut addresses = Addresses::default();
        addresses.resolved(&[v6(1), v4(1), v6(2), v4(2)]);
        assert_eq!(
            [addresses.take_next(), addresses.take_next(), addresses.take_next()],
            [Some(v4(1)), Some(v4(2)), None]
        );
        addresses.resolved(&[v6(1), v6(2)]);
        assert_eq!(
            [addresses.take_next(), addresses.take_next(), addresses.take_next()],
            [Some(v6(1)), Some(v6(2)), None]
        );
    }

    #[test]
    fn a_new_resolution_does_not_begin_with_the_address_tried_last() {
        // CON-2
        let mut addresses = Addresses::default();
        addresses.resolved(&[v4(1), v4(2)]);
        assert_eq!(addresses.take_next(), Some(v4(1)));
        addresses.forget();
        assert_eq!(addresses.take_next(), None);
        addresses.resolved(&[v4(1), v4(2)]);
        assert_eq!(addresses.take_next(), Some(v4(2)));
        // Alone it is tried again all the same.
        addresses.resolved(&[v4(2)]);
        assert_eq!(addresses.take_next(), Some(v4(2)));
    }
}
