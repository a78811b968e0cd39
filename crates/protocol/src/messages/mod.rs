//! Requests and responses, one module per API.
//!
//! Structs and fields have the names of Kafka's tables (`docs/reference/messages/api`), fields in snake case. The names of
//! inner structs are unique within an API only: where two APIs share one, take it from the API's module.
//!
//! Arrays inside partitions are boxed slices: there are many of them in one message, and a word less in each keeps
//! honest answers away from the bound on memory. `vec.into()` and `collect()` make one.
//!
//! The list below is all that the rest of the crate knows of an API. `docs/adding-an-api.md` says how to add one.

use std::fmt;

use crate::{
    ApiKey, Message, Request, VersionRange,
    body::{CodecError, describe, reencode},
};

pub mod common;

macro_rules! apis {
    ($($(#[$doc:meta])* $module:ident: $request:ident,)*) => {
        $($(#[$doc])* pub mod $module;)*
        // two APIs may share the name of an inner struct; the module's documentation says what to do then
        #[allow(ambiguous_glob_reexports)]
        mod names {
            $(pub use super::$module::*;)*
        }
        #[allow(ambiguous_glob_reexports)]
        pub use self::names::*;

        // whether a request borrows, and so has a lifetime, is its own affair
        #[allow(elided_lifetimes_in_paths)]
        const APIS: &[Api] = &[$(Api {
            key: <$module::$request as Request>::API_KEY,
            versions: <$module::$request as Message>::VERSIONS,
            stable_versions: <$module::$request as Message>::STABLE_VERSIONS,
            flexible_versions: <$module::$request as Message>::FLEXIBLE_VERSIONS,
            reencode_request: |body, version| reencode::<$module::$request>(body, version),
            reencode_response: |body, version| reencode::<<$module::$request as Request>::Response<'_>>(body, version),
            describe_request: |body, version| describe::<$module::$request>(body, version),
            describe_response: |body, version| describe::<<$module::$request as Request>::Response<'_>>(body, version),
        },)*];
    };
}

apis! {
    /// Appends batches to partitions.
    produce: ProduceRequest,
    /// Reads batches from partitions.
    fetch: FetchRequest,
    /// Finds offsets by time, and the ends of a log.
    list_offsets: ListOffsetsRequest,
    /// Which brokers there are, and who leads which partition.
    metadata: MetadataRequest,
    /// Which broker coordinates a group or a transactional id.
    find_coordinator: FindCoordinatorRequest,
    /// Which versions of which APIs a broker serves.
    api_versions: ApiVersionsRequest,
    /// Creates topics.
    create_topics: CreateTopicsRequest,
    /// Deletes topics.
    delete_topics: DeleteTopicsRequest,
    /// Gives an idempotent or transactional producer its id and epoch.
    init_producer_id: InitProducerIdRequest,
    /// Where a leader epoch ended in a log.
    offset_for_leader_epoch: OffsetForLeaderEpochRequest,
    /// The configuration of topics and brokers.
    describe_configs: DescribeConfigsRequest,
    /// Adds partitions to topics.
    create_partitions: CreatePartitionsRequest,
    /// Changes single configuration values.
    incremental_alter_configs: IncrementalAlterConfigsRequest,
    /// The brokers or controllers of a cluster.
    describe_cluster: DescribeClusterRequest,
    /// The partitions of topics, page by page.
    describe_topic_partitions: DescribeTopicPartitionsRequest,
}

/// What the crate knows of an API without knowing the types of its messages.
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    pub(crate) versions: VersionRange,
    pub(crate) stable_versions: VersionRange,
    pub(crate) flexible_versions: VersionRange,
    pub(crate) reencode_request: Reencode,
    pub(crate) reencode_response: Reencode,
    pub(crate) describe_request: Describe,
    pub(crate) describe_response: Describe,
}

type Reencode = fn(&[u8], i16) -> Result<Vec<u8>, CodecError>;
type Describe = fn(&[u8], i16) -> Result<String, CodecError>;

impl Api {
    pub(crate) fn of_key(key: ApiKey) -> Option<&'static Self> {
        BY_KEY[key as usize].map(|i| &APIS[i])
    }
}

/// The place in `APIS` of each API key.
static BY_KEY: [Option<usize>; ApiKey::ALL.len()] = {
    let mut by_key = [None; ApiKey::ALL.len()];
    let mut i = 0;
    while i < APIS.len() {
        let key = APIS[i].key as usize;
        assert!(by_key[key].is_none(), "two requests have the same API key");
        by_key[key] = Some(i);
        i += 1;
    }
    by_key
};

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.versions)
    }
}
