//! What can be wrong with a method or its surroundings.

/// Why an optimizer cannot be made, cannot step or cannot be restored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// A knob's value is out of range or does not fit the others.
    #[error("knob `{name}` {why}")]
    Knob {
        /// The knob, as suites spell it.
        name: String,
        /// What is wrong, to be read after the name.
        why: String,
    },
    /// A parameter cannot be optimized as it is.
    #[error("parameter `{name}` {why}")]
    Parameter {
        /// Its name as given.
        name: String,
        /// What is wrong, to be read after the name.
        why: String,
    },
    /// The task does not fit the method.
    #[error("{0}")]
    Task(String),
    /// A saved state does not belong to this optimizer.
    #[error("saved state: {0}")]
    State(String),
    /// libtorch refused.
    #[cfg(feature = "torch")]
    #[error(transparent)]
    Torch(#[from] torch_ext::Error),
}

impl Error {
    pub(crate) fn knob(name: &str, why: impl Into<String>) -> Self {
        Self::Knob {
            name: name.to_owned(),
            why: why.into(),
        }
    }

    #[cfg(feature = "torch")]
    pub(crate) fn parameter(name: &str, why: impl Into<String>) -> Self {
        Self::Parameter {
            name: name.to_owned(),
            why: why.into(),
        }
    }
}
