//! Requests and responses, one module per API.
//!
//! Structs and fields have the names of Kafka's tables (`docs/reference/messages/api`), fields in snake case. The names of
//! inner structs are unique within an API only: where two APIs share one, take it from the API's module.
//!
//! `Default` gives Kafka's defaults. So an `Option` is `None` only where the table says `default=null`; elsewhere, as in
//! the transactional id of [`InitProducerIdRequest`], it begins as `Some` of something empty, and null must be said.
//!
//! Arrays inside partitions are boxed slices: there are many of them in one message, and a word less in each keeps
//! honest answers away from the bound on memory. `vec.into()` and `collect()` make one.
//!
//! The list below is all that the rest of the crate knows of an API. `docs/adding-an-api.md` says how to add one.

use crate::{
    ApiKey, Message, Request, VersionRange,
    body::{CodecError, describe, reencode},
};

pub mod alter_configs;
pub mod api_versions;
pub mod common;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_log_dirs;
pub mod describe_topic_partitions;
pub mod elect_leaders;
pub mod fetch;
pub mod find_coordinator;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_for_leader_epoch;
pub mod produce;

/// All APIs that this crate has: each one's module and its request. Hidden, for tests that need the types.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_api {
    ($then:ident) => {
        $then! {
            produce: ProduceRequest,
            fetch: FetchRequest,
            list_offsets: ListOffsetsRequest,
            metadata: MetadataRequest,
            find_coordinator: FindCoordinatorRequest,
            api_versions: ApiVersionsRequest,
            create_topics: CreateTopicsRequest,
            delete_topics: DeleteTopicsRequest,
            delete_records: DeleteRecordsRequest,
            init_producer_id: InitProducerIdRequest,
            offset_for_leader_epoch: OffsetForLeaderEpochRequest,
            describe_configs: DescribeConfigsRequest,
            alter_configs: AlterConfigsRequest,
            describe_log_dirs: DescribeLogDirsRequest,
            create_partitions: CreatePartitionsRequest,
            elect_leaders: ElectLeadersRequest,
            incremental_alter_configs: IncrementalAlterConfigsRequest,
            list_partition_reassignments: ListPartitionReassignmentsRequest,
            describe_cluster: DescribeClusterRequest,
            describe_topic_partitions: DescribeTopicPartitionsRequest,
        }
    };
}

macro_rules! apis {
    ($($module:ident: $request:ident,)*) => {
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

for_each_api!(apis);

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
