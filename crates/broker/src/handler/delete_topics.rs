//! DeleteTopics (20): by name or by id (M4). The partitions' logs go when the deletion is committed (D26).

use rohrpost_protocol::messages::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use rohrpost_protocol::{Decoder, ErrorCode, Uuid};

use super::{Context, Mode, Outcome, read, respond};
use crate::controller::{ApiError, DeletedTopic, TopicRef};

/// From this version on topics come with name or id.
const STATES_SINCE: i16 = 6;

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { broker, version, correlation_id, .. } = context;
    let request: DeleteTopicsRequest<'_> = read(input, version)?;
    let asked: Vec<(Option<&str>, Uuid)> = if version >= STATES_SINCE {
        request.topics.iter().map(|topic| (topic.name, topic.topic_id)).collect()
    } else {
        request.topic_names.iter().map(|name| (Some(*name), Uuid::ZERO)).collect()
    };

    // exactly one of name and id must be there; what is neither never reaches the controller
    let wanted: Vec<Option<TopicRef>> = asked
        .iter()
        .map(|(name, id)| match name {
            Some(name) if id.is_zero() => Some(TopicRef::Name((*name).to_owned())),
            None if !id.is_zero() => Some(TopicRef::Id(*id)),
            _ => None,
        })
        .collect();
    let mut answers = match mode {
        Mode::Refuse(code) => vec![Err(ApiError::new(code, code.message())); asked.len()],
        Mode::Serve => broker.metadata().delete_topics(&wanted.iter().flatten().cloned().collect::<Vec<_>>()),
    }
    .into_iter();
    let results: Vec<Result<DeletedTopic, ApiError>> = wanted
        .iter()
        .map(|wanted| {
            let both =
                || ApiError::new(ErrorCode::INVALID_REQUEST, "a topic is named by its name or by its id");
            let none = || {
                ApiError::new(ErrorCode::UNKNOWN_SERVER_ERROR, "the controller gave no answer for this topic")
            };
            if wanted.is_none() && mode == Mode::Serve {
                return Err(both());
            }
            answers.next().unwrap_or_else(|| Err(none()))
        })
        .collect();
    let responses = asked.iter().zip(&results).map(|(asked, result)| entry(*asked, result)).collect();
    respond(&DeleteTopicsResponse { responses, ..Default::default() }, version, correlation_id)
}

fn entry<'a>(
    (name, topic_id): (Option<&'a str>, Uuid),
    result: &'a Result<DeletedTopic, ApiError>,
) -> DeletableTopicResult<'a> {
    match result {
        Ok(deleted) => {
            DeletableTopicResult { name: Some(&deleted.name), topic_id: deleted.id, ..Default::default() }
        }
        Err(error) => DeletableTopicResult {
            name,
            topic_id,
            error_code: error.code,
            error_message: Some(&error.message),
            ..Default::default()
        },
    }
}
