//! Every bound on what a client may send, named. The values are Redis's.

/// Longest bulk string of a request, in bytes (`proto-max-bulk-len`): 512 MiB.
pub const MAX_BULK_BYTES: usize = 512 * 1024 * 1024;

/// Most arguments of a request, the command's name included.
pub const MAX_ARGS: usize = 1024 * 1024;

/// Longest inline request and longest length line, in bytes.
pub const MAX_INLINE_BYTES: usize = 64 * 1024;

/// Most bytes a client may have sent that are not executed yet (`client-query-buffer-limit`): 1 GiB.
pub const MAX_QUERY_BUFFER_BYTES: usize = 1024 * 1024 * 1024;

/// Most arguments of a request before the connection is authenticated.
pub const MAX_ARGS_UNAUTHENTICATED: usize = 10;

/// Longest bulk string of a request before the connection is authenticated, in bytes.
pub const MAX_BULK_BYTES_UNAUTHENTICATED: usize = 16 * 1024;

/// Longest request that the parser takes, in bytes: arguments are found by 32-bit offsets. Out of reach as long as the
/// query buffer is bounded as by default.
pub const MAX_REQUEST_BYTES: usize = u32::MAX as usize;

/// Read hints start here and from then on double what has arrived, in bytes.
pub const READ_HINT_BYTES: usize = 64 * 1024;

/// What one connection may send at this moment. Made when the connection opens and again when it authenticates or the
/// configuration changes; copied freely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// In force now.
    args: usize,
    /// In force now.
    bulk_bytes: usize,
    max_args: usize,
    max_bulk_bytes: usize,
}

impl RequestLimits {
    /// The limits of a connection under this `proto-max-bulk-len`, in bytes; tighter until it is authenticated.
    pub fn new(max_bulk_bytes: usize, authenticated: bool) -> Self {
        let (args, bulk_bytes) = if authenticated {
            (MAX_ARGS, max_bulk_bytes)
        } else {
            (MAX_ARGS_UNAUTHENTICATED, max_bulk_bytes.min(MAX_BULK_BYTES_UNAUTHENTICATED))
        };
        Self { args, bulk_bytes, max_args: MAX_ARGS, max_bulk_bytes }
    }

    /// The same with another bound on the number of arguments.
    pub fn with_max_args(self, max_args: usize) -> Self {
        let args = if self.args == self.max_args { max_args } else { self.args.min(max_args) };
        Self { args, max_args, ..self }
    }

    /// Most arguments now.
    #[inline]
    pub(super) fn args(&self) -> usize {
        self.args
    }

    /// Longest bulk string now, in bytes.
    #[inline]
    pub(super) fn bulk_bytes(&self) -> usize {
        self.bulk_bytes
    }

    /// Most arguments once authenticated: beyond it the number itself is wrong.
    pub(super) fn args_ever(&self) -> usize {
        self.max_args
    }

    /// Longest bulk string once authenticated, in bytes: beyond it the length itself is wrong.
    pub(super) fn bulk_bytes_ever(&self) -> usize {
        self.max_bulk_bytes
    }
}

impl Default for RequestLimits {
    /// An authenticated connection under the default configuration.
    fn default() -> Self {
        Self::new(MAX_BULK_BYTES, true)
    }
}
