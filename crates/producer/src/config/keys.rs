//! Every key by name: Kafka's, those of old producers and other clients, frequent misspellings, and our own; and what is
//! done with each.

/// A key that is known by name.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) fate: Fate,
    /// CFG-5: the value is a password and never shown.
    pub(super) secret: bool,
}

/// What is done with a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Read, checked and obeyed.
    Honoured,
    /// Not supported yet: refused, unless it is set to the default, which changes nothing.
    NotYet { what: &'static str, default: &'static str },
    /// Accepted without effect, with a warning that says why.
    Ignored(&'static str),
    /// Names a class of Java; accepted, with a warning that says what there is here instead (CFG-3).
    Serializer(&'static str),
    /// A setting of one topic: `topic.NAME.KEY` (CFG-17).
    OfTopic,
    /// A key of an old producer or another client: accepted with a warning (CFG-19).
    Legacy { modern: &'static str, convert: Convert },
    /// A frequent misspelling of this key: refused.
    Misspelt(&'static str),
    /// Not a producer's key: refused with a hint.
    NotOurs(&'static str),
}

/// How a legacy value becomes the modern key's.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum Convert {
    /// As it is.
    Same,
    /// Times 1024.
    Kilobytes,
    /// `topic.metadata.refresh.interval.ms`: negative = no forced refresh, 0 = 1000.
    RefreshInterval,
    /// CFG-20: `queue.enqueue.timeout.ms`: negative = without limit.
    Wait,
    /// `block.on.buffer.full`: true = without limit, false = nothing.
    BlockOnFull,
    /// 0 = without limit.
    ZeroIsNoLimit,
}

/// What there is instead of `metric.reporters`, whose values are classes of Java.
const REPORTERS: &str = "no class of Java is loaded; `Producer::metrics_snapshot` gives all metrics whenever it is called, as figures, as text for \
    Prometheus (`to_prometheus`) and for OpenTelemetry (`to_otlp_json`), and `rohrpost produce --metrics ADDRESS` serves them";

/// The entry of a key of exactly this name.
pub(super) fn find_exact(name: &str) -> Option<&'static Key> {
    KEYS.binary_search_by(|key| key.name.cmp(name)).ok().map(|at| &KEYS[at])
}

/// The entry of a key, or of all that begin as it does.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    find_exact(name).or_else(|| {
        let of_prefix =
            |key: &&Key| key.name.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix));
        KEYS.iter().find(of_prefix)
    })
}

/// All keys that a mistyped one may have meant.
pub(super) fn real_names() -> impl Iterator<Item = &'static str> {
    let real = |key: &&Key| !matches!(key.fate, Fate::Misspelt(_)) && !key.name.ends_with('*');
    KEYS.iter().filter(real).map(|key| key.name)
}

/// A value as messages may show it (CFG-5).
pub(super) fn shown(key: &str, value: &str) -> String {
    let secret = match find(key) {
        Some(known) if known.fate != Fate::OfTopic => known.secret,
        // An unknown key may be a mistyped password.
        _ => {
            let key = key.to_lowercase();
            ["password", "passphrase", "secret", "jaas", "token", "keystore"]
                .iter()
                .any(|word| key.contains(word))
        }
    };
    if secret { "[hidden]".into() } else { value.into() }
}

const fn key(name: &'static str, fate: Fate) -> Key {
    Key { name, fate, secret: false }
}

const fn secret(name: &'static str, fate: Fate) -> Key {
    Key { name, fate, secret: true }
}

/// Sorted by name.
#[rustfmt::skip]
static KEYS: &[Key] = &[
    key("Batch.num.messages", Fate::Misspelt("batch.num.messages")),
    key("Client.id", Fate::Misspelt("client.id")),
    key("Message.send.max.retries", Fate::Misspelt("message.send.max.retries")),
    key("Queue.buffering.max.message", Fate::Misspelt("queue.buffering.max.messages")),
    key("Queue.buffering.max.ms", Fate::Misspelt("queue.buffering.max.ms")),
    key("Queue.enqueue.timeout.ms", Fate::Misspelt("queue.enqueue.timeout.ms")),
    key("Request.timeout.ms", Fate::Misspelt("request.timeout.ms")),
    key("Retry.backoff.ms", Fate::Misspelt("retry.backoff.ms")),
    key("Topic.metadata.refresh.interval.ms", Fate::Misspelt("topic.metadata.refresh.interval.ms")),
    key("ack", Fate::Misspelt("acks")),
    key("acks", Fate::Honoured),
    key("allow.auto.create.topics", Fate::Honoured),
    key("batch.num.messages", Fate::Honoured),
    key("batch.size", Fate::Honoured),
    key("block.on.buffer.full", Fate::Legacy { modern: "max.block.ms", convert: Convert::BlockOnFull }),
    key("bootstrap.resolve.timeout.ms", Fate::Ignored("names are resolved in the background and tried again until they resolve")),
    key("bootstrap.servers", Fate::Honoured),
    key("buffer.memory", Fate::Honoured),
    key("buffer.memory.allocation.strategy", Fate::Ignored("memory is always taken as a batch grows")),
    key("client.dns.lookup", Fate::Honoured),
    key("client.id", Fate::Honoured),
    key("client.rack", Fate::Honoured),
    key("compressed.topics", Fate::Honoured),
    key("compression.codec", Fate::Legacy { modern: "compression.type", convert: Convert::Same }),
    key("compression.gzip.level", Fate::Honoured),
    key("compression.lz4.level", Fate::Honoured),
    key("compression.type", Fate::Honoured),
    key("compression.zstd.level", Fate::Honoured),
    key("config.providers", Fate::NotYet { what: "configuration providers are", default: "" }),
    key("connections.max.idle.ms", Fate::Honoured),
    key("delivery.timeout.ms", Fate::Honoured),
    key("enable.idempotence", Fate::Honoured),
    key("enable.metrics.push", Fate::Ignored("no telemetry is pushed yet")),
    key("interceptor.class", Fate::Misspelt("interceptor.classes")),
    key("interceptor.classes", Fate::NotYet { what: "interceptors named by class (give them to ProducerBuilder::interceptor) are", default: "" }),
    key("key.serializer", Fate::Serializer("key")),
    key("key.serializer.class", Fate::Serializer("key")),
    key("linger.ms", Fate::Honoured),
    key("max.block.ms", Fate::Honoured),
    key("max.blocks.ms", Fate::Misspelt("max.block.ms")),
    key("max.in.flight", Fate::Legacy { modern: "max.in.flight.requests.per.connection", convert: Convert::Same }),
    key("max.in.flight.request.per.connection", Fate::Misspelt("max.in.flight.requests.per.connection")),
    key("max.in.flight.requests.per.connection", Fate::Honoured),
    key("max.request.size", Fate::Honoured),
    key("max_request_size", Fate::Misspelt("max.request.size")),
    key("message.max.bytes", Fate::Legacy { modern: "max.request.size", convert: Convert::Same }),
    key("message.send.max.retries", Fate::Legacy { modern: "retries", convert: Convert::Same }),
    key("message.timeout.ms", Fate::Legacy { modern: "delivery.timeout.ms", convert: Convert::ZeroIsNoLimit }),
    key("message.timestamp.type", Fate::NotOurs("it is a setting of topics: it decides which timestamp a record gets")),
    key("metadata.broker.list", Fate::Legacy { modern: "bootstrap.servers", convert: Convert::Same }),
    key("metadata.cluster.check.enable", Fate::Ignored("the check is not made yet")),
    key("metadata.fetch.timeout.ms", Fate::Legacy { modern: "max.block.ms", convert: Convert::Same }),
    key("metadata.max.age.ms", Fate::Honoured),
    key("metadata.max.idle.ms", Fate::Honoured),
    key("metadata.recovery.rebootstrap.trigger.ms", Fate::Honoured),
    key("metadata.recovery.strategy", Fate::Honoured),
    key("metric.reporters", Fate::Ignored(REPORTERS)),
    key("metrics.context.*", Fate::Ignored("there are no reporters to hand labels to; the exporters label metrics with client.id, topic and node")),
    key("metrics.num.samples", Fate::Honoured),
    key("metrics.recording.level", Fate::Ignored("all metrics are always there")),
    key("metrics.sample.window.ms", Fate::Honoured),
    key("min.insync.replicas", Fate::NotOurs("it is a setting of topics and brokers: the floor for acks=all")),
    key("num.io.threads", Fate::NotOurs("it is a setting of brokers")),
    key("num.network.threads", Fate::NotOurs("it is a setting of brokers")),
    key("partitioner.adaptive.partitioning.enable", Fate::Honoured),
    key("partitioner.availability.timeout.ms", Fate::Honoured),
    key("partitioner.class", Fate::Honoured),
    key("partitioner.ignore.keys", Fate::Honoured),
    key("partitioner.rack.aware", Fate::Honoured),
    key("producer.type", Fate::Ignored("wait for the delivery of a record, or do not: that is the choice here")),
    key("queue.buffering.max.kbytes", Fate::Legacy { modern: "buffer.memory", convert: Convert::Kilobytes }),
    key("queue.buffering.max.message", Fate::Misspelt("queue.buffering.max.messages")),
    key("queue.buffering.max.messages", Fate::Honoured),
    key("queue.buffering.max.ms", Fate::Legacy { modern: "linger.ms", convert: Convert::Same }),
    key("queue.enqueue.timeout.ms", Fate::Legacy { modern: "max.block.ms", convert: Convert::Wait }),
    key("receive.buffer.bytes", Fate::Honoured),
    key("reconnect.backoff.max.ms", Fate::Honoured),
    key("reconnect.backoff.ms", Fate::Honoured),
    key("request.required.acks", Fate::Legacy { modern: "acks", convert: Convert::Same }),
    key("request.timeout.ms", Fate::Honoured),
    key("resend.innocent.records", Fate::Honoured),
    key("retries", Fate::Honoured),
    key("retry.backoff.max.ms", Fate::Honoured),
    key("retry.backoff.ms", Fate::Honoured),
    key("sasl.client.callback.handler.class", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    secret("sasl.jaas.config", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("sasl.kerberos.kinit.cmd", Fate::NotYet { what: "TLS and SASL are", default: "/usr/bin/kinit" }),
    key("sasl.kerberos.min.time.before.relogin", Fate::NotYet { what: "TLS and SASL are", default: "60000" }),
    key("sasl.kerberos.service.name", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("sasl.kerberos.ticket.renew.jitter", Fate::NotYet { what: "TLS and SASL are", default: "0.05" }),
    key("sasl.kerberos.ticket.renew.window.factor", Fate::NotYet { what: "TLS and SASL are", default: "0.8" }),
    key("sasl.login.callback.handler.class", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("sasl.login.class", Fate::Ignored("it is for Java only")),
    key("sasl.login.connect.timeout.ms", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("sasl.login.read.timeout.ms", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("sasl.login.refresh.buffer.seconds", Fate::NotYet { what: "TLS and SASL are", default: "300" }),
    key("sasl.login.refresh.min.period.seconds", Fate::NotYet { what: "TLS and SASL are", default: "60" }),
    key("sasl.login.refresh.window.factor", Fate::NotYet { what: "TLS and SASL are", default: "0.8" }),
    key("sasl.login.refresh.window.jitter", Fate::NotYet { what: "TLS and SASL are", default: "0.05" }),
    key("sasl.login.retry.backoff.max.ms", Fate::NotYet { what: "TLS and SASL are", default: "10000" }),
    key("sasl.login.retry.backoff.ms", Fate::NotYet { what: "TLS and SASL are", default: "100" }),
    key("sasl.mechanism", Fate::NotYet { what: "TLS and SASL are", default: "GSSAPI" }),
    key("sasl.oauthbearer.assertion.algorithm", Fate::NotYet { what: "TLS and SASL are", default: "RS256" }),
    key("sasl.oauthbearer.assertion.claim.aud", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("sasl.oauthbearer.assertion.claim.exp.seconds", Fate::NotYet { what: "TLS and SASL are", default: "300" }),
    key("sasl.oauthbearer.assertion.claim.iss", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("sasl.oauthbearer.assertion.claim.jti.include", Fate::NotYet { what: "TLS and SASL are", default: "false" }),
    key("sasl.oauthbearer.assertion.claim.nbf.seconds", Fate::NotYet { what: "TLS and SASL are", default: "60" }),
    key("sasl.oauthbearer.assertion.claim.sub", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("sasl.oauthbearer.assertion.file", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("sasl.oauthbearer.assertion.private.key.file", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    secret("sasl.oauthbearer.assertion.private.key.passphrase", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("sasl.oauthbearer.assertion.template.file", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("sasl.oauthbearer.client.credentials.client.id", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    secret("sasl.oauthbearer.client.credentials.client.secret", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("sasl.oauthbearer.clock.skew.seconds", Fate::NotYet { what: "TLS and SASL are", default: "30" }),
    key("sasl.oauthbearer.expected.audience", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("sasl.oauthbearer.expected.issuer", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("sasl.oauthbearer.header.urlencode", Fate::NotYet { what: "TLS and SASL are", default: "false" }),
    key("sasl.oauthbearer.jwks.endpoint.refresh.ms", Fate::NotYet { what: "TLS and SASL are", default: "3600000" }),
    key("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", Fate::NotYet { what: "TLS and SASL are", default: "10000" }),
    key("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", Fate::NotYet { what: "TLS and SASL are", default: "100" }),
    key("sasl.oauthbearer.jwks.endpoint.url", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("sasl.oauthbearer.jwt.retriever.class", Fate::NotYet { what: "TLS and SASL are", default: "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever" }),
    key("sasl.oauthbearer.jwt.validator.class", Fate::NotYet { what: "TLS and SASL are", default: "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator" }),
    key("sasl.oauthbearer.scope", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("sasl.oauthbearer.scope.claim.name", Fate::NotYet { what: "TLS and SASL are", default: "scope" }),
    key("sasl.oauthbearer.sub.claim.name", Fate::NotYet { what: "TLS and SASL are", default: "sub" }),
    key("sasl.oauthbearer.token.endpoint.url", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("security.protocol", Fate::NotYet { what: "TLS and SASL are", default: "PLAINTEXT" }),
    key("security.providers", Fate::Ignored("it is for Java only")),
    key("send.buffer.bytes", Fate::Honoured),
    key("serializer.class", Fate::Serializer("value")),
    key("socket.connection.setup.timeout.max.ms", Fate::Honoured),
    key("socket.connection.setup.timeout.ms", Fate::Honoured),
    key("socket.receive.buffer.bytes", Fate::Legacy { modern: "receive.buffer.bytes", convert: Convert::Same }),
    key("socket.send.buffer.bytes", Fate::Legacy { modern: "send.buffer.bytes", convert: Convert::Same }),
    key("ssl.cipher.suites", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("ssl.enabled.protocols", Fate::NotYet { what: "TLS and SASL are", default: "TLSv1.2,TLSv1.3" }),
    key("ssl.endpoint.identification.algorithm", Fate::NotYet { what: "TLS and SASL are", default: "https" }),
    key("ssl.engine.factory.class", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    secret("ssl.key.password", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("ssl.keymanager.algorithm", Fate::Ignored("it is for Java only")),
    secret("ssl.keystore.certificate.chain", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    secret("ssl.keystore.key", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("ssl.keystore.location", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    secret("ssl.keystore.password", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("ssl.keystore.type", Fate::NotYet { what: "TLS and SASL are", default: "JKS" }),
    key("ssl.protocol", Fate::NotYet { what: "TLS and SASL are", default: "TLSv1.3" }),
    key("ssl.provider", Fate::Ignored("it is for Java only")),
    key("ssl.secure.random.implementation", Fate::Ignored("it is for Java only")),
    key("ssl.trustmanager.algorithm", Fate::Ignored("it is for Java only")),
    secret("ssl.truststore.certificates", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("ssl.truststore.location", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    secret("ssl.truststore.password", Fate::NotYet { what: "TLS and SASL are", default: "" }),
    key("ssl.truststore.type", Fate::NotYet { what: "TLS and SASL are", default: "JKS" }),
    key("sticky.partitioning.linger.ms", Fate::Ignored("stickiness goes by bytes (KIP-794)")),
    key("stop.on.failure", Fate::Honoured),
    key("timeout.ms", Fate::Legacy { modern: "request.timeout.ms", convert: Convert::Same }),
    key("topic.*", Fate::OfTopic),
    key("topic.metadata.refresh.interval.ms", Fate::Legacy { modern: "metadata.max.age.ms", convert: Convert::RefreshInterval }),
    key("topic.recreation", Fate::Honoured),
    key("transaction.timeout.ms", Fate::NotYet { what: "transactions are", default: "60000" }),
    key("transaction.two.phase.commit.enable", Fate::NotYet { what: "transactions are", default: "false" }),
    key("transactional.id", Fate::NotYet { what: "transactions are", default: "" }),
    key("value.serializer", Fate::Serializer("value")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_keys_are_found() {
        assert!(KEYS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(find("acks").is_some() && find("value.serializer").is_some() && find("acks ").is_none());
        assert!(find("metrics.context.team").is_some());
    }

    #[test]
    fn every_key_that_takes_over_is_honoured() {
        for key in KEYS {
            let target = match key.fate {
                Fate::Legacy { modern, .. } => modern,
                Fate::Misspelt(right) => right,
                _ => continue,
            };
            let target =
                find(target).unwrap_or_else(|| panic!("{} maps to a key that is not known", key.name));
            assert!(!matches!(target.fate, Fate::Misspelt(_)), "{}", key.name);
            if matches!(key.fate, Fate::Legacy { .. }) {
                assert_eq!(target.fate, Fate::Honoured, "{}", key.name);
            }
        }
    }
}
