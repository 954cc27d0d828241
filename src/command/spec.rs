//! What the server knows of a command: everything about it is derived from its spec.

use super::{CommandError, Ctx, Look, Together};
use crate::protocol::Args;

/// Runs a command. The reply goes to `ctx.reply`; on an error whatever was written of it is taken back and the error written instead.
pub type Handler = fn(&mut Ctx<'_>, Args<'_>) -> Result<(), CommandError>;

/// How many arguments a command takes, its own name counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Just so many.
    Exact(usize),
    /// So many or more.
    AtLeast(usize),
}

impl Arity {
    /// Whether `count` arguments will do.
    #[inline]
    pub fn accepts(self, count: usize) -> bool {
        match self {
            Arity::Exact(n) => count == n,
            Arity::AtLeast(n) => count >= n,
        }
    }

    /// As COMMAND gives it: negative for a least number.
    pub fn as_redis(self) -> i64 {
        match self {
            Arity::Exact(n) => n as i64,
            Arity::AtLeast(n) => -(n as i64),
        }
    }
}

bitflags::bitflags! {
    /// Properties of a command, by the names COMMAND gives them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// May change data.
        const WRITE = 1;
        /// Reads data.
        const READONLY = 1 << 1;
        /// Refused when the pool is full.
        const DENYOOM = 1 << 2;
        /// An administrative command.
        const ADMIN = 1 << 3;
        /// Allowed while the pool is being recovered.
        const LOADING = 1 << 4;
        /// Constant or logarithmic time.
        const FAST = 1 << 5;
        /// Allowed before authentication.
        const NO_AUTH = 1 << 6;
        /// Not from scripts.
        const NOSCRIPT = 1 << 7;
        /// Keys cannot be told from the spec alone.
        const MOVABLEKEYS = 1 << 8;
        /// Allowed while a replica has stale data.
        const STALE = 1 << 9;
        /// Not shown to MONITOR.
        const SKIP_MONITOR = 1 << 10;
        /// Not shown in SLOWLOG.
        const SKIP_SLOWLOG = 1 << 11;
        /// May block the client.
        const BLOCKING = 1 << 12;
        /// Publishes or subscribes.
        const PUBSUB = 1 << 13;
        /// Not while a replica loads a snapshot in the background.
        const NO_ASYNC_LOADING = 1 << 14;
        /// Not inside a transaction.
        const NO_MULTI = 1 << 15;
        /// Allowed while a script runs too long.
        const ALLOW_BUSY = 1 << 16;
    }
}

/// Where a command's keys are among its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySpec {
    /// It takes no keys.
    None,
    /// From `first` to `last` (negative counts from the end) in steps of `step`.
    Range {
        /// Position of the first key.
        first: usize,
        /// Position of the last key; negative counts from the end, -1 is the last argument.
        last: isize,
        /// From one key to the next.
        step: usize,
    },
    /// A count at `at` says how many keys follow it.
    Counted {
        /// Position of the count.
        at: usize,
    },
    /// A key that is written to, and then as [`KeySpec::Counted`].
    TargetAndCounted {
        /// Position of the key that is written to.
        target: usize,
        /// Position of the count.
        at: usize,
    },
    /// One key, and one behind the word STORE or STOREDIST, if it is among the options.
    OneAndStored {
        /// Position of the key.
        first: usize,
        /// Position of the first option.
        from: usize,
    },
}

impl KeySpec {
    /// One key at position `at`.
    pub const fn one(at: usize) -> Self {
        KeySpec::Range { first: at, last: at as isize, step: 1 }
    }

    /// Every argument from `first` on is a key.
    pub const fn all_from(first: usize) -> Self {
        KeySpec::Range { first, last: -1, step: 1 }
    }

    /// Keys and values take turns from `first` on.
    pub const fn pairs_from(first: usize) -> Self {
        KeySpec::Range { first, last: -1, step: 2 }
    }

    /// Two keys at `first` and the next position.
    pub const fn two(first: usize) -> Self {
        KeySpec::Range { first, last: first as isize + 1, step: 1 }
    }
}

/// The family a command belongs to, as COMMAND DOCS names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `string`
    String,
    /// `bitmap`
    Bitmap,
    /// `hyperloglog`
    HyperLogLog,
    /// `hash`
    Hash,
    /// `list`
    List,
    /// `set`
    Set,
    /// `sorted-set`
    SortedSet,
    /// `geo`
    Geo,
    /// `transactions`
    Transactions,
    /// `generic`
    Generic,
    /// `pubsub`
    PubSub,
    /// `connection`
    Connection,
    /// `server`
    Server,
    /// `scripting`
    Scripting,
}

/// A command and everything that is known of it before it runs.
#[derive(Clone, Copy)]
pub struct CommandSpec {
    /// In lower case.
    pub name: &'static str,
    /// One sentence for COMMAND DOCS, in our own words.
    pub summary: &'static str,
    /// The Redis version that had it first.
    pub since: &'static str,
    /// The family.
    pub group: Group,
    /// How many arguments, the name counted.
    pub arity: Arity,
    /// Its properties.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: KeySpec,
    /// Time, in the number of keys and bytes; say what is written to the pool.
    pub complexity: &'static str,
    /// Subcommands, named `container|sub` by COMMAND; the container's handler runs only when there are none or for an unknown one.
    pub subcommands: &'static [CommandSpec],
    /// What runs it.
    pub run: Handler,
    /// How it runs together with its neighbours in a pipeline, if it does and changes a collection.
    pub together: Option<Together>,
    /// The same, if it looks something up in one.
    pub look: Option<&'static Look>,
}

impl CommandSpec {
    /// A command of constant time without a summary, flags, keys or subcommands: what a spec is filled in from.
    pub const fn new(name: &'static str, since: &'static str, group: Group, arity: Arity, run: Handler) -> Self {
        Self {
            name,
            summary: "",
            since,
            group,
            arity,
            flags: Flags::empty(),
            keys: KeySpec::None,
            complexity: "O(1)",
            subcommands: &[],
            run,
            together: None,
            look: None,
        }
    }

    /// Whether replicas would hear of it although it changes no data.
    pub fn is_replicated_anyway(&self) -> bool {
        matches!(self.name, "pfcount" | "publish" | "spublish")
    }

    /// HELP of a container, whose handler writes it (`help.rs`).
    pub const fn help(since: &'static str, group: Group, run: Handler) -> Self {
        Self {
            summary: "Lists the subcommands.",
            flags: Flags::LOADING.union(Flags::STALE),
            ..Self::new("help", since, group, Arity::Exact(2), run)
        }
    }

    /// A container of subcommands that does nothing by itself.
    pub const fn container(
        name: &'static str,
        since: &'static str,
        group: Group,
        summary: &'static str,
        subcommands: &'static [CommandSpec],
    ) -> Self {
        Self {
            summary,
            complexity: "That of the subcommand",
            subcommands,
            ..Self::new(name, since, group, Arity::AtLeast(2), super::container)
        }
    }
}

impl std::fmt::Debug for CommandSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CommandSpec({})", self.name)
    }
}

impl Group {
    /// As COMMAND DOCS names it.
    pub fn name(self) -> &'static str {
        match self {
            Group::String => "string",
            Group::Bitmap => "bitmap",
            Group::HyperLogLog => "hyperloglog",
            Group::Hash => "hash",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Geo => "geo",
            Group::Transactions => "transactions",
            Group::Generic => "generic",
            Group::PubSub => "pubsub",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Scripting => "scripting",
        }
    }
}
