//! Every key with type, default and meaning: what `rohrpost config` prints and `docs/configuration.md` is made of.
//!
//! What becomes of a key is not said here but in `keys`, which the parser goes by: the two cannot drift apart.

use super::keys::{self, Fate};
use super::parse;

/// A configuration key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigKey {
    name: &'static str,
    origin: Origin,
    value_type: &'static str,
    default: &'static str,
    valid: &'static str,
    importance: &'static str,
    meaning: &'static str,
}

/// Where a key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Apache Kafka's producer, 4.3.1.
    Kafka,
    /// Apache Kafka's producer from 4.4 on.
    Kafka44,
    /// An old producer.
    Legacy,
    /// Clients built on the C library.
    Alias,
    /// Brokers and topics; refused here.
    Broker,
    /// Rohrpost's own.
    Rohrpost,
}

/// What becomes of a key that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyStatus {
    /// It is obeyed.
    Honoured,
    /// It is accepted with a warning, and obeyed as this key.
    StandsFor(&'static str),
    /// It is accepted with a warning, and changes nothing: why.
    Ignored(&'static str),
    /// It is refused unless it is set to its default: what is missing.
    NotYet(&'static str),
    /// It is refused: why.
    Refused(&'static str),
}

/// All keys, sorted by name.
pub fn config_keys() -> impl Iterator<Item = &'static ConfigKey> {
    CATALOGUE.iter()
}

/// Whether a value is of its key's type, for keys that nothing goes by.
pub(super) fn check(name: &str, value: &str) -> Result<(), String> {
    match CATALOGUE.binary_search_by(|key| key.name.cmp(name)) {
        Ok(at) => parse::check_type(CATALOGUE[at].value_type, CATALOGUE[at].valid, value),
        Err(_) => Ok(()),
    }
}

impl ConfigKey {
    /// The name; `metrics.context.*` and `topic.*` stand for all that begin so.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where it comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Kafka's name of the value's type. Names that end in `.ms`, `.bytes` or `.seconds` say the unit.
    pub fn value_type(&self) -> &'static str {
        self.value_type
    }

    /// The value if it is not set; for keys of old producers, what it was there.
    pub fn default(&self) -> &'static str {
        self.default
    }

    /// The values it takes, in words.
    pub fn valid(&self) -> &'static str {
        self.valid
    }

    /// How much Kafka thinks of it: high, medium, low; empty for keys that Kafka 4 does not have.
    pub fn importance(&self) -> &'static str {
        self.importance
    }

    /// What it is for.
    pub fn meaning(&self) -> &'static str {
        self.meaning
    }

    /// What becomes of it.
    pub fn status(&self) -> KeyStatus {
        match keys::find(self.name).map(|key| &key.fate) {
            Some(Fate::Honoured | Fate::OfTopic) => KeyStatus::Honoured,
            Some(Fate::Legacy { modern, .. }) => KeyStatus::StandsFor(modern),
            Some(Fate::Ignored(why)) => KeyStatus::Ignored(why),
            Some(Fate::Serializer(_)) => KeyStatus::Ignored(SERIALIZERS),
            Some(Fate::NotYet { what, .. }) => KeyStatus::NotYet(what),
            Some(Fate::NotOurs(why)) => KeyStatus::Refused(why),
            Some(Fate::Misspelt(_)) | None => KeyStatus::Refused("the key is not known"),
        }
    }
}

/// What the keys of serializers are for here (CFG-3).
const SERIALIZERS: &str = "records take bytes, and a topic's handle takes serializers as values, as in `topic.key(Utf8).value(Number)`; the \
     warning names the one that writes what the class does";

const fn entry(
    name: &'static str,
    origin: Origin,
    value_type: &'static str,
    default: &'static str,
    valid: &'static str,
    importance: &'static str,
    meaning: &'static str,
) -> ConfigKey {
    ConfigKey { name, origin, value_type, default, valid, importance, meaning }
}

/// Sorted by name. CFG-22: the defaults of old keys are what they were in the old library, and where its console producer had others,
/// in that; they count for nobody who does not set them.
#[rustfmt::skip]
static CATALOGUE: &[ConfigKey] = &[
    entry("acks", Origin::Kafka, "string", "all", "all, -1, 0, 1", "low",
        "Who must have a batch before it is acknowledged: `all` in-sync replicas, the leader (`1`), or nobody (`0`). `-1` is `all`. Idempotence needs `all`."),
    entry("allow.auto.create.topics", Origin::Rohrpost, "boolean", "true", "true, false", "low",
        "Whether asking for a topic that does not exist may create it, if the brokers create topics by themselves. A topic that this producer has seen and that vanished is never created anew."),
    entry("batch.num.messages", Origin::Legacy, "int", "0", "at least 0", "",
        "A batch is full at so many records as well; `batch.size` goes on to count. 0: no such limit. 200 in the old console producer."),
    entry("batch.size", Origin::Kafka, "int", "16384", "at least 0", "medium",
        "A batch is full at so many bytes. 0 acts as 1: one record per batch. A larger record gets a batch of its own."),
    entry("block.on.buffer.full", Origin::Legacy, "boolean", "true in 0.8.2; false in 0.9 and 0.10", "any", "",
        "Old name: `true` waits for room without limit, as a very large `max.block.ms` does."),
    entry("bootstrap.resolve.timeout.ms", Origin::Kafka44, "long", "0", "at least 0", "high",
        "How long Kafka's own client tries to resolve the bootstrap names in the background."),
    entry("bootstrap.servers", Origin::Kafka, "list", "required", "list without empty entries", "high",
        "Brokers to begin with, host:port[,host:port…]. Any one that answers names all others. An entry without a port is refused."),
    entry("buffer.memory", Origin::Kafka, "long", "33554432", "at least 0", "high",
        "Bytes for records that are not acknowledged yet. When they are in use, sends wait up to `max.block.ms`."),
    entry("buffer.memory.allocation.strategy", Origin::Kafka44, "string", "full", "full, incremental", "low",
        "How Kafka's own client takes a batch's memory: whole, or as it grows."),
    entry("client.dns.lookup", Origin::Kafka, "string", "use_all_dns_ips", "use_all_dns_ips, resolve_canonical_bootstrap_servers_only", "medium",
        "`use_all_dns_ips` tries the addresses of a name one after the other; `resolve_canonical_bootstrap_servers_only` expands bootstrap names to their canonical host names first."),
    entry("client.id", Origin::Kafka, "string", "empty", "any", "medium",
        "The name under which brokers log, count and limit this producer. Without one: `producer-N`, N from 1 in each process."),
    entry("client.rack", Origin::Kafka44, "string", "", "any", "low",
        "Where this client stands, in the words of the brokers' `broker.rack`. For `partitioner.rack.aware`."),
    entry("compressed.topics", Origin::Legacy, "list", "", "topics", "",
        "Old key: with `compression.type`, only these topics are compressed; an empty list is all. Today's way is `topic.NAME.compression.type`."),
    entry("compression.codec", Origin::Legacy, "string", "none", "none, gzip, snappy, lz4", "",
        "Old name of `compression.type`."),
    entry("compression.gzip.level", Origin::Kafka, "int", "-1", "-1 or 1 to 9", "medium",
        "1 is fast, 9 is small, -1 is 6."),
    entry("compression.lz4.level", Origin::Kafka, "int", "9", "1 to 17", "medium",
        "9 is the fast compressor; any other value is the high-compression one, which needs the feature `lz4-hc`."),
    entry("compression.type", Origin::Kafka, "string", "none", "none, gzip, snappy, lz4, zstd", "high",
        "How batches are compressed."),
    entry("compression.zstd.level", Origin::Kafka, "int", "3", "-131072 to 22", "medium",
        "Higher is smaller and slower; below 0 is faster still. Without the feature `zstd` there is one level."),
    entry("config.providers", Origin::Kafka, "list", "empty", "list without empty entries", "low",
        "Where Kafka's own client looks up `${…}` in values."),
    entry("connections.max.idle.ms", Origin::Kafka, "long", "540000", "any", "medium",
        "A connection that nothing used for so long is closed. Negative: never. Brokers close after 600000."),
    entry("delivery.timeout.ms", Origin::Kafka, "int", "120000", "at least 0", "medium",
        "The longest time from a record's batch to its outcome: lingering, all attempts and the waits between them. At least `linger.ms` + `request.timeout.ms`; raised to that if not set."),
    entry("enable.idempotence", Origin::Kafka, "boolean", "true", "true, false", "low",
        "Whether retries neither repeat records nor change their order. Needs `acks=all`, `retries` above 0 and at most 5 requests in flight."),
    entry("enable.metrics.push", Origin::Kafka, "boolean", "true", "true, false", "low",
        "Whether figures go to brokers that ask for them (KIP-714)."),
    entry("interceptor.classes", Origin::Kafka, "list", "empty", "list without empty entries", "low",
        "Code that sees each record on its way out and its outcome on the way back. Here: `ProducerBuilder::interceptor`."),
    entry("key.serializer", Origin::Kafka, "class", "required", "any", "high",
        "What turns a key into bytes."),
    entry("key.serializer.class", Origin::Legacy, "class", "value of serializer.class", "any", "",
        "Old name of `key.serializer`."),
    entry("linger.ms", Origin::Kafka, "long", "5", "at least 0", "medium",
        "How long a batch that is not full waits for more records. Under load batches fill by themselves; then it makes no difference."),
    entry("max.block.ms", Origin::Kafka, "long", "60000", "at least 0", "medium",
        "How long a send waits at most, for a new topic's metadata and for room together. Also the limit of `connect`, `reserve`, `partitions_for`."),
    entry("max.in.flight", Origin::Alias, "int", "1000000", "at least 1", "",
        "C clients' name of `max.in.flight.requests.per.connection`."),
    entry("max.in.flight.requests.per.connection", Origin::Kafka, "int", "5", "at least 1", "low",
        "Requests sent to one broker and not answered. At most 5 with idempotence. Without idempotence, more than 1 lets a retry land behind later batches."),
    entry("max.request.size", Origin::Kafka, "int", "1048576", "at least 0", "medium",
        "The largest request, and the largest record: its upper-bound estimate without compression counts."),
    entry("message.max.bytes", Origin::Alias, "int", "1000000", "at least 1000", "",
        "C clients' name of `max.request.size`; brokers have a key of that name, too."),
    entry("message.send.max.retries", Origin::Legacy, "int", "3", "at least 0", "",
        "Old name of `retries`."),
    entry("message.timeout.ms", Origin::Alias, "int", "300000", "at least 0", "",
        "C clients' name of `delivery.timeout.ms`; 0 is no limit."),
    entry("message.timestamp.type", Origin::Broker, "string", "CreateTime", "CreateTime, LogAppendTime", "medium",
        "A setting of topics: whether records keep the producer's time or get the broker's."),
    entry("metadata.broker.list", Origin::Legacy, "list", "required", "any", "",
        "Old name of `bootstrap.servers`."),
    entry("metadata.cluster.check.enable", Origin::Kafka44, "boolean", "true", "any", "low",
        "Whether a connection to a broker of another cluster is noticed."),
    entry("metadata.fetch.timeout.ms", Origin::Legacy, "long", "60000", "at least 0", "",
        "Old name of `max.block.ms`."),
    entry("metadata.max.age.ms", Origin::Kafka, "long", "300000", "at least 0", "low",
        "The cluster's metadata is asked for again after so long, whatever happens."),
    entry("metadata.max.idle.ms", Origin::Kafka, "long", "300000", "at least 5000", "low",
        "A topic that nothing was sent to for so long is no longer asked for."),
    entry("metadata.recovery.rebootstrap.trigger.ms", Origin::Kafka, "long", "300000", "at least 0", "low",
        "If no metadata came for so long, the producer begins anew with `bootstrap.servers`."),
    entry("metadata.recovery.strategy", Origin::Kafka, "string", "rebootstrap", "none, rebootstrap", "low",
        "What to do when no known broker can be reached: `rebootstrap` begins anew with `bootstrap.servers`, `none` goes on trying."),
    entry("metric.reporters", Origin::Kafka, "list", "org.apache.kafka.common.metrics.JmxReporter", "list without empty entries", "low",
        "Where Kafka's own client hands its metrics to."),
    entry("metrics.context.*", Origin::Kafka, "prefix", "none", "any", "low",
        "Labels that Kafka's own client hands to its metric reporters."),
    entry("metrics.num.samples", Origin::Kafka, "int", "2", "at least 1", "low",
        "Windows that rates, means and maxima are taken over; at most 100 are kept."),
    entry("metrics.recording.level", Origin::Kafka, "string", "INFO", "INFO, DEBUG, TRACE", "low",
        "How detailed the metrics of Kafka's own client are."),
    entry("metrics.sample.window.ms", Origin::Kafka, "long", "30000", "at least 0", "low",
        "Length of a window that rates are computed over."),
    entry("min.insync.replicas", Origin::Broker, "int", "1", "at least 1", "high",
        "A setting of topics and brokers: how many replicas must be in sync for `acks=all`."),
    entry("num.io.threads", Origin::Broker, "int", "8", "at least 1", "high",
        "A setting of brokers."),
    entry("num.network.threads", Origin::Broker, "int", "3", "at least 1", "high",
        "A setting of brokers."),
    entry("partitioner.adaptive.partitioning.enable", Origin::Kafka, "boolean", "true", "true, false", "low",
        "Whether keyless records prefer partitions whose queues are short."),
    entry("partitioner.availability.timeout.ms", Origin::Kafka, "long", "0", "at least 0", "low",
        "A partition whose broker could not be sent to for so long gets no keyless records. 0: off."),
    entry("partitioner.class", Origin::Kafka, "class", "null", "null, RoundRobinPartitioner, UniformStickyPartitioner, DefaultPartitioner", "medium",
        "What chooses the partition of records that name none: `null` is the built-in way, by key or sticky. Kafka's class names are taken with their package or without; `DefaultPartitioner` is the built-in way. One of your own is given to `ProducerBuilder::partitioner`."),
    entry("partitioner.ignore.keys", Origin::Kafka, "boolean", "false", "true, false", "medium",
        "Whether records with a key are spread like those without."),
    entry("partitioner.rack.aware", Origin::Kafka44, "boolean", "false", "true, false", "low",
        "Whether the built-in sticky choice takes only partitions that are led from `client.rack`, while any of these is available. Needs `client.rack`."),
    entry("producer.type", Origin::Legacy, "string", "sync", "sync, async", "",
        "Old key: whether sends wait. Here each call chooses."),
    entry("queue.buffering.max.kbytes", Origin::Alias, "int", "1048576", "at least 1", "",
        "C clients' name of `buffer.memory`, in KiB."),
    entry("queue.buffering.max.messages", Origin::Legacy, "int", "0", "at least 0", "",
        "So many records may wait for their outcome; `buffer.memory` goes on to count. 0: no such limit. 10000 in the old producer."),
    entry("queue.buffering.max.ms", Origin::Legacy, "long", "5000; 1000 in its console producer", "at least 0", "",
        "Old name of `linger.ms`."),
    entry("queue.enqueue.timeout.ms", Origin::Legacy, "long", "-1; 2147483647 in its console producer", "any", "",
        "Old key for waiting for room: 0 fails at once, negative waits without limit, positive waits so long."),
    entry("receive.buffer.bytes", Origin::Kafka, "int", "32768", "at least -1", "medium",
        "The sockets' receive buffer; -1 is the system's default."),
    entry("reconnect.backoff.max.ms", Origin::Kafka, "long", "1000", "at least 0", "low",
        "The longest wait before a broker is tried again. If only `reconnect.backoff.ms` is set, it is as long."),
    entry("reconnect.backoff.ms", Origin::Kafka, "long", "50", "at least 0", "low",
        "The first wait before a broker is tried again; doubles with each failure."),
    entry("request.required.acks", Origin::Legacy, "int", "0 (Scala producer 0.8)", "-1, 0, 1", "",
        "Old name of `acks`."),
    entry("request.timeout.ms", Origin::Kafka, "int", "30000", "at least 0", "medium",
        "How long an answer is waited for before the connection is given up and its requests are sent again; also how long the leader waits for its followers. Should exceed the brokers' `replica.lag.time.max.ms`."),
    entry("resend.innocent.records", Origin::Rohrpost, "boolean", "false", "true, false", "low",
        "A broker that refuses a batch may name the records that it means: `true` sends the others again without them, in order. Else they fail with them, as Kafka's do."),
    entry("retries", Origin::Kafka, "int", "2147483647", "0 to 2147483647", "high",
        "How often a batch is sent again at most. Leave it, and bound the time with `delivery.timeout.ms`."),
    entry("retry.backoff.max.ms", Origin::Kafka, "long", "1000", "at least 0", "low",
        "The longest wait before a batch is sent again. With the defaults of this and of `retries` waits double twice only (docs/departures.md)."),
    entry("retry.backoff.ms", Origin::Kafka, "long", "100", "at least 0", "low",
        "The first wait before a batch is sent again; doubles with each attempt."),
    entry("sasl.client.callback.handler.class", Origin::Kafka, "class", "none", "any", "medium",
        "What answers a SASL mechanism's questions."),
    entry("sasl.jaas.config", Origin::Kafka, "password", "none", "any, never shown", "medium",
        "Login module with its options, among them user name and password."),
    entry("sasl.kerberos.kinit.cmd", Origin::Kafka, "string", "/usr/bin/kinit", "any", "low",
        "The `kinit` command."),
    entry("sasl.kerberos.min.time.before.relogin", Origin::Kafka, "long", "60000", "any", "low",
        "Shortest time between two logins, in ms."),
    entry("sasl.kerberos.service.name", Origin::Kafka, "string", "none", "any", "medium",
        "The brokers' Kerberos name."),
    entry("sasl.kerberos.ticket.renew.jitter", Origin::Kafka, "double", "0.05", "any", "low",
        "Random part of the time to a ticket's renewal."),
    entry("sasl.kerberos.ticket.renew.window.factor", Origin::Kafka, "double", "0.8", "any", "low",
        "Part of a ticket's life after which it is renewed."),
    entry("sasl.login.callback.handler.class", Origin::Kafka, "class", "none", "any", "medium",
        "What answers the login's questions."),
    entry("sasl.login.class", Origin::Kafka, "class", "none", "any", "medium",
        "The login's class."),
    entry("sasl.login.connect.timeout.ms", Origin::Kafka, "int", "none", "any", "low",
        "Time-out of connecting to the token provider."),
    entry("sasl.login.read.timeout.ms", Origin::Kafka, "int", "none", "any", "low",
        "Time-out of reading from the token provider."),
    entry("sasl.login.refresh.buffer.seconds", Origin::Kafka, "short", "300", "0 to 3600", "low",
        "So long before a token ends it is renewed at the latest."),
    entry("sasl.login.refresh.min.period.seconds", Origin::Kafka, "short", "60", "0 to 900", "low",
        "Shortest time between two renewals of a token."),
    entry("sasl.login.refresh.window.factor", Origin::Kafka, "double", "0.8", "0.5 to 1.0", "low",
        "Part of a token's life after which it is renewed."),
    entry("sasl.login.refresh.window.jitter", Origin::Kafka, "double", "0.05", "0.0 to 0.25", "low",
        "Random part of the time to a token's renewal."),
    entry("sasl.login.retry.backoff.max.ms", Origin::Kafka, "long", "10000", "any", "low",
        "The longest wait before the token provider is asked again."),
    entry("sasl.login.retry.backoff.ms", Origin::Kafka, "long", "100", "any", "low",
        "The first wait before the token provider is asked again."),
    entry("sasl.mechanism", Origin::Kafka, "string", "GSSAPI", "any", "medium",
        "How the client proves who it is."),
    entry("sasl.oauthbearer.assertion.algorithm", Origin::Kafka, "string", "RS256", "RS256, ES256", "medium",
        "Signature of the assertion."),
    entry("sasl.oauthbearer.assertion.claim.aud", Origin::Kafka, "string", "none", "any", "medium",
        "Audience of the assertion."),
    entry("sasl.oauthbearer.assertion.claim.exp.seconds", Origin::Kafka, "int", "300", "0 to 86400", "low",
        "Life of the assertion."),
    entry("sasl.oauthbearer.assertion.claim.iss", Origin::Kafka, "string", "none", "any", "medium",
        "Issuer of the assertion."),
    entry("sasl.oauthbearer.assertion.claim.jti.include", Origin::Kafka, "boolean", "false", "true, false", "medium",
        "Whether the assertion has an id."),
    entry("sasl.oauthbearer.assertion.claim.nbf.seconds", Origin::Kafka, "int", "60", "0 to 3600", "low",
        "How long before now the assertion is valid from."),
    entry("sasl.oauthbearer.assertion.claim.sub", Origin::Kafka, "string", "none", "any", "medium",
        "Subject of the assertion."),
    entry("sasl.oauthbearer.assertion.file", Origin::Kafka, "string", "none", "any", "medium",
        "A file with a ready assertion."),
    entry("sasl.oauthbearer.assertion.private.key.file", Origin::Kafka, "string", "none", "any", "medium",
        "The key that signs the assertion."),
    entry("sasl.oauthbearer.assertion.private.key.passphrase", Origin::Kafka, "password", "none", "any, never shown", "medium",
        "Pass phrase of that key."),
    entry("sasl.oauthbearer.assertion.template.file", Origin::Kafka, "string", "none", "any", "medium",
        "A file with header and claims of the assertion."),
    entry("sasl.oauthbearer.client.credentials.client.id", Origin::Kafka, "string", "none", "any", "medium",
        "The client's id at the token provider."),
    entry("sasl.oauthbearer.client.credentials.client.secret", Origin::Kafka, "password", "none", "any, never shown", "medium",
        "The client's secret at the token provider."),
    entry("sasl.oauthbearer.clock.skew.seconds", Origin::Kafka, "int", "30", "any", "low",
        "How far clocks may differ."),
    entry("sasl.oauthbearer.expected.audience", Origin::Kafka, "list", "empty", "any", "high",
        "Audience that a broker expects."),
    entry("sasl.oauthbearer.expected.issuer", Origin::Kafka, "string", "none", "any", "high",
        "Issuer that a broker expects."),
    entry("sasl.oauthbearer.header.urlencode", Origin::Kafka, "boolean", "false", "true, false", "low",
        "Whether id and secret are URL-encoded in the header."),
    entry("sasl.oauthbearer.jwks.endpoint.refresh.ms", Origin::Kafka, "long", "3600000", "any", "low",
        "How often a broker fetches the provider's keys."),
    entry("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", Origin::Kafka, "long", "10000", "any", "low",
        "The longest wait before the keys are asked for again."),
    entry("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", Origin::Kafka, "long", "100", "any", "low",
        "The first wait before the keys are asked for again."),
    entry("sasl.oauthbearer.jwks.endpoint.url", Origin::Kafka, "string", "none", "any", "medium",
        "Where a broker finds the provider's keys."),
    entry("sasl.oauthbearer.jwt.retriever.class", Origin::Kafka, "class", "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever", "any", "medium",
        "What fetches tokens."),
    entry("sasl.oauthbearer.jwt.validator.class", Origin::Kafka, "class", "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator", "any", "medium",
        "What checks tokens."),
    entry("sasl.oauthbearer.scope", Origin::Kafka, "string", "none", "any", "medium",
        "The scope that a token is asked for."),
    entry("sasl.oauthbearer.scope.claim.name", Origin::Kafka, "string", "scope", "any", "low",
        "The claim that holds a token's scope."),
    entry("sasl.oauthbearer.sub.claim.name", Origin::Kafka, "string", "sub", "any", "low",
        "The claim that holds a token's subject."),
    entry("sasl.oauthbearer.token.endpoint.url", Origin::Kafka, "string", "none", "any", "medium",
        "Where tokens come from."),
    entry("security.protocol", Origin::Kafka, "string", "PLAINTEXT", "PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL", "medium",
        "Whether connections are encrypted (SSL) and clients name themselves (SASL)."),
    entry("security.providers", Origin::Kafka, "string", "none", "any", "low",
        "Java's security providers."),
    entry("send.buffer.bytes", Origin::Kafka, "int", "131072", "at least -1", "medium",
        "The sockets' send buffer; -1 is the system's default."),
    entry("serializer.class", Origin::Legacy, "class", "DefaultEncoder", "any", "",
        "Old name of `value.serializer`."),
    entry("socket.connection.setup.timeout.max.ms", Origin::Kafka, "long", "30000", "any", "medium",
        "The longest time that a connection may take to be set up."),
    entry("socket.connection.setup.timeout.ms", Origin::Kafka, "long", "10000", "any", "medium",
        "Time in which a connection must be set up; doubles with each failure."),
    entry("socket.receive.buffer.bytes", Origin::Broker, "int", "102400", "at least -1", "high",
        "C clients' name of `receive.buffer.bytes`."),
    entry("socket.send.buffer.bytes", Origin::Broker, "int", "102400", "at least -1", "high",
        "C clients' name of `send.buffer.bytes`."),
    entry("ssl.cipher.suites", Origin::Kafka, "list", "empty", "any", "low",
        "Cipher suites allowed; none: all that the library allows."),
    entry("ssl.enabled.protocols", Origin::Kafka, "list", "TLSv1.2,TLSv1.3", "any", "medium",
        "TLS versions allowed."),
    entry("ssl.endpoint.identification.algorithm", Origin::Kafka, "string", "https", "any", "low",
        "`https` checks that a certificate names the host; empty switches the check off."),
    entry("ssl.engine.factory.class", Origin::Kafka, "class", "none", "any", "low",
        "What makes TLS engines."),
    entry("ssl.key.password", Origin::Kafka, "password", "none", "any, never shown", "high",
        "Pass phrase of the private key."),
    entry("ssl.keymanager.algorithm", Origin::Kafka, "string", "SunX509", "any", "low",
        "Java's key manager."),
    entry("ssl.keystore.certificate.chain", Origin::Kafka, "password", "none", "any, never shown", "high",
        "The client's certificates as PEM text."),
    entry("ssl.keystore.key", Origin::Kafka, "password", "none", "any, never shown", "high",
        "The client's private key as PEM text."),
    entry("ssl.keystore.location", Origin::Kafka, "string", "none", "any", "high",
        "A file with the client's key and certificates."),
    entry("ssl.keystore.password", Origin::Kafka, "password", "none", "any, never shown", "high",
        "Pass phrase of that file."),
    entry("ssl.keystore.type", Origin::Kafka, "string", "JKS", "any", "medium",
        "Its format: JKS, PKCS12 or PEM."),
    entry("ssl.protocol", Origin::Kafka, "string", "TLSv1.3", "any", "medium",
        "Java's name of the TLS context."),
    entry("ssl.provider", Origin::Kafka, "string", "none", "any", "medium",
        "Java's TLS provider."),
    entry("ssl.secure.random.implementation", Origin::Kafka, "string", "none", "any", "low",
        "Java's source of randomness."),
    entry("ssl.trustmanager.algorithm", Origin::Kafka, "string", "PKIX", "any", "low",
        "Java's trust manager."),
    entry("ssl.truststore.certificates", Origin::Kafka, "password", "none", "any, never shown", "high",
        "Trusted certificates as PEM text."),
    entry("ssl.truststore.location", Origin::Kafka, "string", "none", "any", "high",
        "A file with trusted certificates; none: the system's."),
    entry("ssl.truststore.password", Origin::Kafka, "password", "none", "any, never shown", "high",
        "Pass phrase of that file."),
    entry("ssl.truststore.type", Origin::Kafka, "string", "JKS", "any", "medium",
        "Its format: JKS, PKCS12 or PEM."),
    entry("sticky.partitioning.linger.ms", Origin::Alias, "int", "10", "at least 0", "",
        "C clients' key: how long keyless records stay with a partition."),
    entry("stop.on.failure", Origin::Rohrpost, "list", "", "topics, or *", "medium",
        "Topics in which a failed record stops its partition: what was sent behind it, and what is sent later, fails as not written until `Producer::resume`. `*` is all topics."),
    entry("timeout.ms", Origin::Legacy, "int", "30000", "at least 0", "",
        "Old name of `request.timeout.ms`."),
    entry("topic.*", Origin::Rohrpost, "prefix", "the producer's", "as the key", "medium",
        "`topic.NAME.KEY` is a setting of one topic: KEY is `batch.size`, `compression.type`, `compression.gzip.level`, `compression.lz4.level`, `compression.zstd.level`, `delivery.timeout.ms` or `linger.ms`, as in `topic.clicks.linger.ms=100`."),
    entry("topic.metadata.refresh.interval.ms", Origin::Legacy, "long", "600000; 300000 in its console producer", "any", "",
        "Old name of `metadata.max.age.ms`; negative: only after errors."),
    entry("topic.recreation", Origin::Rohrpost, "string", "follow", "follow, fail, hold", "medium",
        "What becomes of buffered records when their topic was deleted and created anew: they go to the new one, they fail, or they wait for `Producer::release`. Noticed by topic id; with brokers older than 4.1 only between two batches."),
    entry("transaction.timeout.ms", Origin::Kafka, "int", "60000", "any", "low",
        "The coordinator ends a transaction that is open for longer."),
    entry("transaction.two.phase.commit.enable", Origin::Kafka, "boolean", "false", "true, false", "low",
        "Whether transactions are prepared first and never end by themselves."),
    entry("transactional.id", Origin::Kafka, "string", "none", "non-empty string", "low",
        "Names a producer over restarts, for transactions."),
    entry("value.serializer", Origin::Kafka, "class", "required", "any", "high",
        "What turns a value into bytes."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Producer;

    #[test]
    fn every_key_that_the_parser_knows_is_described_and_the_other_way_round() {
        assert!(CATALOGUE.windows(2).all(|pair| pair[0].name < pair[1].name));
        for key in keys::real_names() {
            assert!(config_keys().any(|entry| entry.name == key), "{key} is not described");
        }
        for entry in config_keys() {
            assert!(keys::find(entry.name).is_some(), "{} is described, and not known", entry.name);
            assert!(entry.meaning.ends_with('.'), "{}: {}", entry.name, entry.meaning);
        }
    }

    /// CFG-19, CFG-22: the list in docs/reference is what there is to know of keys.
    #[test]
    fn every_key_of_the_reference_is_known_for_what_it_is() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/producer-configs.tsv");
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
        let head = lines.next().unwrap();
        let column = |name: &str| head.iter().position(|column| *column == name).unwrap();
        let [value_type, importance, kind, maps_to] = ["type", "importance", "kind", "maps_to"].map(column);
        let mut seen = 0;
        for line in lines.filter(|line| line.len() > kind) {
            let (name, known) = (line[0], keys::find(line[0]).map(|key| &key.fate));
            seen += 1;
            if line[kind] == "spelling" {
                assert_eq!(known, Some(&Fate::Misspelt(keys::find(line[maps_to]).unwrap().name)), "{name}");
                continue;
            }
            let entry = config_keys().find(|entry| entry.name == name);
            let entry = entry.unwrap_or_else(|| panic!("{name} is not described"));
            let origin = match line[kind] {
                "current" => Origin::Kafka,
                "since 4.4" => Origin::Kafka44,
                "legacy" => Origin::Legacy,
                "alias" => Origin::Alias,
                _ => Origin::Broker,
            };
            assert_eq!((entry.origin, entry.value_type), (origin, line[value_type]), "{name}");
            if matches!(origin, Origin::Kafka) {
                assert_eq!(entry.importance, line[importance], "{name}");
            }
            match (entry.status(), line[maps_to]) {
                (KeyStatus::StandsFor(modern), maps_to) => assert_eq!(modern, maps_to, "{name}"),
                (KeyStatus::Honoured | KeyStatus::NotYet(_) | KeyStatus::Ignored(_), _) => {}
                // With a sentence that says what to use instead.
                (KeyStatus::Refused(why), _) => {
                    assert!(origin == Origin::Broker && why.contains("setting of"), "{name}: {why}");
                }
            }
        }
        assert_eq!(seen, text.lines().count() - 1);
    }

    #[test]
    fn setting_a_key_to_its_default_changes_nothing() {
        let plain = Producer::builder("localhost:9092").client_id("c").check().unwrap();
        for entry in config_keys().filter(|entry| entry.status() == KeyStatus::Honoured) {
            // there is no default to set; CFG-10: set alone, it is the maximum, too
            if ["bootstrap.servers", "client.id", "reconnect.backoff.ms", "topic.*"].contains(&entry.name) {
                continue;
            }
            let builder = Producer::builder("localhost:9092").client_id("c").set(entry.name, entry.default);
            let set = builder.and_then(|builder| builder.check());
            let set = set.unwrap_or_else(|error| panic!("{}={}: {error}", entry.name, entry.default));
            assert_eq!(format!("{set:?}"), format!("{plain:?}"), "{}={}", entry.name, entry.default);
        }
    }

    #[test]
    fn the_status_is_the_parsers() {
        let status = |name| config_keys().find(|entry| entry.name == name).unwrap().status();
        assert_eq!(status("acks"), KeyStatus::Honoured);
        assert_eq!(status("queue.buffering.max.ms"), KeyStatus::StandsFor("linger.ms"));
        assert!(matches!(status("transactional.id"), KeyStatus::NotYet(_)));
        assert!(matches!(status("num.io.threads"), KeyStatus::Refused(_)));
        assert!(matches!(status("security.providers"), KeyStatus::Ignored(_)));
    }
}
