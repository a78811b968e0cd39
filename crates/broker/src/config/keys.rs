//! Kafka's broker keys: what each takes, and what this broker does with it. A test compares the table with
//! `docs/reference/broker-configs.tsv`; another makes sure that no key is dropped in silence (E12).

use super::value::Kind::{self, *};
use super::value::{int, long, short};

/// A broker key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) effect: Effect,
}

/// What this broker does with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// What it says: there is a field or a check for it.
    Honoured,
    /// It gives topics a default.
    Topics,
    /// Nothing, for this reason.
    Ignored(&'static str),
}

/// One of the keys of the reference.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether this broker does what a key says.
pub(super) fn has_effect(name: &str) -> bool {
    find(name).is_some_and(|key| !matches!(key.effect, Effect::Ignored(_)))
}

/// Why a key of Kafka's has no effect that is none of [`KEYS`]. `None`: Kafka has no such key.
pub(super) fn reason_of_other(name: &str) -> Option<&'static str> {
    OTHERS.iter().find(|(_, names)| names.contains(&name)).map(|(reason, _)| *reason)
}

/// The key that was probably meant.
pub(super) fn similar_to(name: &str) -> Option<&'static str> {
    let others = OTHERS.iter().flat_map(|(_, names)| names.iter().copied());
    let known = KEYS.iter().map(|key| key.name).chain(others);
    let (distance, best) = known.map(|known| (distance(name, known), known)).min()?;
    (distance <= (name.len() / 5).clamp(1, 4)).then_some(best)
}

/// How many letters must be inserted, removed or replaced to make the one of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

const fn honoured(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, effect: Effect::Honoured }
}

const fn topics(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, effect: Effect::Topics }
}

const fn ignored(name: &'static str, kind: Kind, reason: &'static str) -> Key {
    Key { name, kind, effect: Effect::Ignored(reason) }
}

// Why a key has no effect: what follows "KEY is ignored: ".
pub(super) const SECURITY: &str =
    "every listener is PLAINTEXT; nobody logs in, nothing is encrypted, everyone may do everything";
const QUORUM: &str = "the controller is in this process, alone; there is no quorum to talk to";
const ALONE: &str = "this is the only broker; nothing is copied from others and no leader moves";
const GROUPS: &str = "consumer groups are not served yet";
const SHARE_GROUPS: &str = "share groups are not served";
const STREAMS_GROUPS: &str = "streams groups are not served";
const TRANSACTIONS: &str = "transactions are not served yet";
const COMPACTION: &str = "logs are not compacted yet";
const TIERED: &str = "tiered storage is not implemented";
const QUOTAS: &str = "there are no quotas yet";
const METRICS: &str = "the broker gives out no metrics yet";
const METADATA_LOG: &str = "the metadata log begins a new segment by size alone";
const PURGATORY: &str = "a waiting request is removed when it ends, so nothing is left to purge";
const UNSTABLE: &str = "there are no unstable versions in this broker";
const DIRECTORIES: &str = "replicas are not moved between data directories, and no other broker takes over";
const CLASSES: &str = "Java classes cannot be loaded";
const TOKENS: &str = "delegation tokens are not served";

/// The broker keys of the reference, in its order.
pub(super) const KEYS: &[Key] = &[
    honoured("process.roles", ListOf(&["broker", "controller"])),
    honoured("node.id", int(0)),
    honoured("broker.rack", Text),
    honoured("listeners", Text),
    honoured("advertised.listeners", Text),
    honoured("listener.security.protocol.map", Text),
    honoured("inter.broker.listener.name", Text),
    honoured("security.inter.broker.protocol", OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])),
    honoured("controller.listener.names", Text),
    ignored("early.start.listeners", Text, SECURITY),
    honoured("num.network.threads", int(1)),
    honoured("num.io.threads", int(1)),
    honoured("background.threads", int(1)),
    honoured("queued.max.requests", int(1)),
    honoured("queued.max.request.bytes", long(i64::MIN)),
    honoured("socket.send.buffer.bytes", int(i32::MIN as i64)),
    honoured("socket.receive.buffer.bytes", int(i32::MIN as i64)),
    honoured("socket.request.max.bytes", int(1)),
    honoured("socket.listen.backlog.size", int(1)),
    honoured("connections.max.idle.ms", long(i64::MIN)),
    honoured("max.connections", int(0)),
    honoured("max.connections.per.ip", int(0)),
    honoured("max.connections.per.ip.overrides", Text),
    honoured("max.connection.creation.rate", int(0)),
    ignored("connection.failed.authentication.delay.ms", int(0), SECURITY),
    ignored("request.timeout.ms", int(i32::MIN as i64), QUORUM),
    honoured("log.dir", Text),
    honoured("log.dirs", Text),
    honoured("metadata.log.dir", Text),
    ignored("cordoned.log.dirs", Text, DIRECTORIES),
    honoured("num.recovery.threads.per.data.dir", int(1)),
    topics("log.segment.bytes", int(1_048_576)),
    topics("log.roll.ms", long(i64::MIN)),
    topics("log.roll.hours", int(1)),
    topics("log.roll.jitter.ms", long(i64::MIN)),
    topics("log.roll.jitter.hours", int(0)),
    topics("log.index.size.max.bytes", int(4)),
    topics("log.index.interval.bytes", int(0)),
    topics("log.preallocate", Boolean),
    topics("log.flush.interval.messages", long(1)),
    topics("log.flush.interval.ms", long(i64::MIN)),
    honoured("log.flush.scheduler.interval.ms", long(i64::MIN)),
    honoured("log.flush.offset.checkpoint.interval.ms", int(0)),
    honoured("log.flush.start.offset.checkpoint.interval.ms", int(0)),
    topics("log.retention.ms", long(i64::MIN)),
    topics("log.retention.minutes", int(i32::MIN as i64)),
    topics("log.retention.hours", int(i32::MIN as i64)),
    topics("log.retention.bytes", long(i64::MIN)),
    honoured("log.retention.check.interval.ms", long(1)),
    topics("log.segment.delete.delay.ms", long(0)),
    topics("log.cleanup.policy", ListOf(&["compact", "delete"])),
    honoured("log.initial.task.delay.ms", long(0)),
    ignored("log.dir.failure.timeout.ms", long(1), DIRECTORIES),
    topics("log.message.timestamp.type", OneOf(&["CreateTime", "LogAppendTime"])),
    topics("log.message.timestamp.before.max.ms", long(0)),
    topics("log.message.timestamp.after.max.ms", long(0)),
    topics("message.max.bytes", int(0)),
    topics("compression.type", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"])),
    topics("compression.gzip.level", GzipLevel),
    topics("compression.lz4.level", Number { min: 1, max: 17 }),
    topics("compression.zstd.level", Number { min: -131_072, max: 22 }),
    ignored("log.cleaner.enable", Boolean, COMPACTION),
    ignored("log.cleaner.threads", int(0), COMPACTION),
    ignored("log.cleaner.backoff.ms", long(0), COMPACTION),
    ignored("log.cleaner.dedupe.buffer.size", long(i64::MIN), COMPACTION),
    ignored("log.cleaner.io.buffer.size", int(0), COMPACTION),
    ignored("log.cleaner.io.buffer.load.factor", Decimal, COMPACTION),
    ignored("log.cleaner.io.max.bytes.per.second", Decimal, COMPACTION),
    ignored("log.cleaner.min.cleanable.ratio", Ratio, COMPACTION),
    ignored("log.cleaner.min.compaction.lag.ms", long(0), COMPACTION),
    ignored("log.cleaner.max.compaction.lag.ms", long(1), COMPACTION),
    ignored("log.cleaner.delete.retention.ms", long(0), COMPACTION),
    honoured("num.partitions", int(1)),
    honoured("default.replication.factor", int(i32::MIN as i64)),
    honoured("auto.create.topics.enable", Boolean),
    honoured("delete.topic.enable", Boolean),
    honoured("max.request.partition.size.limit", int(1)),
    topics("min.insync.replicas", int(1)),
    topics("unclean.leader.election.enable", Boolean),
    ignored("unclean.leader.election.interval.ms", long(1), ALONE),
    ignored("replica.lag.time.max.ms", long(i64::MIN), ALONE),
    ignored("replica.fetch.min.bytes", int(i32::MIN as i64), ALONE),
    ignored("replica.fetch.wait.max.ms", int(i32::MIN as i64), ALONE),
    ignored("replica.fetch.max.bytes", int(0), ALONE),
    ignored("replica.fetch.response.max.bytes", int(0), ALONE),
    ignored("replica.fetch.backoff.ms", int(0), ALONE),
    ignored("replica.socket.timeout.ms", int(i32::MIN as i64), ALONE),
    ignored("replica.socket.receive.buffer.bytes", int(i32::MIN as i64), ALONE),
    honoured("replica.high.watermark.checkpoint.interval.ms", long(i64::MIN)),
    ignored("replica.selector.class", Text, ALONE),
    ignored("num.replica.fetchers", int(1), ALONE),
    ignored("auto.leader.rebalance.enable", Boolean, ALONE),
    ignored("leader.imbalance.check.interval.seconds", long(1), ALONE),
    ignored("controlled.shutdown.enable", Boolean, ALONE),
    ignored("producer.purgatory.purge.interval.requests", int(i32::MIN as i64), PURGATORY),
    ignored("fetch.purgatory.purge.interval.requests", int(i32::MIN as i64), PURGATORY),
    ignored("delete.records.purgatory.purge.interval.requests", int(i32::MIN as i64), PURGATORY),
    honoured("fetch.max.bytes", int(1_024)),
    honoured("max.incremental.fetch.session.cache.slots", int(0)),
    honoured("producer.id.expiration.ms", int(1)),
    honoured("producer.id.expiration.check.interval.ms", int(1)),
    ignored("controller.quorum.bootstrap.servers", Text, QUORUM),
    ignored("controller.quorum.voters", Text, QUORUM),
    ignored("controller.quorum.fetch.timeout.ms", int(0), QUORUM),
    ignored("controller.quorum.request.timeout.ms", int(0), QUORUM),
    ignored("controller.quorum.retry.backoff.ms", int(0), QUORUM),
    ignored("controller.quorum.fetch.max.bytes", int(1), QUORUM),
    ignored("controller.quorum.fetch.snapshot.max.bytes", int(1), QUORUM),
    ignored("controller.socket.timeout.ms", int(i32::MIN as i64), QUORUM),
    ignored("initial.broker.registration.timeout.ms", int(i32::MIN as i64), QUORUM),
    ignored("broker.heartbeat.interval.ms", int(i32::MIN as i64), QUORUM),
    ignored("broker.session.timeout.ms", int(i32::MIN as i64), QUORUM),
    ignored("server.max.startup.time.ms", long(0), QUORUM),
    honoured("metadata.log.segment.bytes", int(8_388_608)),
    ignored("metadata.log.segment.ms", long(i64::MIN), METADATA_LOG),
    honoured("metadata.log.max.record.bytes.between.snapshots", long(1)),
    honoured("metadata.log.max.snapshot.interval.ms", long(0)),
    ignored("metadata.max.idle.interval.ms", int(0), QUORUM),
    honoured("metadata.max.retention.bytes", long(i64::MIN)),
    honoured("metadata.max.retention.ms", long(i64::MIN)),
    ignored("group.coordinator.threads", int(1), GROUPS),
    ignored(
        "group.coordinator.rebalance.protocols",
        ListOf(&["consumer", "classic", "share", "streams"]),
        GROUPS,
    ),
    ignored("group.min.session.timeout.ms", int(i32::MIN as i64), GROUPS),
    ignored("group.max.session.timeout.ms", int(i32::MIN as i64), GROUPS),
    ignored("group.initial.rebalance.delay.ms", int(i32::MIN as i64), GROUPS),
    ignored("group.max.size", int(1), GROUPS),
    ignored("offset.metadata.max.bytes", int(i32::MIN as i64), GROUPS),
    ignored("offsets.commit.timeout.ms", int(1), GROUPS),
    ignored("offsets.load.buffer.size", int(1), GROUPS),
    ignored("offsets.retention.minutes", int(1), GROUPS),
    ignored("offsets.retention.check.interval.ms", long(1), GROUPS),
    ignored("offsets.topic.num.partitions", int(1), GROUPS),
    ignored("offsets.topic.replication.factor", short(1), GROUPS),
    ignored("offsets.topic.segment.bytes", int(1), GROUPS),
    ignored("offsets.topic.compression.codec", int(i32::MIN as i64), GROUPS),
    ignored("group.consumer.heartbeat.interval.ms", int(1), GROUPS),
    ignored("group.consumer.session.timeout.ms", int(1), GROUPS),
    ignored("group.consumer.max.size", int(1), GROUPS),
    ignored("group.consumer.assignors", Text, GROUPS),
    ignored("group.consumer.assignment.interval.ms", int(0), GROUPS),
    ignored(
        "group.consumer.migration.policy",
        OneOfAnyCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]),
        GROUPS,
    ),
    ignored("transaction.max.timeout.ms", int(1), TRANSACTIONS),
    ignored("transactional.id.expiration.ms", int(1), TRANSACTIONS),
    ignored("transaction.abort.timed.out.transaction.cleanup.interval.ms", int(1), TRANSACTIONS),
    ignored("transaction.remove.expired.transaction.cleanup.interval.ms", int(1), TRANSACTIONS),
    ignored("transaction.partition.verification.enable", Boolean, TRANSACTIONS),
    ignored("transaction.two.phase.commit.enable", Boolean, TRANSACTIONS),
    ignored("transaction.state.log.num.partitions", int(1), TRANSACTIONS),
    ignored("transaction.state.log.replication.factor", short(1), TRANSACTIONS),
    ignored("transaction.state.log.min.isr", int(1), TRANSACTIONS),
    ignored("transaction.state.log.segment.bytes", int(1), TRANSACTIONS),
    ignored("transaction.state.log.load.buffer.size", int(1), TRANSACTIONS),
    ignored("add.partitions.to.txn.retry.backoff.ms", int(1), TRANSACTIONS),
    ignored("add.partitions.to.txn.retry.backoff.max.ms", int(0), TRANSACTIONS),
    ignored("quota.window.num", int(1), QUOTAS),
    ignored("quota.window.size.seconds", int(1), QUOTAS),
    ignored("metrics.num.samples", int(1), METRICS),
    ignored("metrics.sample.window.ms", long(1), METRICS),
    honoured("authorizer.class.name", Text),
    ignored("sasl.enabled.mechanisms", Text, SECURITY),
    ignored("sasl.jaas.config", Text, SECURITY),
    ignored("sasl.mechanism.inter.broker.protocol", Text, SECURITY),
    ignored("sasl.mechanism.controller.protocol", Text, SECURITY),
    ignored("sasl.server.max.receive.size", int(i32::MIN as i64), SECURITY),
    ignored("connections.max.reauth.ms", long(i64::MIN), SECURITY),
    ignored("principal.builder.class", Text, SECURITY),
    ignored("ssl.keystore.location", Text, SECURITY),
    ignored("ssl.keystore.type", Text, SECURITY),
    ignored("ssl.keystore.certificate.chain", Text, SECURITY),
    ignored("ssl.keystore.key", Text, SECURITY),
    ignored("ssl.key.password", Text, SECURITY),
    ignored("ssl.truststore.location", Text, SECURITY),
    ignored("ssl.truststore.certificates", Text, SECURITY),
    honoured("ssl.client.auth", OneOf(&["required", "requested", "none"])),
    ignored("ssl.enabled.protocols", Text, SECURITY),
    ignored("ssl.cipher.suites", Text, SECURITY),
    ignored("ssl.principal.mapping.rules", Text, SECURITY),
    ignored("unstable.api.versions.enable", Boolean, UNSTABLE),
    ignored("unstable.feature.versions.enable", Boolean, UNSTABLE),
];

/// The rest of Kafka's broker keys: parts of Kafka that this broker does not have.
const OTHERS: &[(&str, &[&str])] = &[
    (CLASSES, &["alter.config.policy.class.name", "config.providers", "create.topic.policy.class.name"]),
    (
        QUOTAS,
        &[
            "alter.log.dirs.replication.quota.window.num",
            "alter.log.dirs.replication.quota.window.size.seconds",
            "client.quota.callback.class",
            "controller.quota.window.num",
            "controller.quota.window.size.seconds",
            "replication.quota.window.num",
            "replication.quota.window.size.seconds",
        ],
    ),
    (
        QUORUM,
        &[
            "controller.performance.always.log.threshold.ms",
            "controller.performance.sample.period.ms",
            "controller.quorum.append.linger.ms",
            "controller.quorum.auto.join.enable",
            "controller.quorum.election.backoff.max.ms",
            "controller.quorum.election.timeout.ms",
            "socket.connection.setup.timeout.max.ms",
            "socket.connection.setup.timeout.ms",
        ],
    ),
    (
        TOKENS,
        &[
            "delegation.token.expiry.check.interval.ms",
            "delegation.token.expiry.time.ms",
            "delegation.token.max.lifetime.ms",
            "delegation.token.secret.key",
        ],
    ),
    (
        TIERED,
        &[
            "follower.fetch.last.tiered.offset.enable",
            "log.local.retention.bytes",
            "log.local.retention.ms",
            "remote.fetch.max.wait.ms",
            "remote.list.offsets.request.timeout.ms",
            "remote.log.index.file.cache.total.size.bytes",
            "remote.log.index.file.cache.ttl.ms",
            "remote.log.manager.copier.thread.pool.size",
            "remote.log.manager.copy.max.bytes.per.second",
            "remote.log.manager.copy.quota.window.num",
            "remote.log.manager.copy.quota.window.size.seconds",
            "remote.log.manager.expiration.thread.pool.size",
            "remote.log.manager.fetch.max.bytes.per.second",
            "remote.log.manager.fetch.quota.window.num",
            "remote.log.manager.fetch.quota.window.size.seconds",
            "remote.log.manager.follower.thread.pool.size",
            "remote.log.manager.task.interval.ms",
            "remote.log.manager.task.retry.backoff.max.ms",
            "remote.log.manager.task.retry.backoff.ms",
            "remote.log.manager.task.retry.jitter",
            "remote.log.manager.thread.pool.size",
            "remote.log.metadata.custom.metadata.max.bytes",
            "remote.log.metadata.manager.class.name",
            "remote.log.metadata.manager.class.path",
            "remote.log.metadata.manager.impl.prefix",
            "remote.log.metadata.manager.listener.name",
            "remote.log.reader.max.pending.tasks",
            "remote.log.reader.threads",
            "remote.log.storage.manager.class.name",
            "remote.log.storage.manager.class.path",
            "remote.log.storage.manager.impl.prefix",
            "remote.log.storage.system.enable",
        ],
    ),
    (
        GROUPS,
        &[
            "group.consumer.max.assignment.interval.ms",
            "group.consumer.max.heartbeat.interval.ms",
            "group.consumer.max.session.timeout.ms",
            "group.consumer.min.assignment.interval.ms",
            "group.consumer.min.heartbeat.interval.ms",
            "group.consumer.min.session.timeout.ms",
            "group.consumer.regex.refresh.interval.ms",
            "group.coordinator.append.linger.ms",
            "group.coordinator.background.threads",
            "group.coordinator.cached.buffer.max.bytes",
        ],
    ),
    (
        SHARE_GROUPS,
        &[
            "group.share.assignment.interval.ms",
            "group.share.assignors",
            "group.share.delivery.count.limit",
            "group.share.heartbeat.interval.ms",
            "group.share.initialize.retry.interval.ms",
            "group.share.max.assignment.interval.ms",
            "group.share.max.delivery.count.limit",
            "group.share.max.heartbeat.interval.ms",
            "group.share.max.partition.max.record.locks",
            "group.share.max.record.lock.duration.ms",
            "group.share.max.session.timeout.ms",
            "group.share.max.share.sessions",
            "group.share.max.size",
            "group.share.min.assignment.interval.ms",
            "group.share.min.delivery.count.limit",
            "group.share.min.heartbeat.interval.ms",
            "group.share.min.partition.max.record.locks",
            "group.share.min.record.lock.duration.ms",
            "group.share.min.session.timeout.ms",
            "group.share.partition.max.record.locks",
            "group.share.persister.class.name",
            "group.share.record.lock.duration.ms",
            "group.share.session.timeout.ms",
            "share.coordinator.append.linger.ms",
            "share.coordinator.cached.buffer.max.bytes",
            "share.coordinator.cold.partition.snapshot.interval.ms",
            "share.coordinator.load.buffer.size",
            "share.coordinator.snapshot.update.records.per.snapshot",
            "share.coordinator.state.topic.compression.codec",
            "share.coordinator.state.topic.min.isr",
            "share.coordinator.state.topic.num.partitions",
            "share.coordinator.state.topic.prune.interval.ms",
            "share.coordinator.state.topic.replication.factor",
            "share.coordinator.state.topic.segment.bytes",
            "share.coordinator.threads",
            "share.coordinator.write.timeout.ms",
            "share.fetch.purgatory.purge.interval.requests",
        ],
    ),
    (
        STREAMS_GROUPS,
        &[
            "group.streams.assignment.interval.ms",
            "group.streams.heartbeat.interval.ms",
            "group.streams.initial.rebalance.delay.ms",
            "group.streams.max.assignment.interval.ms",
            "group.streams.max.heartbeat.interval.ms",
            "group.streams.max.session.timeout.ms",
            "group.streams.max.size",
            "group.streams.max.standby.replicas",
            "group.streams.min.assignment.interval.ms",
            "group.streams.min.heartbeat.interval.ms",
            "group.streams.min.session.timeout.ms",
            "group.streams.num.standby.replicas",
            "group.streams.session.timeout.ms",
        ],
    ),
    (
        METADATA_LOG,
        &[
            "internal.metadata.delete.delay.millis",
            "internal.metadata.log.segment.bytes",
            "internal.metadata.max.batch.size.in.bytes",
        ],
    ),
    (
        METRICS,
        &[
            "kafka.metrics.polling.interval.secs",
            "kafka.metrics.reporters",
            "metric.reporters",
            "metrics.recording.level",
            "telemetry.max.bytes",
        ],
    ),
    (DIRECTORIES, &["num.replica.alter.log.dirs.threads"]),
    (
        SECURITY,
        &[
            "sasl.client.callback.handler.class",
            "sasl.kerberos.kinit.cmd",
            "sasl.kerberos.min.time.before.relogin",
            "sasl.kerberos.principal.to.local.rules",
            "sasl.kerberos.service.name",
            "sasl.kerberos.ticket.renew.jitter",
            "sasl.kerberos.ticket.renew.window.factor",
            "sasl.login.callback.handler.class",
            "sasl.login.class",
            "sasl.login.connect.timeout.ms",
            "sasl.login.read.timeout.ms",
            "sasl.login.refresh.buffer.seconds",
            "sasl.login.refresh.min.period.seconds",
            "sasl.login.refresh.window.factor",
            "sasl.login.refresh.window.jitter",
            "sasl.login.retry.backoff.max.ms",
            "sasl.login.retry.backoff.ms",
            "sasl.oauthbearer.assertion.algorithm",
            "sasl.oauthbearer.assertion.claim.aud",
            "sasl.oauthbearer.assertion.claim.exp.seconds",
            "sasl.oauthbearer.assertion.claim.iss",
            "sasl.oauthbearer.assertion.claim.jti.include",
            "sasl.oauthbearer.assertion.claim.nbf.seconds",
            "sasl.oauthbearer.assertion.claim.sub",
            "sasl.oauthbearer.assertion.file",
            "sasl.oauthbearer.assertion.private.key.file",
            "sasl.oauthbearer.assertion.private.key.passphrase",
            "sasl.oauthbearer.assertion.template.file",
            "sasl.oauthbearer.client.credentials.client.id",
            "sasl.oauthbearer.client.credentials.client.secret",
            "sasl.oauthbearer.clock.skew.seconds",
            "sasl.oauthbearer.expected.audience",
            "sasl.oauthbearer.expected.issuer",
            "sasl.oauthbearer.jwks.endpoint.refresh.ms",
            "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms",
            "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms",
            "sasl.oauthbearer.jwks.endpoint.url",
            "sasl.oauthbearer.jwt.retriever.class",
            "sasl.oauthbearer.jwt.validator.class",
            "sasl.oauthbearer.scope",
            "sasl.oauthbearer.scope.claim.name",
            "sasl.oauthbearer.sub.claim.name",
            "sasl.oauthbearer.token.endpoint.url",
            "sasl.server.callback.handler.class",
            "security.providers",
            "ssl.allow.dn.changes",
            "ssl.allow.san.changes",
            "ssl.endpoint.identification.algorithm",
            "ssl.engine.factory.class",
            "ssl.keymanager.algorithm",
            "ssl.keystore.password",
            "ssl.protocol",
            "ssl.provider",
            "ssl.secure.random.implementation",
            "ssl.trustmanager.algorithm",
            "ssl.truststore.password",
            "ssl.truststore.type",
        ],
    ),
];
