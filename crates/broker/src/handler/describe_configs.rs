//! DescribeConfigs (32): settings in force, where they come from and what they mean (M9).

use std::collections::BTreeSet;

use rohrpost_protocol::messages::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use rohrpost_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use rohrpost_protocol::{Decoder, ErrorCode, topic_name};

use super::{Context, Mode, Outcome, check_broker_name, read, respond};
use crate::config::describe::{self, Described};
use crate::controller::ApiError;
use crate::metadata::{ConfigResource, MetadataImage};
use crate::server::Broker;

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { broker, version, correlation_id, .. } = context;
    let request: DescribeConfigsRequest<'_> = read(input, version)?;
    let image = broker.metadata().image();
    let mut seen = BTreeSet::new();
    let described: Vec<Result<Vec<Described>, ApiError>> = request
        .resources
        .iter()
        .map(|resource| {
            if let Mode::Refuse(code) = mode {
                return Err(ApiError::new(code, code.message()));
            }
            // an answer is many times larger than the question: naming one topic a million times must not cost its settings
            // a million times
            if !seen.insert((resource.resource_type, resource.resource_name)) {
                return Err(ApiError::new(
                    ErrorCode::INVALID_REQUEST,
                    "Each resource must appear at most once.",
                ));
            }
            describe(broker, &image, resource)
        })
        .collect();
    let results = request.resources.iter().zip(&described);
    let results = results.map(|(resource, described)| entry(&request, resource, described)).collect();
    respond(&DescribeConfigsResponse { results, ..Default::default() }, version, correlation_id)
}

fn describe(
    broker: &Broker,
    image: &MetadataImage,
    resource: &DescribeConfigsResource<'_>,
) -> Result<Vec<Described>, ApiError> {
    let name = resource.resource_name;
    let mut described = match resource.resource_type {
        ConfigResource::TOPIC => {
            topic_name::check(name).map_err(|problem| {
                let message = format!("Topic name is invalid: {problem}");
                ApiError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message) // M1
            })?;
            let topic = image.topic(name).ok_or_else(|| {
                let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                ApiError::new(code, code.message())
            })?;
            describe::of_topic(&broker.topic_defaults(image), &topic.configs)
        }
        ConfigResource::BROKER if name.is_empty() => describe::of_all_brokers(image),
        ConfigResource::BROKER => {
            check_broker_name(broker, name)?;
            describe::of_broker(broker.config(), image)
        }
        other => {
            return Err(ApiError::new(
                ErrorCode::INVALID_REQUEST,
                format!(
                    "Unsupported resource type {other}: this broker has settings for topics (2) and brokers (4)."
                ),
            ));
        }
    };
    // null and an empty list mean all
    if let Some(wanted) = resource.configuration_keys.as_deref().filter(|wanted| !wanted.is_empty()) {
        let wanted: BTreeSet<&str> = wanted.iter().copied().collect();
        described.retain(|setting| wanted.contains(setting.meaning.name));
    }
    Ok(described)
}

fn entry<'a>(
    request: &DescribeConfigsRequest<'a>,
    resource: &DescribeConfigsResource<'a>,
    described: &'a Result<Vec<Described>, ApiError>,
) -> DescribeConfigsResult<'a> {
    let DescribeConfigsResource { resource_type, resource_name, .. } = *resource;
    match described {
        Ok(described) => DescribeConfigsResult {
            error_message: None,
            resource_type,
            resource_name,
            configs: described.iter().map(|setting| config(request, setting)).collect(),
            ..Default::default()
        },
        Err(error) => DescribeConfigsResult {
            error_code: error.code,
            error_message: Some(&error.message),
            resource_type,
            resource_name,
            ..Default::default()
        },
    }
}

/// M9: no key that this broker knows holds a secret, so no value is hidden.
fn config<'a>(
    request: &DescribeConfigsRequest<'_>,
    setting: &'a Described,
) -> DescribeConfigsResourceResult<'a> {
    // M9
    let synonyms = setting.synonyms.iter().filter(|_| request.include_synonyms);
    let synonyms = synonyms.map(|synonym| DescribeConfigsSynonym {
        name: synonym.name,
        value: Some(&synonym.value),
        source: synonym.source.id(),
        ..Default::default()
    });
    DescribeConfigsResourceResult {
        name: setting.meaning.name,
        value: setting.value.as_deref(),
        read_only: setting.read_only,
        config_source: setting.source.id(),
        is_sensitive: false,
        synonyms: synonyms.collect(),
        config_type: setting.meaning.value_type as i8,
        documentation: request.include_documentation.then_some(setting.meaning.text),
        ..Default::default()
    }
}
