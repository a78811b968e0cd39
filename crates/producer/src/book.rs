//! The book's pages, so that the tests compile and run their code. `scripts/book` fails for a page with code that is not here.

#[doc = include_str!("../../../README.md")]
struct Readme;

#[doc = include_str!("../../../docs/sending.md")]
struct Sending;

#[doc = include_str!("../../../docs/callbacks.md")]
struct Callbacks;

#[doc = include_str!("../../../docs/mock-producer.md")]
struct MockProducer;

#[doc = include_str!("../../../docs/metrics.md")]
struct Metrics;

#[doc = include_str!("../../../docs/outcomes.md")]
struct Outcomes;

#[doc = include_str!("../../../docs/recipes/ingest.md")]
struct Ingest;

#[doc = include_str!("../../../docs/recipes/clicks.md")]
struct Clicks;

#[doc = include_str!("../../../docs/recipes/binlog.md")]
struct Binlog;

#[doc = include_str!("../../../docs/recipes/one-producer.md")]
struct OneProducer;

#[doc = include_str!("../../../docs/migrating/from-java.md")]
struct FromJava;

#[doc = include_str!("../../../docs/migrating/from-rdkafka.md")]
struct FromRdkafka;
