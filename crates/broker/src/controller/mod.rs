//! The controller: who decides about topics, partitions, leaders and producer ids, and the door to it.
//!
//! A broker never invents metadata. It knows its cluster through one interface, [`MetadataSource`], which has a stream of
//! committed changes and a handful of proposals (C25). Today one thing stands behind it, the [`LocalController`]: one static
//! controller in the process, without consensus. For high availability of metadata use Apache Kafka's controllers: the
//! same interface is meant for a member of such a cluster.
//!
//! * [`source`](MetadataSource): the interface, its requests and answers.
//! * `local`, `topics`, `partitions`, `configs`, `elections`, `brokers`, `placement`: the decisions, a deterministic machine without I/O (C22).
//! * `log`: the metadata log `__cluster_metadata-0` on `rohrpost-log` (C7, C21, C26); `snapshot`: its snapshots (C6).
//! * `driver`: appends, syncs, applies, tells the listeners; then the caller gets its answer.

mod brokers;
mod configs;
mod driver;
mod elections;
mod local;
mod log;
mod partitions;
mod placement;
mod records;
mod snapshot;
mod source;
mod topics;

pub use self::driver::{Clock, ControllerError, LocalController, StartOptions};
pub use self::local::{Controller, ControllerSettings};
pub use self::log::{MetadataLog, MetadataLogError, SnapshotPolicy};
pub use self::records::Proposal;
pub use self::source::{
    AlterConfigs, ApiError, BrokerHeartbeat, BrokerRegistration, ConfigChange, ConfigEntry, ConfigOp,
    ConfigOps, ConfigSource, CreatePartitions, CreateTopics, CreatedTopic, DeletedTopic, ElectLeaders,
    Election, HeartbeatAnswer, MetadataListener, MetadataSource, MorePartitions, NewTopic,
    PRODUCER_ID_BLOCK_LEN, ProducerIdBlock, ReplicaAssignment, TopicRef,
};
