//! IncrementalAlterConfigs (44) and, for old clients, AlterConfigs (33): settings of topics and brokers are changed. Checks
//! and decisions are the controller's (M10); here they get their form on the wire.

use rohrpost_protocol::messages::{alter_configs, incremental_alter_configs};
use rohrpost_protocol::{Decoder, ErrorCode};

use super::{Context, Mode, Outcome, check_broker_name, read, respond};
use crate::controller::{AlterConfigs, ApiError, ConfigChange, ConfigOp, ConfigOps};
use crate::metadata::ConfigResource;

/// IncrementalAlterConfigs.
pub(super) fn handle_incremental(
    context: Context<'_>,
    input: &mut Decoder<'_>,
    mode: Mode,
) -> Result<Outcome, String> {
    use incremental_alter_configs::{
        AlterConfigsResourceResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    };
    let Context { version, correlation_id, .. } = context;
    let request: IncrementalAlterConfigsRequest<'_> = read(input, version)?;
    let resources = request.resources.iter().map(|resource| {
        let ops = resource.configs.iter().map(|config| ConfigOp {
            name: config.name.to_owned(),
            operation: config.config_operation,
            value: config.value.map(str::to_owned),
        });
        change(resource.resource_type, resource.resource_name, ConfigOps::Incremental(ops.collect()))
    });
    let results = alter(&context, resources.collect(), request.validate_only, mode);
    let responses = request.resources.iter().zip(&results).map(|(resource, result)| {
        let (error_code, error_message) = told(result);
        AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            ..Default::default()
        }
    });
    let response = IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() };
    respond(&response, version, correlation_id)
}

/// AlterConfigs: what is not named is deleted.
pub(super) fn handle_all(
    context: Context<'_>,
    input: &mut Decoder<'_>,
    mode: Mode,
) -> Result<Outcome, String> {
    use alter_configs::{AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse};
    let Context { version, correlation_id, .. } = context;
    let request: AlterConfigsRequest<'_> = read(input, version)?;
    let resources = request.resources.iter().map(|resource| {
        let all = resource.configs.iter();
        let all = all.map(|config| (config.name.to_owned(), config.value.map(str::to_owned))).collect();
        change(resource.resource_type, resource.resource_name, ConfigOps::Replace(all))
    });
    let results = alter(&context, resources.collect(), request.validate_only, mode);
    let responses = request.resources.iter().zip(&results).map(|(resource, result)| {
        let (error_code, error_message) = told(result);
        AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            ..Default::default()
        }
    });
    let response = AlterConfigsResponse { responses: responses.collect(), ..Default::default() };
    respond(&response, version, correlation_id)
}

fn change(resource_type: i8, name: &str, ops: ConfigOps) -> ConfigChange {
    ConfigChange { resource: ConfigResource { resource_type, name: name.to_owned() }, ops }
}

/// One result per resource (Q1).
fn alter(
    context: &Context<'_>,
    resources: Vec<ConfigChange>,
    validate_only: bool,
    mode: Mode,
) -> Vec<Result<(), ApiError>> {
    if let Mode::Refuse(code) = mode {
        return resources.iter().map(|_| Err(ApiError::new(code, code.message()))).collect();
    }
    let broker = context.broker;
    // a broker's own settings are that broker's affair; what is another's never reaches the controller
    let refused: Vec<Option<ApiError>> = resources
        .iter()
        .map(|ConfigChange { resource, .. }| match resource.resource_type {
            ConfigResource::BROKER if !resource.name.is_empty() => {
                check_broker_name(broker, &resource.name).err()
            }
            _ => None,
        })
        .collect();
    let count = resources.len();
    let passed = resources.into_iter().zip(&refused).filter(|(_, refused)| refused.is_none());
    let request = AlterConfigs { resources: passed.map(|(resource, _)| resource).collect(), validate_only };
    let mut answers =
        if count > 0 { broker.metadata().alter_configs(&request) } else { Vec::new() }.into_iter();
    let missing =
        || ApiError::new(ErrorCode::UNKNOWN_SERVER_ERROR, "the controller gave no answer for this resource");
    let result = |refused: Option<ApiError>| match refused {
        Some(error) => Err(error),
        None => answers.next().unwrap_or_else(|| Err(missing())),
    };
    refused.into_iter().map(result).collect()
}

fn told(result: &Result<(), ApiError>) -> (ErrorCode, Option<&str>) {
    match result {
        Ok(()) => (ErrorCode::NONE, None),
        Err(error) => (error.code, Some(&error.message)),
    }
}
