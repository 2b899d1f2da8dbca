//! The one error, in a module of its own: code that only names it needs no libtorch.

/// What libtorch refused to do: line one of its message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("libtorch: {0}")]
pub struct Error(pub String);
