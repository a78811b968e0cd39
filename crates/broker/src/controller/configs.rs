//! Changing the settings of topics and brokers (M10): what is set is checked as a whole, written as records, and in force
//! when the answer goes out.

use std::collections::{BTreeMap, BTreeSet};

use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::metadata_log::ConfigRecord;

use super::local::Controller;
use super::records::{Changes, Proposal};
use super::source::{AlterConfigs, ApiError, ConfigChange, ConfigOp, ConfigOps};
use super::topics::{Answers, check_name, named_twice};
use crate::config::{TopicDefaults, describe};
use crate::metadata::ConfigResource;

/// The operations of [`ConfigOp::operation`].
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

type Settings = BTreeMap<String, String>;

impl Controller {
    /// Changes settings, all in one change; resources with an error are left out of it.
    pub fn alter_configs(&mut self, request: &AlterConfigs) -> Proposal<Answers<()>> {
        let twice = named_twice(request.resources.iter().map(|change| &change.resource));
        let mut changes = Changes::default();
        let answer = |change: &ConfigChange| {
            if twice.contains(&change.resource) {
                return Err(ApiError::new(
                    ErrorCode::INVALID_REQUEST,
                    "Each resource must appear at most once.",
                ));
            }
            self.alter(change, &mut changes)
        };
        let answers = request.resources.iter().map(answer).collect();
        if request.validate_only {
            return Proposal::nothing(answers);
        }
        changes.atomic(answers)
    }

    fn alter(&self, change: &ConfigChange, changes: &mut Changes) -> Result<(), ApiError> {
        let ConfigChange { resource, ops } = change;
        check_shape(ops)?;
        let current = self.current(resource)?;
        let defaults = self.topic_defaults();
        let wanted = match ops {
            ConfigOps::Incremental(ops) => self.changed(resource, &current, ops, &defaults)?,
            ConfigOps::Replace(all) => {
                all.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect()
            }
        };
        // M10: one bad value, and nothing of this resource changes
        match resource.resource_type {
            ConfigResource::TOPIC => defaults.validate(&wanted)?,
            _ => {
                describe::check_dynamic(&wanted)?;
                // what topics get from it must be something that their logs take
                self.settings.topic_defaults.with_broker_values(&wanted).validate(&Settings::new())?;
            }
        }
        write(resource, &current, &wanted, changes)
    }

    /// What is set for a resource that may be changed.
    fn current(&self, resource: &ConfigResource) -> Result<Settings, ApiError> {
        let ConfigResource { resource_type, name } = resource;
        let invalid = |message: String| ApiError::new(ErrorCode::INVALID_REQUEST, message);
        match *resource_type {
            ConfigResource::TOPIC if name.is_empty() => {
                Err(invalid("Default topic resources are not allowed.".to_owned()))
            }
            ConfigResource::TOPIC => {
                check_name(name)?; // M1
                match self.image().topic(name) {
                    Some(topic) => Ok(topic.configs.clone()),
                    None => Err(ApiError::new(
                        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                        format!("The topic '{name}' does not exist."),
                    )),
                }
            }
            ConfigResource::BROKER => {
                let known = |id: i32| self.image().broker(id).is_some() && id.to_string() == *name;
                if !name.is_empty() && !name.parse().is_ok_and(known) {
                    return Err(invalid(format!("No broker is registered with the id '{name}'.")));
                }
                Ok(self.image().configs.get(resource).cloned().unwrap_or_default())
            }
            other => Err(invalid(format!(
                "Resource type {other} cannot be altered: this broker has settings for topics (2) and brokers (4)."
            ))),
        }
    }

    /// The settings after these changes.
    fn changed(
        &self,
        resource: &ConfigResource,
        current: &Settings,
        ops: &[ConfigOp],
        defaults: &TopicDefaults,
    ) -> Result<Settings, ApiError> {
        // M10
        let mut wanted = current.clone();
        for ConfigOp { name, operation, value } in ops {
            let value = value.as_deref().unwrap_or_default();
            match *operation {
                SET => drop(wanted.insert(name.clone(), value.to_owned())),
                DELETE => drop(wanted.remove(name)),
                APPEND | SUBTRACT => {
                    if !describe::is_list(resource.resource_type, name) {
                        let verb = if *operation == APPEND { "APPEND" } else { "SUBTRACT" };
                        return Err(ApiError::new(
                            ErrorCode::INVALID_CONFIG,
                            format!("Can't {verb} to key {name} because its type is not LIST."),
                        ));
                    }
                    let before = match current.get(name) {
                        Some(value) => value.clone(),
                        None if resource.resource_type == ConfigResource::TOPIC => {
                            defaults.get(current, name).and_then(|entry| entry.value).unwrap_or_default()
                        }
                        None => describe::default_of_broker_key(name).unwrap_or_default().to_owned(),
                    };
                    wanted.insert(name.clone(), edit_list(&before, value, *operation == APPEND));
                }
                other => {
                    return Err(ApiError::new(
                        ErrorCode::INVALID_REQUEST,
                        format!(
                            "Unknown operation {other} for {name}: 0 sets, 1 deletes, 2 appends, 3 subtracts."
                        ),
                    ));
                }
            }
        }
        Ok(wanted)
    }
}

/// A list with items added that it does not have, or without those named.
fn edit_list(list: &str, items: &str, append: bool) -> String {
    let parts = |text: &str| -> Vec<String> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let mut list = parts(list);
    for item in parts(items) {
        match (append, list.contains(&item)) {
            (true, false) => list.push(item),
            (false, true) => list.retain(|other| *other != item),
            _ => {}
        }
    }
    list.join(",")
}

/// What is wrong with a request whatever the settings are: a key twice, or a value missing.
fn check_shape(ops: &ConfigOps) -> Result<(), ApiError> {
    let invalid = |message: String| ApiError::new(ErrorCode::INVALID_REQUEST, message);
    let names: Vec<&str> = match ops {
        ConfigOps::Incremental(ops) => ops.iter().map(|op| op.name.as_str()).collect(),
        ConfigOps::Replace(all) => all.iter().map(|(name, _)| name.as_str()).collect(),
    };
    if !named_twice(names.into_iter()).is_empty() {
        return Err(invalid("Error due to duplicate config keys".to_owned()));
    }
    let nulls: Vec<&str> = match ops {
        ConfigOps::Incremental(ops) => ops
            .iter()
            .filter(|op| op.operation != DELETE && op.value.is_none())
            .map(|op| op.name.as_str())
            .collect(),
        ConfigOps::Replace(all) => {
            all.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()).collect()
        }
    };
    if nulls.is_empty() {
        return Ok(());
    }
    Err(invalid(format!("Null value not supported for : {}", nulls.join(", "))))
}

/// The records that lead from one to the other.
fn write(
    resource: &ConfigResource,
    current: &Settings,
    wanted: &Settings,
    changes: &mut Changes,
) -> Result<(), ApiError> {
    let before = changes.len();
    let names: BTreeSet<&String> = current.keys().chain(wanted.keys()).collect();
    for name in names {
        let value = wanted.get(name);
        if current.get(name) == value {
            continue;
        }
        let record = ConfigRecord {
            resource_type: resource.resource_type,
            resource_name: &resource.name,
            name,
            value: value.map(String::as_str),
            ..Default::default()
        };
        if let Err(error) = changes.push(record) {
            changes.truncate(before);
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gains_what_it_lacks_and_loses_what_is_named() {
        // M10
        for (list, items, append, expected) in [
            ("delete", "compact", true, "delete,compact"),
            ("delete", "delete", true, "delete"),
            ("", "a, b", true, "a,b"),
            ("a,b , c", "b,x", false, "a,c"),
            ("delete", "delete", false, ""),
        ] {
            assert_eq!(edit_list(list, items, append), expected, "{list} {items} {append}");
        }
    }
}
