//! What the simulated brokers share with the real one, so that both make the same answers of the same facts. Hidden: it is for
//! `rohrpost-sim` alone and changes as it likes.
//!
//! Only pure functions over requests, images and the results of appends. Who leads, what is in sync and how long an answer waits
//! is the simulator's own until replication is here.

pub use crate::handler::api_versions::{is_valid as is_valid_software, served as api_versions_response};
pub use crate::handler::init_producer_id::{
    check as check_init_producer_id, response as init_producer_id_response,
};
pub use crate::handler::metadata::{missing_topics, response as metadata_response};
pub use crate::handler::produce::{
    add_endpoint, appended_response, bad_shape, failed_response, has_transactional_batch,
};
pub use crate::handler::{INTERNAL_TOPICS, SERVED};
pub use crate::purgatory::Committed;
pub use crate::replica::{AppendFailure, Appended};
