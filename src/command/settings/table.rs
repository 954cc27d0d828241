//! The table of settings, in alphabetical order.

use super::{Effect, Kind, SettingSpec};
use crate::store::{EvictionPolicy, Fsync, PACKED_BYTES_MOST};

const BOOL: Kind = Kind::Bool;
const TEXT: Kind = Kind::Text;
const WORDS: Kind = Kind::Words;
const INT: Kind = int(0, i32::MAX as i64);
const SIZE: Kind = Kind::Size { min: 0, max: i64::MAX };

const fn int(min: i64, max: i64) -> Kind {
    Kind::Int { min, max }
}

const fn live(name: &'static str, kind: Kind, default: &'static str) -> SettingSpec {
    SettingSpec { name, alias: None, kind, default, effect: Effect::Live }
}

const fn start(name: &'static str, kind: Kind, default: &'static str) -> SettingSpec {
    SettingSpec { name, alias: None, kind, default, effect: Effect::Start }
}

const fn ignored(name: &'static str, kind: Kind, default: &'static str) -> SettingSpec {
    SettingSpec { name, alias: None, kind, default, effect: Effect::Ignored }
}

const fn fixed(name: &'static str, kind: Kind, default: &'static str) -> SettingSpec {
    SettingSpec { name, alias: None, kind, default, effect: Effect::IgnoredFixed }
}

const fn also(alias: &'static str, spec: SettingSpec) -> SettingSpec {
    SettingSpec { alias: Some(alias), ..spec }
}

const POLICIES: [&str; EvictionPolicy::ALL.len()] = {
    let (mut names, mut i) = ([""; EvictionPolicy::ALL.len()], 0);
    while i < names.len() {
        names[i] = EvictionPolicy::ALL[i].name();
        i += 1;
    }
    names
};

const FSYNC: [&str; Fsync::ALL.len()] = [Fsync::ALL[0].name(), Fsync::ALL[1].name(), Fsync::ALL[2].name()];

/// Every setting. Names and defaults are Redis 7.2's, but for the few of our own.
pub const SETTINGS: &[SettingSpec] = &[
    fixed("acl-pubsub-default", Kind::Enum(&["allchannels", "resetchannels"]), "resetchannels"),
    fixed("aclfile", TEXT, ""),
    ignored("acllog-max-len", INT, "128"),
    ignored("active-defrag-cycle-max", int(1, 99), "25"),
    ignored("active-defrag-cycle-min", int(1, 99), "1"),
    ignored("active-defrag-ignore-bytes", SIZE, "104857600"),
    ignored("active-defrag-max-scan-fields", int(1, i32::MAX as i64), "1000"),
    ignored("active-defrag-threshold-lower", int(0, 1000), "10"),
    ignored("active-defrag-threshold-upper", int(0, 1000), "100"),
    ignored("active-expire-effort", int(1, 10), "1"),
    ignored("activedefrag", BOOL, "no"),
    ignored("activerehashing", BOOL, "yes"),
    fixed("always-show-logo", BOOL, "no"),
    ignored("aof-disable-auto-gc", BOOL, "no"),
    ignored("aof-load-truncated", BOOL, "yes"),
    ignored("aof-rewrite-incremental-fsync", BOOL, "yes"),
    ignored("aof-timestamp-enabled", BOOL, "no"),
    ignored("aof-use-rdb-preamble", BOOL, "yes"),
    fixed("aof_rewrite_cpulist", TEXT, ""),
    fixed("appenddirname", TEXT, "appendonlydir"),
    fixed("appendfilename", TEXT, "appendonly.aof"),
    also("fsync", live("appendfsync", Kind::Enum(&FSYNC), Fsync::ALL[0].name())),
    ignored("appendonly", BOOL, "no"),
    ignored("auto-aof-rewrite-min-size", SIZE, "67108864"),
    ignored("auto-aof-rewrite-percentage", INT, "100"),
    fixed("bgsave_cpulist", TEXT, ""),
    start("bind", WORDS, "127.0.0.1"),
    ignored("bind-source-addr", WORDS, ""),
    fixed("bio_cpulist", TEXT, ""),
    also("lua-time-limit", ignored("busy-reply-threshold", int(0, i64::MAX), "5000")),
    live(
        "client-output-buffer-limit",
        Kind::OutputLimits,
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
    ),
    live("client-query-buffer-limit", Kind::Size { min: 1024 * 1024, max: i64::MAX }, "1073741824"),
    ignored("cluster-allow-pubsubshard-when-down", BOOL, "yes"),
    ignored("cluster-allow-reads-when-down", BOOL, "no"),
    ignored("cluster-allow-replica-migration", BOOL, "yes"),
    ignored("cluster-announce-bus-port", int(0, 65535), "0"),
    ignored("cluster-announce-hostname", TEXT, ""),
    ignored("cluster-announce-human-nodename", TEXT, ""),
    ignored("cluster-announce-ip", TEXT, ""),
    ignored("cluster-announce-port", int(0, 65535), "0"),
    ignored("cluster-announce-tls-port", int(0, 65535), "0"),
    fixed("cluster-config-file", TEXT, "nodes.conf"),
    fixed("cluster-enabled", BOOL, "no"),
    ignored("cluster-link-sendbuf-limit", SIZE, "0"),
    ignored("cluster-migration-barrier", INT, "1"),
    ignored("cluster-node-timeout", int(0, i64::MAX), "15000"),
    fixed("cluster-port", int(0, 65535), "0"),
    ignored("cluster-preferred-endpoint-type", Kind::Enum(&["ip", "hostname", "unknown-endpoint"]), "ip"),
    also("cluster-slave-no-failover", ignored("cluster-replica-no-failover", BOOL, "no")),
    also("cluster-slave-validity-factor", ignored("cluster-replica-validity-factor", INT, "10")),
    ignored("cluster-require-full-coverage", BOOL, "yes"),
    ignored("crash-log-enabled", BOOL, "yes"),
    ignored("crash-memcheck-enabled", BOOL, "yes"),
    fixed("daemonize", BOOL, "no"),
    start("databases", int(1, i32::MAX as i64), "16"),
    ignored("dbfilename", TEXT, "dump.rdb"),
    start("dir", TEXT, "."),
    ignored("disable-thp", BOOL, "yes"),
    ignored("dynamic-hz", BOOL, "yes"),
    start("emulate-latency", TEXT, ""),
    fixed("enable-debug-command", Kind::Enum(&["no", "yes", "local"]), "yes"),
    fixed("enable-module-command", Kind::Enum(&["no", "yes", "local"]), "no"),
    fixed("enable-protected-configs", Kind::Enum(&["no", "yes", "local"]), "no"),
    also("hash-max-ziplist-entries", ignored("hash-max-listpack-entries", int(0, i64::MAX), "512")),
    also("hash-max-ziplist-value", ignored("hash-max-listpack-value", SIZE, "64")),
    live("hll-sparse-max-bytes", SIZE, "3000"),
    ignored("hz", INT, "10"),
    ignored("ignore-warnings", WORDS, ""),
    fixed("io-threads", int(1, 128), "1"),
    fixed("io-threads-do-reads", BOOL, "no"),
    ignored("jemalloc-bg-thread", BOOL, "yes"),
    live("latency-monitor-threshold", int(0, i64::MAX), "0"),
    live("latency-tracking", BOOL, "yes"),
    live("latency-tracking-info-percentiles", Kind::Percentiles, "50 99 99.9"),
    ignored("lazyfree-lazy-eviction", BOOL, "no"),
    ignored("lazyfree-lazy-expire", BOOL, "no"),
    ignored("lazyfree-lazy-server-del", BOOL, "no"),
    ignored("lazyfree-lazy-user-del", BOOL, "no"),
    ignored("lazyfree-lazy-user-flush", BOOL, "no"),
    live("lfu-decay-time", INT, "1"),
    live("lfu-log-factor", INT, "10"),
    ignored("list-compress-depth", INT, "0"),
    also("list-max-ziplist-size", live("list-max-listpack-size", int(i32::MIN as i64, i32::MAX as i64), "-2")),
    ignored("locale-collate", TEXT, ""),
    fixed("logfile", TEXT, ""),
    live("loglevel", Kind::Enum(&["debug", "verbose", "notice", "warning", "nothing"]), "notice"),
    ignored("masterauth", TEXT, ""),
    ignored("masteruser", TEXT, ""),
    live("maxclients", int(1, u32::MAX as i64), "10000"),
    live("maxmemory", SIZE, "0"),
    ignored("maxmemory-clients", Kind::SizeOrPercent, "0"),
    live("maxmemory-eviction-tenacity", int(0, 100), "10"),
    live("maxmemory-policy", Kind::Enum(&POLICIES), "noeviction"),
    live("maxmemory-samples", int(1, i32::MAX as i64), "5"),
    start("medium", Kind::Enum(&["auto", "dram"]), "auto"),
    also("min-slaves-max-lag", ignored("min-replicas-max-lag", INT, "10")),
    also("min-slaves-to-write", ignored("min-replicas-to-write", INT, "0")),
    ignored("no-appendfsync-on-rewrite", BOOL, "no"),
    live("notify-keyspace-events", Kind::KeyspaceEvents, ""),
    ignored("oom-score-adj", Kind::Enum(&["no", "yes", "relative", "absolute"]), "no"),
    ignored("oom-score-adj-values", WORDS, "0 200 800"),
    live("packed-collection-max-bytes", int(0, PACKED_BYTES_MOST as i64), "512"),
    fixed("pidfile", TEXT, ""),
    start("pool", TEXT, "fencepost.pool"),
    start("pool-damage", Kind::Enum(&["refuse", "salvage"]), "refuse"),
    live("pool-max-size", Kind::Size { min: 0, max: 1 << 44 }, "0"),
    start("pool-size", Kind::Size { min: 1, max: i64::MAX }, "1073741824"),
    start("port", int(0, 65535), "6379"),
    ignored("proc-title-template", TEXT, "{title} {listen-addr} {server-mode}"),
    ignored("propagation-error-behavior", Kind::Enum(&["ignore", "panic", "panic-on-replicas"]), "ignore"),
    live("protected-mode", BOOL, "yes"),
    live("proto-max-bulk-len", Kind::Size { min: 1024 * 1024, max: i64::MAX }, "536870912"),
    ignored("rdb-del-sync-files", BOOL, "no"),
    ignored("rdb-save-incremental-fsync", BOOL, "yes"),
    fixed("rdbchecksum", BOOL, "yes"),
    ignored("rdbcompression", BOOL, "yes"),
    ignored("repl-backlog-size", Kind::Size { min: 1, max: i64::MAX }, "1048576"),
    ignored("repl-backlog-ttl", int(0, i64::MAX), "3600"),
    ignored("repl-disable-tcp-nodelay", BOOL, "no"),
    ignored("repl-diskless-load", Kind::Enum(&["disabled", "on-empty-db", "swapdb"]), "disabled"),
    ignored("repl-diskless-sync", BOOL, "yes"),
    ignored("repl-diskless-sync-delay", INT, "5"),
    ignored("repl-diskless-sync-max-replicas", INT, "0"),
    also("repl-ping-slave-period", ignored("repl-ping-replica-period", int(1, i32::MAX as i64), "10")),
    ignored("repl-timeout", int(1, i32::MAX as i64), "60"),
    also("slave-announce-ip", ignored("replica-announce-ip", TEXT, "")),
    also("slave-announce-port", ignored("replica-announce-port", int(0, 65535), "0")),
    ignored("replica-announced", BOOL, "yes"),
    ignored("replica-ignore-disk-write-errors", BOOL, "no"),
    also("slave-ignore-maxmemory", ignored("replica-ignore-maxmemory", BOOL, "yes")),
    also("slave-lazy-flush", ignored("replica-lazy-flush", BOOL, "no")),
    also("slave-priority", ignored("replica-priority", INT, "100")),
    also("slave-read-only", ignored("replica-read-only", BOOL, "yes")),
    also("slave-serve-stale-data", ignored("replica-serve-stale-data", BOOL, "yes")),
    also("slaveof", fixed("replicaof", WORDS, "")),
    live("requirepass", TEXT, ""),
    ignored("sanitize-dump-payload", Kind::Enum(&["no", "yes", "clients"]), "no"),
    // Redis's default is "3600 1 300 100 60 10000"; there are no snapshots here to schedule.
    ignored("save", Kind::SavePoints, ""),
    fixed("server_cpulist", TEXT, ""),
    ignored("set-max-intset-entries", int(0, i64::MAX), "512"),
    ignored("set-max-listpack-entries", int(0, i64::MAX), "128"),
    ignored("set-max-listpack-value", SIZE, "64"),
    fixed("set-proc-title", BOOL, "yes"),
    ignored("shutdown-on-sigint", Kind::Enum(&["default", "save", "nosave", "now", "force"]), "default"),
    ignored("shutdown-on-sigterm", Kind::Enum(&["default", "save", "nosave", "now", "force"]), "default"),
    live("shutdown-timeout", INT, "10"),
    live("slowlog-log-slower-than", int(-1, i64::MAX), "10000"),
    live("slowlog-max-len", int(0, i64::MAX), "128"),
    fixed("socket-mark-id", int(0, u32::MAX as i64), "0"),
    ignored("stop-writes-on-bgsave-error", BOOL, "yes"),
    ignored("stream-node-max-bytes", SIZE, "4096"),
    ignored("stream-node-max-entries", int(0, i64::MAX), "100"),
    fixed("supervised", Kind::Enum(&["upstart", "systemd", "auto", "no"]), "no"),
    fixed("syslog-enabled", BOOL, "no"),
    fixed("syslog-facility", TEXT, "local0"),
    fixed("syslog-ident", TEXT, "redis"),
    start("tcp-backlog", INT, "511"),
    live("tcp-keepalive", INT, "300"),
    live("timeout", INT, "0"),
    ignored("tls-auth-clients", Kind::Enum(&["no", "yes", "optional"]), "yes"),
    ignored("tls-ca-cert-dir", TEXT, ""),
    ignored("tls-ca-cert-file", TEXT, ""),
    ignored("tls-cert-file", TEXT, ""),
    ignored("tls-ciphers", TEXT, ""),
    ignored("tls-ciphersuites", TEXT, ""),
    ignored("tls-client-cert-file", TEXT, ""),
    ignored("tls-client-key-file", TEXT, ""),
    ignored("tls-client-key-file-pass", TEXT, ""),
    ignored("tls-cluster", BOOL, "no"),
    ignored("tls-dh-params-file", TEXT, ""),
    ignored("tls-key-file", TEXT, ""),
    ignored("tls-key-file-pass", TEXT, ""),
    fixed("tls-port", int(0, 65535), "0"),
    ignored("tls-prefer-server-ciphers", BOOL, "no"),
    ignored("tls-protocols", WORDS, ""),
    ignored("tls-replication", BOOL, "no"),
    ignored("tls-session-cache-size", INT, "20480"),
    ignored("tls-session-cache-timeout", INT, "300"),
    ignored("tls-session-caching", BOOL, "yes"),
    live("tracking-table-max-keys", int(0, i64::MAX), "1000000"),
    start("unixsocket", TEXT, ""),
    start("unixsocketperm", Kind::Octal, "0"),
    start("workers", int(0, 1024), "0"),
    also("zset-max-ziplist-entries", ignored("zset-max-listpack-entries", int(0, i64::MAX), "128")),
    also("zset-max-ziplist-value", ignored("zset-max-listpack-value", SIZE, "64")),
];
