//! ApiVersions, Metadata and InitProducerId: the real broker's answers, of what a simulated one believes; and the faults that
//! change them.

use std::sync::Arc;

use rohrpost_broker::model;
use rohrpost_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest, MetadataRequest, MetadataResponse,
};
use rohrpost_protocol::{ApiKey, Decoder, ErrorCode, Message, VersionRange};

use super::requests::{Head, Outcome};
use super::{Action, Cluster, LISTENER, TopicSpec};

impl Cluster {
    pub(super) fn api_versions(&mut self, node: i32, head: Head, frame: &[u8]) -> Outcome {
        let served = self.served(node, ApiKey::ApiVersions);
        if !served.contains(head.version) {
            // G3
            let mut refusal = ApiVersionsResponse::unsupported();
            for own in &mut refusal.api_keys {
                own.max_version = own.max_version.min(served.max);
            }
            self.count(ApiKey::ApiVersions, ErrorCode::UNSUPPORTED_VERSION);
            return Cluster::respond(head, 0, &refusal, 0);
        }
        let Ok(request) = ApiVersionsRequest::decode(&mut Decoder::new(&frame[head.body..]), head.version)
        else {
            return Outcome::Close; // G2
        };
        let refused = (head.version >= 3 && !model::is_valid_software(&request))
            .then_some(ErrorCode::INVALID_REQUEST) // G4
            .or_else(|| self.take_error(ApiKey::ApiVersions, None).map(|(code, _)| code));
        let throttle_ms = self.take_throttle(node);
        self.count(ApiKey::ApiVersions, refused.unwrap_or(ErrorCode::NONE));
        let Some(image) = self.broker(node).map(|broker| Arc::clone(&broker.image)) else {
            return Outcome::Close;
        };
        let limit = |api, range: VersionRange| range.intersect(self.served(node, api));
        let mut response = match refused {
            Some(error_code) => ApiVersionsResponse { error_code, ..Default::default() },
            None => model::api_versions_response(&image, limit),
        };
        response.throttle_time_ms = throttle_ms as i32;
        Cluster::respond(head, head.version, &response, throttle_ms)
    }

    pub(super) fn metadata(&mut self, node: i32, head: Head, frame: &[u8]) -> Outcome {
        let Ok(request) = MetadataRequest::decode(&mut Decoder::new(&frame[head.body..]), head.version)
        else {
            return Outcome::Close; // G2
        };
        let Some(broker) = self.broker_mut(node) else { return Outcome::Close };
        let image = Arc::clone(&broker.image);
        let is_empty = broker.orders.empty_metadata > 0;
        broker.orders.empty_metadata = broker.orders.empty_metadata.saturating_sub(1);
        let throttle_ms = self.take_throttle(node);
        if self.config.auto_create_topics {
            for name in model::missing_topics(&request, head.version, &image) {
                let at_ms = self.now_ms + self.within(self.config.metadata_delay_ms);
                // M6: like the broker's default, under the name that was asked for
                let spec = Box::new(TopicSpec { name: name.to_owned(), ..TopicSpec::default() });
                self.timers.order(at_ms, Action::Create { spec });
            }
        }
        let mut response = model::metadata_response(&request, head.version, &image, LISTENER, node, None);
        self.spoil(&mut response);
        if is_empty {
            response.brokers.clear();
            response.controller_id = -1;
        }
        response.throttle_time_ms = throttle_ms as i32;
        for topic in &response.topics {
            self.count(ApiKey::Metadata, topic.error_code);
        }
        if response.error_code.is_error() {
            self.count(ApiKey::Metadata, response.error_code);
        }
        Cluster::respond(head, head.version, &response, throttle_ms)
    }

    /// Ordered errors: of one partition, of all topics, or of the answer as a whole.
    fn spoil(&mut self, response: &mut MetadataResponse<'_>) {
        for topic in &mut response.topics {
            let Some(name) = topic.name else { continue };
            for partition in &mut topic.partitions {
                let asked = Some((name, partition.partition_index));
                let Some((code, _)) = self.take_named_error(ApiKey::Metadata, asked) else { continue };
                partition.error_code = code;
                partition.leader_id = -1;
            }
        }
        match self.take_error(ApiKey::Metadata, None) {
            Some((ErrorCode::REBOOTSTRAP_REQUIRED, _)) => {
                response.error_code = ErrorCode::REBOOTSTRAP_REQUIRED;
            }
            Some((code, _)) => {
                for topic in &mut response.topics {
                    topic.error_code = code;
                    topic.partitions.clear();
                }
            }
            None => {}
        }
    }

    pub(super) fn init_producer_id(&mut self, node: i32, head: Head, frame: &[u8]) -> Outcome {
        let body = &mut Decoder::new(&frame[head.body..]);
        let Ok(request) = InitProducerIdRequest::decode(body, head.version) else { return Outcome::Close }; // G2
        let throttle_ms = self.take_throttle(node);
        let result = match self.take_error(ApiKey::InitProducerId, None) {
            Some((code, _)) => Err(code),
            None => model::check_init_producer_id(&request).map(|()| {
                self.next_producer_id += 1;
                self.next_producer_id - 1
            }),
        };
        self.count(ApiKey::InitProducerId, result.err().unwrap_or(ErrorCode::NONE));
        let mut response = model::init_producer_id_response(result);
        response.throttle_time_ms = throttle_ms as i32;
        Cluster::respond(head, head.version, &response, throttle_ms)
    }

    pub(super) fn count(&mut self, api: ApiKey, code: ErrorCode) {
        *self.counts.answers.entry((api as i16, code.0)).or_default() += 1;
    }

    /// The ordered error for this, if any, with whether it comes after the append. Each counts once.
    pub(super) fn take_error(
        &mut self,
        api: ApiKey,
        partition: Option<(&str, i32)>,
    ) -> Option<(ErrorCode, bool)> {
        self.take_error_if(api, |ordered| match (ordered, partition) {
            (None, _) => true,
            (Some((name, index)), Some(asked)) => (name.as_str(), *index) == asked,
            (Some(_), None) => false,
        })
    }

    /// The same, without errors that are for any partition.
    fn take_named_error(&mut self, api: ApiKey, partition: Option<(&str, i32)>) -> Option<(ErrorCode, bool)> {
        self.take_error_if(api, |ordered| {
            ordered.as_ref().map(|(name, index)| (name.as_str(), *index)) == partition
        })
    }

    fn take_error_if(
        &mut self,
        api: ApiKey,
        fits: impl Fn(&Option<(String, i32)>) -> bool,
    ) -> Option<(ErrorCode, bool)> {
        let at = self
            .errors
            .iter()
            .position(|error| error.api == api && error.times > 0 && fits(&error.partition))?;
        let error = &mut self.errors[at];
        error.times -= 1;
        let taken = (error.code, error.after_append);
        if error.times == 0 {
            self.errors.remove(at);
        }
        Some(taken)
    }
}
