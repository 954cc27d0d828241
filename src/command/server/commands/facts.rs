//! What only COMMAND tells of a command, beside its spec: hints for clients of a cluster, and what is done to its keys where that
//! does not follow from its flags. The words are those of Redis 7.2.

/// What is done to one run of a command's keys.
#[derive(Debug)]
pub(super) struct Use {
    /// `RO`, `RW`, `OW` or `RM`, then `access`, `update`, `insert` or `delete`.
    pub flags: &'static [&'static str],
    /// Why, where it is not obvious.
    pub notes: Option<&'static str>,
}

/// What COMMAND adds to a spec.
#[derive(Debug)]
pub(super) struct Facts {
    /// The command's full name.
    pub name: &'static str,
    /// What is done to its keys; two entries when the first key differs from the rest; none when it follows from the flags.
    pub keys: &'static [Use],
    /// Hints for clients.
    pub tips: &'static [&'static str],
}

/// What is added for the command of that full name.
pub(super) fn of(name: &str) -> Option<&'static Facts> {
    TABLE.binary_search_by_key(&name, |facts| facts.name).ok().map(|at| &TABLE[at])
}

const fn uses(flags: &'static [&'static str]) -> Use {
    Use { flags, notes: None }
}

const fn noted(flags: &'static [&'static str], notes: &'static str) -> Use {
    Use { flags, notes: Some(notes) }
}

const fn facts(name: &'static str, keys: &'static [Use], tips: &'static [&'static str]) -> Facts {
    Facts { name, keys, tips }
}

/// In order of name.
const TABLE: &[Facts] = &[
    facts("append", &[uses(&["RW", "insert"])], &[]),
    facts(
        "bitfield",
        &[noted(
            &["RW", "access", "update", "variable_flags"],
            "This command allows both access and modification of the key",
        )],
        &[],
    ),
    facts("bitop", &[uses(&["OW", "update"]), uses(&["RO", "access"])], &[]),
    facts("blmove", &[uses(&["RW", "access", "delete"]), uses(&["RW", "insert"])], &[]),
    facts("blmpop", &[uses(&["RW", "access", "delete"])], &[]),
    facts("blpop", &[uses(&["RW", "access", "delete"])], &[]),
    facts("brpop", &[uses(&["RW", "access", "delete"])], &[]),
    facts("brpoplpush", &[uses(&["RW", "access", "delete"]), uses(&["RW", "insert"])], &[]),
    facts("bzmpop", &[uses(&["RW", "access", "delete"])], &[]),
    facts("bzpopmax", &[uses(&["RW", "access", "delete"])], &[]),
    facts("bzpopmin", &[uses(&["RW", "access", "delete"])], &[]),
    facts("client|info", &[], &["nondeterministic_output"]),
    facts("client|list", &[], &["nondeterministic_output"]),
    facts("command", &[], &["nondeterministic_output_order"]),
    facts("command|docs", &[], &["nondeterministic_output_order"]),
    facts("command|info", &[], &["nondeterministic_output_order"]),
    facts("command|list", &[], &["nondeterministic_output_order"]),
    facts("config|set", &[], &["request_policy:all_nodes", "response_policy:all_succeeded"]),
    facts("copy", &[uses(&["RO", "access"]), uses(&["OW", "update"])], &[]),
    facts("dbsize", &[], &["request_policy:all_shards", "response_policy:agg_sum"]),
    facts("decr", &[uses(&["RW", "access", "update"])], &[]),
    facts("decrby", &[uses(&["RW", "access", "update"])], &[]),
    facts("del", &[uses(&["RM", "delete"])], &["request_policy:multi_shard", "response_policy:agg_sum"]),
    facts("dump", &[], &["nondeterministic_output"]),
    facts("exists", &[uses(&["RO"])], &["request_policy:multi_shard", "response_policy:agg_sum"]),
    facts("flushall", &[], &["request_policy:all_shards", "response_policy:all_succeeded"]),
    facts("flushdb", &[], &["request_policy:all_shards", "response_policy:all_succeeded"]),
    facts("function|delete", &[], &["request_policy:all_shards", "response_policy:all_succeeded"]),
    facts("function|flush", &[], &["request_policy:all_shards", "response_policy:all_succeeded"]),
    facts("function|kill", &[], &["request_policy:all_shards", "response_policy:one_succeeded"]),
    facts("function|list", &[], &["nondeterministic_output_order"]),
    facts("function|load", &[], &["request_policy:all_shards", "response_policy:all_succeeded"]),
    facts("function|restore", &[], &["request_policy:all_shards", "response_policy:all_succeeded"]),
    facts("function|stats", &[], &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    facts("georadius", &[uses(&["RO", "access"]), uses(&["OW", "update"])], &[]),
    facts("georadiusbymember", &[uses(&["RO", "access"]), uses(&["OW", "update"])], &[]),
    facts("geosearchstore", &[uses(&["OW", "update"]), uses(&["RO", "access"])], &[]),
    facts("getdel", &[uses(&["RW", "access", "delete"])], &[]),
    facts("getex", &[noted(&["RW", "access", "update"], "RW and UPDATE because it changes the TTL")], &[]),
    facts("getset", &[uses(&["RW", "access", "update"])], &[]),
    facts("hgetdel", &[uses(&["RW", "access", "delete"])], &[]),
    facts("hgetex", &[noted(&["RW", "access", "update"], "RW and UPDATE because it changes the TTL")], &[]),
    facts("hpttl", &[], &["nondeterministic_output"]),
    facts("httl", &[], &["nondeterministic_output"]),
    facts("incr", &[uses(&["RW", "access", "update"])], &[]),
    facts("incrby", &[uses(&["RW", "access", "update"])], &[]),
    facts("incrbyfloat", &[uses(&["RW", "access", "update"])], &[]),
    facts("info", &[], &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    facts("keys", &[], &["request_policy:all_shards", "nondeterministic_output_order"]),
    facts("lastsave", &[], &["nondeterministic_output"]),
    facts("latency|doctor", &[], &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    facts("latency|graph", &[], &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    facts(
        "latency|histogram",
        &[],
        &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
    ),
    facts("latency|history", &[], &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    facts("latency|latest", &[], &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    facts("latency|reset", &[], &["request_policy:all_nodes", "response_policy:all_succeeded"]),
    facts("linsert", &[uses(&["RW", "insert"])], &[]),
    facts("llen", &[uses(&["RO"])], &[]),
    facts("lmove", &[uses(&["RW", "access", "delete"]), uses(&["RW", "insert"])], &[]),
    facts("lmpop", &[uses(&["RW", "access", "delete"])], &[]),
    facts("lpop", &[uses(&["RW", "access", "delete"])], &[]),
    facts("lpush", &[uses(&["RW", "insert"])], &[]),
    facts("lpushx", &[uses(&["RW", "insert"])], &[]),
    facts("lrem", &[uses(&["RW", "delete"])], &[]),
    facts("ltrim", &[uses(&["RW", "delete"])], &[]),
    facts("memory|doctor", &[], &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    facts(
        "memory|malloc-stats",
        &[],
        &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    ),
    facts("memory|purge", &[], &["request_policy:all_shards", "response_policy:all_succeeded"]),
    facts("memory|stats", &[], &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    facts("memory|usage", &[uses(&["RO"])], &[]),
    facts("mget", &[], &["request_policy:multi_shard"]),
    facts("module|list", &[], &["nondeterministic_output_order"]),
    facts("move", &[uses(&["RW", "access", "update"])], &[]),
    facts("mset", &[uses(&["OW", "update"])], &["request_policy:multi_shard", "response_policy:all_succeeded"]),
    facts("msetnx", &[uses(&["OW", "insert"])], &["request_policy:multi_shard", "response_policy:agg_min"]),
    facts("object|encoding", &[uses(&["RO"])], &["nondeterministic_output"]),
    facts("object|freq", &[uses(&["RO"])], &["nondeterministic_output"]),
    facts("object|idletime", &[uses(&["RO"])], &["nondeterministic_output"]),
    facts("object|refcount", &[uses(&["RO"])], &["nondeterministic_output"]),
    facts("pfadd", &[uses(&["RW", "insert"])], &[]),
    facts(
        "pfcount",
        &[noted(
            &["RW", "access"],
            "RW because it may change the internal representation of the key, and propagate to replicas",
        )],
        &[],
    ),
    facts("pfdebug", &[uses(&["RW", "access"])], &[]),
    facts("pfmerge", &[uses(&["RW", "access", "insert"]), uses(&["RO", "access"])], &[]),
    facts("ping", &[], &["request_policy:all_shards", "response_policy:all_succeeded"]),
    facts("psetex", &[uses(&["OW", "update"])], &[]),
    facts("pttl", &[], &["nondeterministic_output"]),
    facts("randomkey", &[], &["request_policy:all_shards", "nondeterministic_output"]),
    facts("rename", &[uses(&["RW", "access", "delete"]), uses(&["OW", "update"])], &[]),
    facts("renamenx", &[uses(&["RW", "access", "delete"]), uses(&["OW", "insert"])], &[]),
    facts("restore", &[uses(&["OW", "update"])], &[]),
    facts("rpop", &[uses(&["RW", "access", "delete"])], &[]),
    facts("rpoplpush", &[uses(&["RW", "access", "delete"]), uses(&["RW", "insert"])], &[]),
    facts("rpush", &[uses(&["RW", "insert"])], &[]),
    facts("rpushx", &[uses(&["RW", "insert"])], &[]),
    facts("scan", &[], &["nondeterministic_output", "request_policy:special"]),
    facts("script|exists", &[], &["request_policy:all_shards", "response_policy:agg_logical_and"]),
    facts("script|flush", &[], &["request_policy:all_nodes", "response_policy:all_succeeded"]),
    facts("script|kill", &[], &["request_policy:all_shards", "response_policy:one_succeeded"]),
    facts("script|load", &[], &["request_policy:all_nodes", "response_policy:all_succeeded"]),
    facts(
        "set",
        &[noted(&["RW", "access", "update", "variable_flags"], "RW and ACCESS due to the optional `GET` argument")],
        &[],
    ),
    facts("setbit", &[uses(&["RW", "access", "update"])], &[]),
    facts("setex", &[uses(&["OW", "update"])], &[]),
    facts("setnx", &[uses(&["OW", "insert"])], &[]),
    facts("slowlog|get", &[], &["request_policy:all_nodes", "nondeterministic_output"]),
    facts("slowlog|len", &[], &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"]),
    facts("slowlog|reset", &[], &["request_policy:all_nodes", "response_policy:all_succeeded"]),
    facts("sort", &[uses(&["RO", "access"])], &[]),
    facts("spublish", &[uses(&["not_key"])], &[]),
    facts("ssubscribe", &[uses(&["not_key"])], &[]),
    facts("strlen", &[uses(&["RO"])], &[]),
    facts("sunsubscribe", &[uses(&["not_key"])], &[]),
    facts("time", &[], &["nondeterministic_output"]),
    facts("touch", &[uses(&["RO"])], &["request_policy:multi_shard", "response_policy:agg_sum"]),
    facts("ttl", &[], &["nondeterministic_output"]),
    facts("type", &[uses(&["RO"])], &[]),
    facts("unlink", &[uses(&["RM", "delete"])], &["request_policy:multi_shard", "response_policy:agg_sum"]),
    facts("wait", &[], &["request_policy:all_shards", "response_policy:agg_min"]),
    facts("waitaof", &[], &["request_policy:all_shards", "response_policy:agg_min"]),
    facts("zcard", &[uses(&["RO"])], &[]),
    facts("zdiffstore", &[uses(&["OW", "update"]), uses(&["RO", "access"])], &[]),
    facts("zincrby", &[uses(&["RW", "access", "update"])], &[]),
    facts("zinterstore", &[uses(&["OW", "update"]), uses(&["RO", "access"])], &[]),
    facts("zmpop", &[uses(&["RW", "access", "delete"])], &[]),
    facts("zpopmax", &[uses(&["RW", "access", "delete"])], &[]),
    facts("zpopmin", &[uses(&["RW", "access", "delete"])], &[]),
    facts("zrandmember", &[], &["nondeterministic_output"]),
    facts("zrangestore", &[uses(&["OW", "update"]), uses(&["RO", "access"])], &[]),
    facts("zrem", &[uses(&["RW", "delete"])], &[]),
    facts("zremrangebylex", &[uses(&["RW", "delete"])], &[]),
    facts("zremrangebyrank", &[uses(&["RW", "delete"])], &[]),
    facts("zremrangebyscore", &[uses(&["RW", "delete"])], &[]),
    facts("zscan", &[], &["nondeterministic_output"]),
    facts("zunionstore", &[uses(&["OW", "update"]), uses(&["RO", "access"])], &[]),
];

#[test]
fn the_table_is_in_order() {
    assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
}
