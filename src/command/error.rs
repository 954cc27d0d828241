//! Errors as clients see them. This file alone gives store errors their RESP form.

use crate::store::StoreError;
use std::borrow::Cow;

/// An error reply: `PREFIX text`, one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError(pub Cow<'static, str>);

impl CommandError {
    /// `ERR syntax error`
    pub const SYNTAX: Self = Self(Cow::Borrowed("ERR syntax error"));
    /// `ERR value is not an integer or out of range`
    pub const NOT_INTEGER: Self = Self(Cow::Borrowed("ERR value is not an integer or out of range"));
    /// `ERR value is not a valid float`
    pub const NOT_FLOAT: Self = Self(Cow::Borrowed("ERR value is not a valid float"));
    /// `WRONGTYPE ...`
    pub const WRONG_TYPE: Self =
        Self(Cow::Borrowed("WRONGTYPE Operation against a key holding the wrong kind of value"));
    /// `OOM ...`
    pub const OUT_OF_SPACE: Self = Self(Cow::Borrowed("OOM command not allowed when used memory > 'maxmemory'."));
    /// `MISCONF ...`, the error of a server whose disk has failed.
    pub const NOT_SYNCED: Self = Self(Cow::Borrowed(
        "MISCONF Errors writing to the AOF file: the pool file could not be synced, see the server's log; no more writes are taken until a restart",
    ));
    /// `ERR no such key`
    pub const NO_SUCH_KEY: Self = Self(Cow::Borrowed("ERR no such key"));

    /// A fixed text, prefix included.
    pub const fn fixed(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// A text made for the occasion, prefix included.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Cow::Owned(text.into()))
    }

    /// `ERR wrong number of arguments for 'name' command`; a subcommand's name is `container|sub`.
    #[cold]
    pub fn arity(name: &str) -> Self {
        Self::new(format!("ERR wrong number of arguments for '{name}' command"))
    }

    /// `ERR unknown subcommand or wrong number of arguments for 'SUB'. Try CONTAINER HELP.`: what subcommands say that check their
    /// arguments themselves.
    #[cold]
    pub fn subcommand_syntax(args: crate::protocol::Args<'_>) -> Self {
        let [container, sub] =
            [args.at(0), args.at(1)].map(|name| String::from_utf8_lossy(&name[..name.len().min(128)]));
        Self::new(format!(
            "ERR unknown subcommand or wrong number of arguments for '{sub}'. Try {} HELP.",
            container.to_ascii_uppercase()
        ))
    }

    /// The first word: `ERR`, `WRONGTYPE`, ... as INFO errorstats counts them.
    pub fn prefix(&self) -> &str {
        self.0.split(' ').next().unwrap_or("ERR")
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::OutOfSpace => Self::OUT_OF_SPACE,
            StoreError::WrongType => Self::WRONG_TYPE,
            other => Self::new(format!("ERR {other}")),
        }
    }
}
