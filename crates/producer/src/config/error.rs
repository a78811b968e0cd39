//! What is wrong with a configuration: all of it, readable, without secrets.

use std::fmt;

/// Everything that is wrong with a configuration (CFG-6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    pub(crate) fn new(errors: Vec<ConfigError>) -> ConfigErrors {
        debug_assert!(!errors.is_empty(), "an error report without errors");
        ConfigErrors { errors }
    }

    /// The mistakes, in the order in which the settings were made.
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.as_slice() {
            [one] => write!(f, "the producer's configuration is not usable: {one}"),
            many => {
                write!(f, "{} mistakes in the producer's configuration:", many.len())?;
                for error in many {
                    write!(f, "\n  {error}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> ConfigErrors {
        ConfigErrors { errors: vec![error] }
    }
}

/// One mistake: which setting, where it was made, what is wrong and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub(crate) key: Option<String>,
    /// As given; hidden if it may be a secret (CFG-5).
    pub(crate) value: Option<String>,
    pub(crate) origin: Origin,
    pub(crate) problem: String,
}

impl ConfigError {
    /// The key, as it was given. None if the mistake is not about one key, as for a file that cannot be read.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// What is wrong, and what is allowed.
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => write!(f, "{key}={value}")?,
            (Some(key), None) => f.write_str(key)?,
            (None, _) => {}
        }
        match &self.origin {
            Origin::Code | Origin::Pairs => {}
            Origin::File { path, line: Some(line) } if self.key.is_some() => {
                write!(f, " ({path}, line {line})")?
            }
            Origin::File { path, line: Some(line) } => write!(f, "{path}, line {line}")?,
            Origin::File { path, line: None } => f.write_str(path)?,
        }
        if self.key.is_none() && self.origin == Origin::Code {
            return f.write_str(&self.problem);
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// Where a setting was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A setter, `set` or `set_all`: one by one, so that each key is meant for the producer (CFG-4).
    Code,
    /// A map handed over whole: keys may be meant for somebody else.
    Pairs,
    /// A `.properties` file.
    File { path: String, line: Option<usize> },
}
