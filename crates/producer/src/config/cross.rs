//! Rules across keys of what is not there yet, security and transactions (CFG-8, CFG-12 to CFG-14): a configuration that Kafka
//! would refuse is refused for Kafka's reason, too, so that it is right when the rest comes.

use super::parse;
use super::resolve::Resolver;

impl Resolver<'_> {
    /// CFG-12
    pub(super) fn check_security(&mut self) {
        let Some(protocol) = self.others.get("security.protocol") else { return };
        let protocol = protocol.value.trim().to_uppercase();
        if let Some(mechanism) = self.others.get("sasl.mechanism").copied()
            && protocol.starts_with("SASL")
            && mechanism.value.trim().is_empty()
        {
            self.refuse(mechanism, format!("may not be empty with security.protocol={protocol}"));
        }
    }

    /// CFG-8, CFG-13, CFG-14
    pub(super) fn check_transactions(&mut self, is_idempotent: bool) {
        let id = self.others.get("transactional.id").copied();
        if let Some(id) = id {
            if id.value.trim().is_empty() {
                let problem = "may not be empty; leave it out for a producer without transactions";
                self.refuse(id, problem.into());
            } else if !is_idempotent {
                let problem = "needs idempotence, which acks other than all, retries=0 or enable.idempotence=false \
                               switch off";
                self.refuse(id, problem.into());
            }
        }
        let timeout = self.others.get("transaction.timeout.ms").copied();
        if let Some(timeout) = timeout
            && let Err(problem) = parse::number(&timeout.value, 1, i32::MAX)
        {
            // CFG-14: Kafka takes 0, and initTransactions then times out
            self.refuse(timeout, problem);
        }
        let Some(two_phase) = self.others.get("transaction.two.phase.commit.enable").copied() else { return };
        match parse::boolean(&two_phase.value) {
            Err(problem) => self.refuse(two_phase, problem),
            Ok(false) => {}
            Ok(true) => {
                if timeout.is_some() {
                    let problem = "and transaction.timeout.ms exclude each other: a prepared transaction does not end by itself";
                    self.refuse(two_phase, problem.into());
                }
                if id.is_none() {
                    self.refuse(two_phase, "needs a transactional.id".into());
                }
            }
        }
    }
}
