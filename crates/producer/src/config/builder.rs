//! [`ProducerBuilder`]: the settings of a producer to be.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rohrpost_net::properties::{self, Property, PropertyError};

use super::error::{ConfigError, ConfigErrors, Origin};
use super::keys::{self, Fate};
use super::topics::{self, TopicKey, TopicSettings};
use super::{Acks, Compression, Config, TopicRecreation, resolve, suggest};
use crate::delivery::Job;
use crate::failed_records::FailedRecords;
use crate::interceptor::{Interceptor, InterceptorSettings};
use crate::partitioner::Partitioner;
use crate::producer::{Attached, BuildError, Producer};

/// Collects settings and builds a [`Producer`]. The last setting of a key counts.
///
/// Typed setters cover what most programs need; [`set`](Self::set) takes any of Kafka's keys. Values are checked by
/// [`build`](Self::build), all at once (CFG-6). Times are rounded up to whole milliseconds; sizes are in bytes.
///
/// ```
/// use std::time::Duration;
///
/// use rohrpost::{Compression, Producer};
///
/// let builder = Producer::builder("kafka1:9092,kafka2:9092")
///     .compression(Compression::ZSTD)
///     .linger(Duration::from_millis(20))
///     .set("delivery.timeout.ms", "600000")?; // any of Kafka's keys
/// let config = builder.check()?; // or `build`, which starts the producer
/// assert_eq!((config.linger_ms, config.delivery_timeout_ms, config.batch_size), (20, 600_000, 16_384));
/// # Ok::<(), rohrpost::ConfigErrors>(())
/// ```
#[derive(Clone, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct ProducerBuilder {
    pub(super) settings: Vec<Setting>,
    attached: Attached,
}

/// One setting as it came in.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

impl ProducerBuilder {
    /// A builder with all of Kafka's defaults. `bootstrap_servers` is a list as in `bootstrap.servers`: `host:port`, more of
    /// them separated by commas.
    pub fn new(bootstrap_servers: impl Into<String>) -> ProducerBuilder {
        ProducerBuilder::default().with("bootstrap.servers", bootstrap_servers.into())
    }

    /// Settings from pairs of Kafka's keys and texts. Keys that nobody knows are warned about, as with a file (CFG-4).
    pub fn from_pairs<K: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> ProducerBuilder {
        let settings = pairs.into_iter().map(|(key, value)| Setting {
            key: key.into(),
            value: value.into(),
            origin: Origin::Pairs,
        });
        ProducerBuilder { settings: settings.collect(), attached: Attached::default() }
    }

    /// Settings from a `.properties` file, in Java's syntax (UTF-8). What the settings say is checked by [`build`](Self::build).
    ///
    /// # Blocking
    /// Reads the file.
    ///
    /// # Errors
    /// The file cannot be read, or lines of it cannot be understood; the error names all of them.
    pub fn from_properties(path: impl AsRef<Path>) -> Result<ProducerBuilder, ConfigErrors> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError {
            key: None,
            value: None,
            origin: Origin::File { path: name.clone(), line: None },
            problem: format!("the file cannot be read: {e}"),
        })?;
        let at = |line| Origin::File { path: name.clone(), line: Some(line) };
        match properties::parse(&text) {
            Ok(properties) => {
                let setting = |p: Property| Setting { key: p.key, value: p.value, origin: at(p.line) };
                Ok(ProducerBuilder {
                    settings: properties.into_iter().map(setting).collect(),
                    attached: Attached::default(),
                })
            }
            Err(errors) => {
                let error = |e: PropertyError| ConfigError {
                    key: None,
                    value: None,
                    origin: at(e.line),
                    problem: e.problem,
                };
                Err(ConfigErrors::new(errors.into_iter().map(error).collect()))
            }
        }
    }

    /// Sets any of Kafka's keys. The key is checked now: one that nobody knows is refused, with the name that was probably
    /// meant (CFG-4). The value is checked by [`build`](Self::build).
    ///
    /// Values are texts, as in a `.properties` file: times in the unit that the key ends with (`.ms`), sizes in bytes.
    /// `docs/configuration.md` and `rohrpost config` have every key, its default, and what 0 and negative values mean.
    ///
    /// # Errors
    /// Nobody knows the key, or `topic.NAME.KEY` is one that a topic cannot have of its own. The builder is gone with the error; who
    /// wants all mistakes at once uses [`set_all`](Self::set_all).
    pub fn set(
        self,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<ProducerBuilder, ConfigErrors> {
        let (key, value) = (key.into(), value.into());
        let problem = match keys::find(&key) {
            Some(known) => match known.fate {
                Fate::Misspelt(right) => Some(format!("unknown key; did you mean {right}?")),
                Fate::OfTopic => match topics::read(&key) {
                    TopicKey::Of(..) => None,
                    TopicKey::Wrong(problem) => Some(problem),
                    TopicKey::Unknown => Some(suggest::with_hint("unknown key", &key)),
                },
                _ => None,
            },
            None => Some(suggest::with_hint("unknown key", &key)),
        };
        match problem {
            None => Ok(self.with(key, value)),
            Some(problem) => {
                let value = Some(keys::shown(&key, &value));
                Err(ConfigError { key: Some(key), value, origin: Origin::Code, problem }.into())
            }
        }
    }

    /// Sets many of Kafka's keys, such as those of a command line. Nothing is checked now: [`build`](Self::build) tells all mistakes at
    /// once. A key that nobody knows is one of them, as with [`set`](Self::set) (CFG-4).
    ///
    /// ```
    /// let builder = rohrpost::Producer::builder("localhost:9092").set_all([("lingr.ms", "3"), ("acks", "7")]);
    /// let mistakes = builder.check().unwrap_err().to_string();
    /// assert!(mistakes.contains("did you mean linger.ms?") && mistakes.contains("acks=7"));
    /// ```
    pub fn set_all<K: Into<String>, V: Into<String>>(
        self,
        settings: impl IntoIterator<Item = (K, V)>,
    ) -> ProducerBuilder {
        settings.into_iter().fold(self, |builder, (key, value)| builder.with(key, value.into()))
    }

    /// `acks`: which acknowledgement to wait for. Less than [`Acks::All`] switches idempotence off.
    pub fn acks(self, acks: Acks) -> ProducerBuilder {
        self.with("acks", acks.to_string())
    }

    /// `compression.type` and the codec's level.
    pub fn compression(self, compression: Compression) -> ProducerBuilder {
        compression_settings(compression).fold(self, |builder, (key, value)| builder.with(key, value))
    }

    /// Settings of one topic: what is not set there is as for the others (CFG-17). The same as keys: `topic.NAME.linger.ms`, and so on.
    ///
    /// ```
    /// use std::time::Duration;
    /// use rohrpost::{Compression, Producer};
    ///
    /// let builder = Producer::builder("localhost:9092").topic("clicks", |clicks| {
    ///     clicks.linger(Duration::from_millis(100)).batch_size(1 << 18).compression(Compression::ZSTD)
    /// });
    /// let config = builder.check()?;
    /// assert_eq!((config.topic("clicks").linger_ms, config.topic("orders").linger_ms), (100, 5));
    /// # Ok::<(), rohrpost::ConfigErrors>(())
    /// ```
    pub fn topic(
        self,
        name: impl AsRef<str>,
        settings: impl FnOnce(TopicSettings) -> TopicSettings,
    ) -> ProducerBuilder {
        let settings = settings(TopicSettings::default()).settings;
        let with = |builder: ProducerBuilder, (key, value): (&str, String)| {
            builder.with(topics::key_of(name.as_ref(), key), value)
        };
        settings.into_iter().fold(self, with)
    }

    /// `linger.ms` (default 5 ms): how long a batch waits for more records. Parts of a millisecond are rounded up. Zero: a batch goes
    /// out as soon as its broker can be sent to.
    pub fn linger(self, linger: Duration) -> ProducerBuilder {
        self.with("linger.ms", millis(linger))
    }

    /// `enable.idempotence` (default true): retries neither repeat records nor change their order (CFG-7). True together with `acks`
    /// other than all, `retries` of 0 or more than 5 requests in flight is refused by [`build`](Self::build).
    pub fn idempotence(self, enable: bool) -> ProducerBuilder {
        self.with("enable.idempotence", enable.to_string())
    }

    /// `batch.size`, in bytes (default 16384): what a batch may grow to before compression. 0 acts as 1: each record a batch of its own
    /// (CFG-11). A record that is larger gets a batch of its own.
    pub fn batch_size(self, bytes: usize) -> ProducerBuilder {
        self.with("batch.size", bytes.to_string())
    }

    /// `buffer.memory`, in bytes (default 32 MiB): bounds all that the producer holds of records without an outcome. Without room
    /// `send` waits, for at most `max.block.ms`.
    pub fn buffer_memory(self, bytes: usize) -> ProducerBuilder {
        self.with("buffer.memory", bytes.to_string())
    }

    /// `max.request.size`, in bytes (default 1 MiB): bounds a record before compression, and a request. Brokers and topics have
    /// limits of their own (`message.max.bytes`, `max.message.bytes`).
    pub fn max_request_size(self, bytes: usize) -> ProducerBuilder {
        self.with("max.request.size", bytes.to_string())
    }

    /// `delivery.timeout.ms` (default 2 minutes): the age at which a batch fails, counted from its first record, retries included
    /// (ACC-24).
    /// At least `linger.ms` and `request.timeout.ms` together (CFG-9), at most `i32::MAX` ms, which is 24 days.
    pub fn delivery_timeout(self, timeout: Duration) -> ProducerBuilder {
        self.with("delivery.timeout.ms", millis(timeout))
    }

    /// `request.timeout.ms` (default 30 s): how long an answer may take, from the moment at which the connection takes the request
    /// (SND-4). After it the connection is closed and its requests are retried. At most `i32::MAX` ms; zero acts as one millisecond.
    pub fn request_timeout(self, timeout: Duration) -> ProducerBuilder {
        self.with("request.timeout.ms", millis(timeout))
    }

    /// `max.block.ms` (default 60 s): how long `send`, `reserve`, `topic`, `connect` and `partitions_for` wait, for metadata and room
    /// together (PRE-3). Zero: they fail where they would have to wait. [`Duration::MAX`]: without limit.
    pub fn max_block(self, timeout: Duration) -> ProducerBuilder {
        self.with("max.block.ms", millis(timeout))
    }

    /// `max.in.flight.requests.per.connection` (default 5): requests without an answer, for each broker. At least 1, and at most 5 with
    /// idempotence, which keeps the order with all of them.
    pub fn max_in_flight(self, requests: usize) -> ProducerBuilder {
        self.with("max.in.flight.requests.per.connection", requests.to_string())
    }

    /// `retries` (default and most `i32::MAX`): how often a batch is sent again. `delivery.timeout.ms` is the better bound (RTY-4). 0
    /// switches idempotence off, or is refused where that is asked for (CFG-7).
    pub fn retries(self, retries: u32) -> ProducerBuilder {
        self.with("retries", retries.to_string())
    }

    /// `retry.backoff.ms` (default 100 ms) and `retry.backoff.max.ms` (default 1 s): the wait before a batch is sent again, doubled with
    /// each further attempt, up to `max`, ±20 % (RTY-1). With a `max` below `initial` each wait is `max`.
    pub fn retry_backoff(self, initial: Duration, max: Duration) -> ProducerBuilder {
        self.with("retry.backoff.ms", millis(initial)).with("retry.backoff.max.ms", millis(max))
    }

    /// `topic.recreation`: what becomes of buffered records when their topic was deleted and created anew.
    pub fn topic_recreation(self, policy: TopicRecreation) -> ProducerBuilder {
        self.with(
            "topic.recreation",
            match policy {
                TopicRecreation::Follow => "follow",
                TopicRecreation::Fail => "fail",
                TopicRecreation::Hold => "hold",
            },
        )
    }

    /// `stop.on.failure`: topics in which the records of a partition behind one that failed fail, too, until
    /// [`Producer::resume`]. Adds to what was set before.
    pub fn stop_on_failure(self, topic: impl AsRef<str>) -> ProducerBuilder {
        let set = self.settings.iter().rev().find(|setting| setting.key == "stop.on.failure");
        let topics = match set {
            Some(setting) => format!("{},{}", setting.value, topic.as_ref()),
            None => topic.as_ref().to_owned(),
        };
        self.with("stop.on.failure", topics)
    }

    /// `client.id` (default `producer-N`): the name in the brokers' logs, quotas and in metrics. At most 32767 bytes (CFG-15).
    pub fn client_id(self, id: impl Into<String>) -> ProducerBuilder {
        self.with("client.id", id.into())
    }

    /// Adds an interceptor at the end of the chain (INT-1): it sees every record and every outcome.
    pub fn interceptor(mut self, interceptor: impl Interceptor + 'static) -> ProducerBuilder {
        self.attached.interceptors.push(Arc::new(interceptor));
        self
    }

    /// Chooses the partition of records that name none (PAR-18), in the place of `partitioner.class`; the last one counts.
    pub fn partitioner(mut self, partitioner: impl Partitioner + 'static) -> ProducerBuilder {
        self.settings.retain(|setting| setting.key != "partitioner.class");
        self.attached.partitioner = Some(Arc::new(partitioner));
        self
    }

    /// Writes every record that is accepted and not delivered to a file, from which it can be sent again (SEND-2). Its outcome is told
    /// when it is there. Records that `send` refuses are put there by [`Producer::keep_failed`].
    ///
    /// The file is opened by [`build`](Self::build). A producer with such a file takes, when it closes, up to ten seconds longer than
    /// [`close`](Producer::close) was given, if a slow disk needs them.
    pub fn failed_records(mut self, file: FailedRecords) -> ProducerBuilder {
        self.attached.failed_records = Some(file);
        self
    }

    /// Has callbacks and interceptors run by an executor instead of the sender's thread (SND-11), which they then cannot hold up.
    /// It is called with jobs, on any thread, and has to run each of them once, soon, and not inside the call.
    ///
    /// A partition's callbacks keep their order (CMPL-3): there is one job at a time for each partition. What has not run yet stays
    /// charged to `buffer.memory`, so an executor that stands still ends in `send` waiting for room. `flush` and `close` wait for
    /// callbacks; do not wait for them in a thread that the executor needs. What fails before a record is accepted is still told on
    /// the thread that sent it (CMPL-5).
    ///
    /// ```
    /// # let (jobs, work) = std::sync::mpsc::channel::<rohrpost::Job>();
    /// let worker = std::thread::spawn(move || work.into_iter().for_each(rohrpost::Job::run));
    /// let builder = rohrpost::Producer::builder("localhost:9092").callbacks_on(move |job| {
    ///     let _ = jobs.send(job); // a job that nobody takes runs when it is dropped
    /// });
    /// # drop(builder);
    /// # worker.join().unwrap();
    /// ```
    pub fn callbacks_on(mut self, executor: impl Fn(Job) + Send + Sync + 'static) -> ProducerBuilder {
        self.attached.callbacks_on = Some(Arc::new(executor));
        self
    }

    /// Checks all settings. Nothing is started, and nothing goes to the log: warnings are [`build`](Self::build)'s.
    ///
    /// A default `client.id` is taken from a count of the process (CFG-15), so two calls give two ids.
    ///
    /// # Errors
    /// All mistakes at once (CFG-6), each with key, value, where it was set and what is right. Warnings (old keys, keys without
    /// effect) go to the log and are no errors.
    pub fn check(&self) -> Result<Config, ConfigErrors> {
        resolve::resolve(&self.settings).0
    }

    /// Checks all settings and starts the producer: its sender thread, and no connection yet. Names are resolved later, on
    /// a thread of their own, so this never waits for the network, and a cluster that cannot be reached is no error here.
    ///
    /// # Blocking
    /// Runs `configure` of interceptors and partitioner, and opens the failed-records file if there is one.
    ///
    /// # Errors
    /// [`BuildError::Config`] with *all* mistakes, or with what interceptors or the partitioner say against the settings;
    /// [`BuildError::FailedRecords`] if that file cannot be written; [`BuildError::Io`] if the system gives no thread or no poll.
    pub fn build(self) -> Result<Producer, BuildError> {
        let (config, attached) = self.prepare()?;
        Producer::start(config, attached)
    }

    /// All settings checked, and the user's own code configured with them.
    pub(crate) fn prepare(self) -> Result<(Config, Attached), BuildError> {
        let config = resolve::resolve_and_warn(&self.settings)?;
        let given: Vec<_> = self.settings.into_iter().map(|setting| (setting.key, setting.value)).collect();
        let settings = InterceptorSettings { config: &config, given: &given };
        let mut errors = Vec::new();
        for interceptor in &self.attached.interceptors {
            if let Err(problem) = interceptor.configure(&settings) {
                errors.push(ConfigError { key: None, value: None, origin: Origin::Code, problem });
            }
        }
        if let Some(partitioner) = &self.attached.partitioner
            && let Err(problem) = partitioner.configure(&settings)
        {
            errors.push(ConfigError { key: None, value: None, origin: Origin::Code, problem });
        }
        if !errors.is_empty() {
            return Err(ConfigErrors::new(errors).into());
        }
        Ok((config, self.attached))
    }

    /// The user's own code.
    #[cfg(feature = "simulate")]
    pub(crate) fn attached(&self) -> Attached {
        self.attached.clone()
    }

    fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> ProducerBuilder {
        let key = key.into();
        if key == "partitioner.class" {
            self.attached.partitioner = None;
        }
        self.settings.push(Setting { key, value: value.into(), origin: Origin::Code });
        self
    }
}

/// Shows the settings, secrets hidden (CFG-5).
impl fmt::Debug for ProducerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.settings.iter().map(|s| (&s.key, keys::shown(&s.key, &s.value)))).finish()
    }
}

/// The keys and values that say the same as `compression`.
pub(super) fn compression_settings(compression: Compression) -> impl Iterator<Item = (&'static str, String)> {
    let (name, level) = match compression {
        Compression::None => ("none", None),
        Compression::Snappy => ("snappy", None),
        Compression::Gzip(level) => ("gzip", Some(("compression.gzip.level", level.to_string()))),
        Compression::Lz4(level) => ("lz4", Some(("compression.lz4.level", level.to_string()))),
        Compression::Zstd(level) => ("zstd", Some(("compression.zstd.level", level.to_string()))),
    };
    [Some(("compression.type", name.to_owned())), level].into_iter().flatten()
}

/// Whole milliseconds, rounded up; what no `long` holds is the largest, which for `max.block.ms` means without limit.
pub(super) fn millis(duration: Duration) -> String {
    duration.as_nanos().div_ceil(1_000_000).min(i64::MAX as u128).to_string()
}
