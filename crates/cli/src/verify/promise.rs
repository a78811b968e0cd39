//! What a producer's settings promise, and what they do not.
//!
//! | settings | not lost | not duplicated | in order | where it was said | not falsely failed |
//! |---|---|---|---|---|---|
//! | acks=all, idempotence (the defaults) | yes | yes | yes | yes | yes |
//! | acks=all, no idempotence | yes | without retries | no | yes | yes |
//! | acks=1 | no | without retries | no | no | yes |
//! | acks=0 | no | no | no | no | yes |
//!
//! A leader that has acknowledged alone may die with its records, and others then get their offsets: acks=1 promises neither. Without
//! idempotence a batch that was sent twice may be there twice, behind later ones.

use rohrpost::{Acks, Config};

/// What may not happen to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Promise {
    /// An acknowledged record is in the log.
    pub(super) kept: bool,
    /// No record is there twice.
    pub(super) once: bool,
    /// Records of a partition are in send order.
    pub(super) ordered: bool,
    /// A record is at the offset of its acknowledgement.
    pub(super) placed: bool,
}

const NAMES: [&str; 4] = ["kept", "once", "ordered", "placed"];

impl Promise {
    /// Kafka's defaults.
    #[cfg(test)]
    pub(super) const ALL: Promise = Promise { kept: true, once: true, ordered: true, placed: true };

    pub(super) fn of(config: &Config) -> Promise {
        let idempotent = config.enable_idempotence;
        let all = config.acks == Acks::All;
        Promise {
            kept: all,
            once: idempotent || (config.retries == 0 && config.acks != Acks::None),
            ordered: idempotent,
            placed: all,
        }
    }

    /// `kept once ordered placed`, or `nothing`.
    pub(super) fn names(self) -> String {
        let names: Vec<_> =
            self.flags().into_iter().zip(NAMES).filter_map(|(flag, name)| flag.then_some(name)).collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
    }

    /// For people.
    pub(super) fn words(self) -> String {
        let words = ["nothing is lost", "nothing twice", "in order", "at the offset that was said"];
        let mut words: Vec<_> =
            self.flags().into_iter().zip(words).filter_map(|(flag, word)| flag.then_some(word)).collect();
        words.push("'not written' is true");
        words.join(", ")
    }

    pub(super) fn parse(names: &str) -> Option<Promise> {
        let mut flags = [false; 4];
        for name in names.split(' ').filter(|name| *name != "nothing") {
            flags[NAMES.iter().position(|known| *known == name)?] = true;
        }
        let [kept, once, ordered, placed] = flags;
        Some(Promise { kept, once, ordered, placed })
    }

    fn flags(self) -> [bool; 4] {
        [self.kept, self.once, self.ordered, self.placed]
    }
}

#[cfg(test)]
mod tests {
    use rohrpost::ProducerBuilder;

    use super::*;

    fn of(settings: &[(&str, &str)]) -> String {
        let mut builder = ProducerBuilder::new("127.0.0.1:9092");
        for (key, value) in settings {
            builder = builder.set(*key, *value).unwrap();
        }
        Promise::of(&builder.check().unwrap()).names()
    }

    #[test]
    fn weaker_settings_promise_less() {
        assert_eq!(of(&[]), "kept once ordered placed");
        assert_eq!(of(&[("enable.idempotence", "false")]), "kept placed");
        assert_eq!(of(&[("enable.idempotence", "false"), ("retries", "0")]), "kept once placed");
        assert_eq!(of(&[("acks", "1")]), "nothing");
        assert_eq!(of(&[("acks", "1"), ("retries", "0")]), "once");
        assert_eq!(of(&[("acks", "0"), ("retries", "0")]), "nothing");
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for bits in 0..16_u8 {
            let [kept, once, ordered, placed] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
            let promise = Promise { kept, once, ordered, placed };
            assert_eq!(Promise::parse(&promise.names()), Some(promise));
        }
        assert_eq!(Promise::parse("kept twice"), None);
    }
}
