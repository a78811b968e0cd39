//! DescribeCluster (60): the brokers of a cluster, or its controllers.

use crate::{ErrorCode, Message, UnknownTags};

/// Which endpoints to describe.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = DescribeCluster, response = DescribeClusterResponse<'r>, versions = "0-2", flexible = "all")]
pub struct DescribeClusterRequest {
    /// Whether to say what the client may do with the cluster.
    pub include_cluster_authorized_operations: bool,
    /// What to describe: 1 brokers, 2 controllers.
    #[kafka(versions = "1+", default = 1)]
    pub endpoint_type: i8,
    /// Whether to list brokers that are fenced.
    #[kafka(versions = "2+")]
    pub include_fenced_brokers: bool,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The endpoints of a cluster.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = DescribeCluster, versions = "0-2", flexible = "all")]
pub struct DescribeClusterResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// More about the error, for people.
    #[kafka(default = null)]
    pub error_message: Option<&'a str>,
    /// What to describe: 1 brokers, 2 controllers.
    #[kafka(versions = "1+", default = 1)]
    pub endpoint_type: i8,
    /// The cluster's id.
    pub cluster_id: &'a str,
    /// The broker to send admin requests to; -1: none known.
    #[kafka(default = -1)]
    pub controller_id: i32,
    /// The brokers.
    pub brokers: Vec<DescribeClusterBroker<'a>>,
    /// What the client may do with the cluster, a bit for each operation; the smallest number: was not asked
    /// for.
    #[kafka(default = i32::MIN)]
    pub cluster_authorized_operations: i32,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A broker or controller and where to reach it.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DescribeClusterBroker<'a> {
    /// The broker's id.
    pub broker_id: i32,
    /// The host name or address.
    pub host: &'a str,
    /// The port.
    pub port: i32,
    /// The rack or availability zone; null if it has none.
    #[kafka(default = null)]
    pub rack: Option<&'a str>,
    /// Whether the broker is fenced.
    #[kafka(versions = "2+")]
    pub is_fenced: bool,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
