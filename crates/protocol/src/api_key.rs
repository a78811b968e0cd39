//! API keys: what a request asks for.

use std::fmt;

use crate::{VersionRange, messages::Api};

macro_rules! api_keys {
    ($($name:ident = $key:literal,)*) => {
        /// The APIs of Kafka 4.3, by the names that its documentation and logs use.
        ///
        /// All keys have a name here. Those whose messages this crate has, have [versions](Self::versions) too.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        #[allow(missing_docs)] // the names are Kafka's; `docs/reference/apis.tsv` says what each is for
        pub enum ApiKey {
            $($name = $key,)*
        }

        impl ApiKey {
            /// All keys, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The API of a key from the wire.
            pub fn from_i16(key: i16) -> Option<Self> {
                match key {
                    $($key => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The API's name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

api_keys! {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    LeaderAndIsr = 4,
    StopReplica = 5,
    UpdateMetadata = 6,
    ControlledShutdown = 7,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    LeaveGroup = 13,
    SyncGroup = 14,
    DescribeGroups = 15,
    ListGroups = 16,
    SaslHandshake = 17,
    ApiVersions = 18,
    CreateTopics = 19,
    DeleteTopics = 20,
    DeleteRecords = 21,
    InitProducerId = 22,
    OffsetForLeaderEpoch = 23,
    AddPartitionsToTxn = 24,
    AddOffsetsToTxn = 25,
    EndTxn = 26,
    WriteTxnMarkers = 27,
    TxnOffsetCommit = 28,
    DescribeAcls = 29,
    CreateAcls = 30,
    DeleteAcls = 31,
    DescribeConfigs = 32,
    AlterConfigs = 33,
    AlterReplicaLogDirs = 34,
    DescribeLogDirs = 35,
    SaslAuthenticate = 36,
    CreatePartitions = 37,
    CreateDelegationToken = 38,
    RenewDelegationToken = 39,
    ExpireDelegationToken = 40,
    DescribeDelegationToken = 41,
    DeleteGroups = 42,
    ElectLeaders = 43,
    IncrementalAlterConfigs = 44,
    AlterPartitionReassignments = 45,
    ListPartitionReassignments = 46,
    OffsetDelete = 47,
    DescribeClientQuotas = 48,
    AlterClientQuotas = 49,
    DescribeUserScramCredentials = 50,
    AlterUserScramCredentials = 51,
    Vote = 52,
    BeginQuorumEpoch = 53,
    EndQuorumEpoch = 54,
    DescribeQuorum = 55,
    AlterPartition = 56,
    UpdateFeatures = 57,
    Envelope = 58,
    FetchSnapshot = 59,
    DescribeCluster = 60,
    DescribeProducers = 61,
    BrokerRegistration = 62,
    BrokerHeartbeat = 63,
    UnregisterBroker = 64,
    DescribeTransactions = 65,
    ListTransactions = 66,
    AllocateProducerIds = 67,
    ConsumerGroupHeartbeat = 68,
    ConsumerGroupDescribe = 69,
    ControllerRegistration = 70,
    GetTelemetrySubscriptions = 71,
    PushTelemetry = 72,
    AssignReplicasToDirs = 73,
    ListConfigResources = 74,
    DescribeTopicPartitions = 75,
    ShareGroupHeartbeat = 76,
    ShareGroupDescribe = 77,
    ShareFetch = 78,
    ShareAcknowledge = 79,
    AddRaftVoter = 80,
    RemoveRaftVoter = 81,
    UpdateRaftVoter = 82,
    InitializeShareGroupState = 83,
    ReadShareGroupState = 84,
    WriteShareGroupState = 85,
    DeleteShareGroupState = 86,
    ReadShareGroupStateSummary = 87,
    StreamsGroupHeartbeat = 88,
    StreamsGroupDescribe = 89,
    DescribeShareGroupOffsets = 90,
    AlterShareGroupOffsets = 91,
    DeleteShareGroupOffsets = 92,
}

impl ApiKey {
    /// The versions that this crate can read and write and that are stable; none if it does not have the API's messages.
    pub fn versions(self) -> VersionRange {
        self.api().map_or(VersionRange::NONE, |api| api.stable_versions)
    }

    /// The same, and versions that Kafka knows but has not put in force. They must not be advertised.
    pub fn all_versions(self) -> VersionRange {
        self.api().map_or(VersionRange::NONE, |api| api.versions)
    }

    /// What a broker that serves all of [`versions`](Self::versions) lists in its ApiVersions response.
    pub fn advertised_versions(self) -> VersionRange {
        match self {
            // VER-5: old librdkafka looks at the low end for what a broker is; versions 0 to 2 are refused when used
            Self::Produce => VersionRange { min: 0, ..self.versions() },
            _ => self.versions(),
        }
    }

    /// The versions with compact lengths and tagged fields.
    pub fn is_flexible(self, version: i16) -> bool {
        self.api().is_some_and(|api| api.flexible_versions.contains(version))
    }

    /// The version of the header before a request: 2 if the request is flexible, else 1.
    ///
    /// Of an API whose messages this crate does not have, 1: what both headers begin with.
    pub fn request_header_version(self, version: i16) -> i16 {
        // G3: whoever asks for a version that does not exist is newer than this crate, and that has been flexible
        // since version 3
        let newer_than_known = self == Self::ApiVersions && !self.all_versions().contains(version);
        if newer_than_known || self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the header before a response: 1 if the response is flexible, else 0.
    ///
    /// ApiVersions is answered with header 0 always: the client cannot know yet what the broker understands.
    pub fn response_header_version(self, version: i16) -> i16 {
        i16::from(self != Self::ApiVersions && self.is_flexible(version))
    }

    pub(crate) fn api(self) -> Option<&'static Api> {
        Api::of_key(self)
    }
}

impl TryFrom<i16> for ApiKey {
    /// The key that has no name.
    type Error = i16;

    fn try_from(key: i16) -> Result<Self, i16> {
        Self::from_i16(key).ok_or(key)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
