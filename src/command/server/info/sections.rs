//! What each section says. Fields of things that do not exist here (forks, replicas, a Lua machine) say 0, as tools that draw them expect.

use super::{Report, human};
use crate::command::server::{FENCEPOST_VERSION, process, saving};
use crate::command::{Ctx, REDIS_VERSION, all};
use crate::pubsub::Topic;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY_S: u64 = 24 * 60 * 60;

fn setting(ctx: &Ctx<'_>, name: &str) -> String {
    ctx.shared.settings.get(name).map_or_else(String::new, |value| String::from_utf8_lossy(&value).into_owned())
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn zeros(report: &mut Report, names: &[&str]) {
    for name in names {
        report.field(name, 0);
    }
}

pub(super) fn server(report: &mut Report, ctx: &Ctx<'_>) {
    let identity = &ctx.shared.identity;
    let uptime_s = ctx.now_ms.saturating_sub(identity.started_at_ms) / 1000;
    let path = |path: Option<&std::path::PathBuf>| path.map_or_else(String::new, |path| path.display().to_string());
    let server_time_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    report.field("redis_version", REDIS_VERSION);
    report.field("redis_git_sha1", "00000000");
    report.field("redis_git_dirty", 0);
    report.field("redis_build_id", 0);
    report.field("redis_mode", "standalone");
    report.field("fencepost_version", FENCEPOST_VERSION);
    report.field("os", process::operating_system());
    report.field("arch_bits", usize::BITS);
    report.field("monotonic_clock", "POSIX clock_gettime");
    report.field("multiplexing_api", "epoll");
    report.field("process_id", std::process::id());
    report.field("process_supervised", "no");
    report.field("run_id", &identity.run_id);
    report.field("tcp_port", identity.port);
    report.field("server_time_usec", server_time_us);
    report.field("uptime_in_seconds", uptime_s);
    report.field("uptime_in_days", uptime_s / DAY_S);
    report.field("hz", ctx.shared.settings.hz());
    report.field("configured_hz", ctx.shared.settings.hz());
    report.field("lru_clock", ctx.now_ms / 1000 % (1 << 24));
    report.field("executable", path(Some(&identity.executable)));
    report.field("config_file", path(identity.config_file.as_ref()));
    report.field("io_threads_active", 0);
    report.field("worker_threads", ctx.shared.stats.workers());
}

pub(super) fn clients(report: &mut Report, ctx: &Ctx<'_>) {
    let clients = ctx.shared.clients.all();
    report.field("connected_clients", clients.len());
    report.field("cluster_connections", 0);
    report.field("maxclients", ctx.shared.settings.maxclients());
    report
        .field("client_recent_max_input_buffer", clients.iter().map(|client| client.query_bytes()).max().unwrap_or(0));
    report.field(
        "client_recent_max_output_buffer",
        clients.iter().map(|client| client.output_bytes()).max().unwrap_or(0),
    );
    let blocking = &ctx.shared.blocking;
    report.field("blocked_clients", blocking.clients() + ctx.shared.pause.held());
    report.field("tracking_clients", ctx.shared.tracking.figures().clients);
    zeros(report, &["clients_in_timeout_table"]);
    report.field("total_blocking_keys", blocking.keys());
    zeros(report, &["total_blocking_keys_on_nokey"]);
}

/// Memory in use is what this process has taken besides the pool, and the live records in the pool.
pub(super) fn memory(report: &mut Report, ctx: &Ctx<'_>) {
    let store = ctx.store.info();
    let memory = process::memory(&store);
    let used = memory.besides_pool + store.live_bytes;
    let peak = used.max(memory.resident_max);
    let percent = |part: u64, whole: u64| format!("{:.2}%", part as f64 * 100.0 / whole.max(1) as f64);
    report.size("used_memory", used);
    report.size("used_memory_rss", memory.resident);
    report.size("used_memory_peak", peak);
    report.field("used_memory_peak_perc", percent(used, peak));
    report.field("used_memory_overhead", memory.besides_pool);
    report.field("used_memory_startup", 0);
    report.field("used_memory_dataset", store.live_bytes);
    report.field("used_memory_dataset_perc", percent(store.live_bytes, used));
    report.field("used_memory_index", store.index_bytes);
    report.field("used_memory_stale_filter", store.stale_filter_bytes);
    report.field("used_memory_access_clocks", store.access_clock_bytes);
    report.field("allocator_allocated", memory.besides_pool);
    report.field("allocator_active", memory.besides_pool);
    report.field("allocator_resident", memory.besides_pool);
    report.size("total_system_memory", process::system_memory());
    report.field("used_memory_lua", 0);
    report.field("used_memory_vm_eval", 0);
    report.field("used_memory_lua_human", "0B");
    zeros(
        report,
        &[
            "used_memory_scripts_eval",
            "number_of_cached_scripts",
            "number_of_functions",
            "number_of_libraries",
            "used_memory_vm_functions",
            "used_memory_vm_total",
        ],
    );
    report.field("used_memory_vm_total_human", "0B");
    zeros(report, &["used_memory_functions", "used_memory_scripts"]);
    report.field("used_memory_scripts_human", "0B");
    let maxmemory = setting(ctx, "maxmemory");
    report.field("maxmemory", &maxmemory);
    report.field("maxmemory_human", human(maxmemory.parse().unwrap_or(0)));
    report.field("maxmemory_policy", setting(ctx, "maxmemory-policy"));
    report.field("allocator_frag_ratio", "1.00");
    report.field("allocator_frag_bytes", 0);
    report.field("allocator_rss_ratio", "1.00");
    report.field("allocator_rss_bytes", 0);
    report.field("rss_overhead_ratio", "1.00");
    report.field("rss_overhead_bytes", 0);
    report.field("mem_fragmentation_ratio", format_args!("{:.2}", memory.resident as f64 / used.max(1) as f64));
    report.field("mem_fragmentation_bytes", memory.resident as i64 - used as i64);
    let clients = ctx.shared.clients.all();
    let buffers: u64 = clients.iter().map(|client| client.query_bytes() + client.output_bytes()).sum();
    zeros(
        report,
        &[
            "mem_not_counted_for_evict",
            "mem_replication_backlog",
            "mem_total_replication_buffers",
            "mem_clients_slaves",
        ],
    );
    report.field("mem_clients_normal", buffers);
    zeros(report, &["mem_cluster_links", "mem_aof_buffer"]);
    report.field("mem_allocator", "libc");
    zeros(report, &["active_defrag_running", "lazyfree_pending_objects", "lazyfreed_objects"]);
}

pub(super) fn persistence(report: &mut Report, ctx: &Ctx<'_>) {
    let (store, loading) = (ctx.store.info(), &ctx.shared.loading);
    report.field("loading", u8::from(loading.is_active()));
    if loading.is_active() {
        let (total, loaded) = (loading.total_bytes(), loading.loaded_bytes());
        let elapsed_s = ctx.now_ms.saturating_sub(loading.started_at_ms()) / 1000;
        let eta_s = (elapsed_s * total.saturating_sub(loaded)).checked_div(loaded).unwrap_or(1);
        report.field("loading_start_time", loading.started_at_ms() / 1000);
        report.field("loading_total_bytes", total);
        report.field("loading_rdb_used_mem", 0);
        report.field("loading_loaded_bytes", loaded);
        report.field("loading_loaded_perc", format_args!("{:.2}", loaded as f64 * 100.0 / total.max(1) as f64));
        report.field("loading_eta_seconds", eta_s);
    }
    zeros(report, &["async_loading", "current_cow_peak", "current_cow_size", "current_cow_size_age"]);
    report.field("current_fork_perc", "0.00");
    zeros(
        report,
        &[
            "current_save_keys_processed",
            "current_save_keys_total",
            "rdb_changes_since_last_save",
            "rdb_bgsave_in_progress",
        ],
    );
    report.field("rdb_last_save_time", saving::last_save_ms(ctx) / 1000);
    let sync_status = if store.sync_failed { "err" } else { "ok" };
    report.field("rdb_last_bgsave_status", sync_status);
    report.field("rdb_last_bgsave_time_sec", 0);
    report.field("rdb_current_bgsave_time_sec", -1);
    report.field("rdb_saves", 0);
    report.field("rdb_last_cow_size", 0);
    zeros(report, &["rdb_last_load_keys_expired", "rdb_last_load_keys_loaded"]);
    zeros(report, &["aof_enabled", "aof_rewrite_in_progress", "aof_rewrite_scheduled"]);
    report.field("aof_last_rewrite_time_sec", -1);
    report.field("aof_current_rewrite_time_sec", -1);
    report.field("aof_last_bgrewrite_status", "ok");
    zeros(report, &["aof_rewrites", "aof_rewrites_consecutive_failures"]);
    report.field("aof_last_write_status", sync_status);
    zeros(report, &["aof_last_cow_size", "module_fork_in_progress", "module_fork_last_cow_size"]);
    if ctx.loading {
        // The pool is not known yet.
        return;
    }
    report.field("pool_medium", store.medium);
    report.field("pool_power_loss_safe", yes_no(store.power_loss_safe));
    report.field("pool_process_kill_safe", yes_no(store.process_kill_safe));
    report.field("pool_granularity", store.granularity);
    report.field("pool_fsync", store.fsync);
    report.field("pool_sync_epoch", store.sync_epoch);
    report.field("pool_flush_instruction", store.flush_instruction);
    report.field("pool_path", &store.path);
    // Only where somebody counts them.
    let health = ctx.store.memory_health();
    if let Some(sectors) = health.bad_sectors {
        report.field("pool_bad_sectors", sectors);
    }
    if let Some(shutdowns) = health.dirty_shutdowns {
        report.field("pool_dirty_shutdowns", shutdowns);
    }
    report.size("pool_size", store.pool_bytes);
    report.size("pool_max_size", store.pool_max_bytes);
    report.field("pool_growths", store.growths);
    report.field("pool_growth_failures", store.growth_failures);
    report.field("pool_segment_size", store.segment_bytes);
    report.field("pool_segments", store.segments);
    report.field("pool_segments_free", store.segments_free);
    report.field("pool_segments_reserved", store.segments_reserved);
    report.field("pool_kept_segments", store.segments_kept);
    report.size("pool_log", store.log_bytes);
    report.size("pool_live", store.live_bytes);
    report.size("pool_garbage", store.garbage_bytes);
    report.size("pool_held", store.held_bytes);
    report.field("pool_cleaner_segments", store.cleaner_segments);
    report.field("pool_cleaner_bytes", store.flow.copied_bytes);
    report.field("pool_cleaner_backlog", store.cleaner_backlog);
    report.field("pool_user_bytes", store.flow.user_bytes);
    report.field("pool_flushed_bytes", store.flow.block_bytes);
    report.field("pool_write_amplification", format_args!("{:.2}", store.flow.amplification()));
    report.field("pool_openings", store.openings);
    report.field("pool_recovery_ms", store.recovery_ms);
    report.field("pool_recovery_records", store.recovery_records);
    report.field("pool_recovery_bytes", store.recovery_bytes);
    report.field("pool_recovery_threads", store.recovery_threads);
    report.field("pool_recovery_unfinished", store.recovery_unfinished);
    report.field("pool_recovery_damaged", store.recovery_damaged);
    report.field("pool_damaged_records_seen", store.damaged_records_seen);
}

pub(super) fn stats(report: &mut Report, ctx: &Ctx<'_>) {
    let (totals, rates) = (ctx.shared.stats.totals(), ctx.shared.stats.rates());
    report.field("total_connections_received", totals.connections_received);
    report.field("total_commands_processed", totals.commands_processed);
    report.field("instantaneous_ops_per_sec", rates.ops_per_sec);
    report.field("total_net_input_bytes", totals.net_input_bytes);
    report.field("total_net_output_bytes", totals.net_output_bytes);
    zeros(report, &["total_net_repl_input_bytes", "total_net_repl_output_bytes"]);
    report.field("instantaneous_input_kbps", format_args!("{:.2}", rates.input_bytes_per_sec / 1024.0));
    report.field("instantaneous_output_kbps", format_args!("{:.2}", rates.output_bytes_per_sec / 1024.0));
    report.field("instantaneous_input_repl_kbps", "0.00");
    report.field("instantaneous_output_repl_kbps", "0.00");
    report.field("rejected_connections", totals.connections_rejected);
    zeros(report, &["sync_full", "sync_partial_ok", "sync_partial_err"]);
    report.field("expired_subkeys", ctx.store.expired_fields());
    report.field("expired_keys", ctx.store.expired_keys());
    report.field("expired_stale_perc", "0.00");
    zeros(report, &["expired_time_cap_reached_count", "expire_cycle_cpu_milliseconds"]);
    report.field("evicted_keys", totals.evicted_keys);
    report.field("evicted_clients", 0);
    let (total_ms, current_ms) = ctx.shared.over_limit.total_and_current_ms(ctx.now_ms);
    report.field("total_eviction_exceeded_time", total_ms);
    report.field("current_eviction_exceeded_time", current_ms);
    report.field("keyspace_hits", totals.keyspace_hits);
    report.field("keyspace_misses", totals.keyspace_misses);
    report.field("pubsub_channels", ctx.shared.hub.count(Topic::Channel));
    report.field("pubsub_patterns", ctx.shared.hub.count(Topic::Pattern));
    report.field("pubsubshard_channels", ctx.shared.hub.count(Topic::ShardChannel));
    zeros(
        report,
        &[
            "latest_fork_usec",
            "total_forks",
            "migrate_cached_sockets",
            "slave_expires_tracked_keys",
            "active_defrag_hits",
            "active_defrag_misses",
            "active_defrag_key_hits",
            "active_defrag_key_misses",
            "total_active_defrag_time",
            "current_active_defrag_time",
        ],
    );
    let tracking = ctx.shared.tracking.figures();
    report.field("tracking_total_keys", tracking.keys);
    report.field("tracking_total_items", tracking.items);
    report.field("tracking_total_prefixes", tracking.prefixes);
    report.field("unexpected_error_replies", 0);
    report.field("total_error_replies", totals.error_replies);
    report.field("dump_payload_sanitizations", 0);
    report.field("total_reads_processed", totals.reads_processed);
    report.field("total_writes_processed", totals.writes_processed);
    zeros(
        report,
        &[
            "io_threaded_reads_processed",
            "io_threaded_writes_processed",
            "reply_buffer_shrinks",
            "reply_buffer_expands",
        ],
    );
    report.field("client_query_buffer_limit_disconnections", totals.query_limit_disconnections);
    report.field("client_output_buffer_limit_disconnections", totals.output_limit_disconnections);
    zeros(
        report,
        &["acl_access_denied_auth", "acl_access_denied_cmd", "acl_access_denied_key", "acl_access_denied_channel"],
    );
}

pub(super) fn replication(report: &mut Report, ctx: &Ctx<'_>) {
    report.field("role", "master");
    report.field("connected_slaves", 0);
    report.field("master_failover_state", "no-failover");
    report.field("master_replid", &ctx.shared.identity.run_id);
    report.field("master_replid2", "0".repeat(40));
    report.field("master_repl_offset", 0);
    report.field("second_repl_offset", -1);
    report.field("repl_backlog_active", 0);
    report.field("repl_backlog_size", setting(ctx, "repl-backlog-size"));
    zeros(report, &["repl_backlog_first_byte_offset", "repl_backlog_histlen"]);
}

pub(super) fn cpu(report: &mut Report, _ctx: &Ctx<'_>) {
    let time = process::cpu_time();
    for (name, seconds) in [
        ("used_cpu_sys", time.process_system),
        ("used_cpu_user", time.process_user),
        ("used_cpu_sys_children", 0.0),
        ("used_cpu_user_children", 0.0),
        ("used_cpu_sys_main_thread", time.thread_system),
        ("used_cpu_user_main_thread", time.thread_user),
    ] {
        report.field(name, format_args!("{seconds:.6}"));
    }
}

pub(super) fn commandstats(report: &mut Report, ctx: &Ctx<'_>) {
    for found in all() {
        let totals = ctx.shared.stats.command(found.id);
        if totals.calls == 0 && totals.rejected == 0 {
            continue;
        }
        let us = totals.nanos / 1000;
        let us_per_call = totals.nanos as f64 / 1000.0 / totals.calls.max(1) as f64;
        report.field(
            &format!("cmdstat_{}", found.full_name()),
            format_args!(
                "calls={},usec={us},usec_per_call={us_per_call:.2},rejected_calls={},failed_calls={}",
                totals.calls, totals.rejected, totals.failed
            ),
        );
    }
}

/// Of what was timed: of fast commands one call in sixteen stands for the others.
pub(super) fn latencystats(report: &mut Report, ctx: &Ctx<'_>) {
    let percents = setting(ctx, "latency-tracking-info-percentiles");
    for found in all() {
        if let Some(times) = ctx.shared.stats.times(found.id) {
            let told = |percent: &str| format!("p{percent}={:.3}", times.percentile_us(percent.parse().unwrap_or(0.0)));
            let told: Vec<String> = percents.split(' ').filter(|percent| !percent.is_empty()).map(told).collect();
            report.field(&format!("latency_percentiles_usec_{}", found.full_name()), told.join(","));
        }
    }
}

pub(super) fn errorstats(report: &mut Report, ctx: &Ctx<'_>) {
    for (prefix, count) in ctx.shared.stats.errors() {
        report.field(&format!("errorstat_{prefix}"), format_args!("count={count}"));
    }
}

pub(super) fn keyspace(report: &mut Report, ctx: &Ctx<'_>) {
    for db in 0..ctx.store.databases() {
        // The count alone is one read; most of the databases are empty.
        if ctx.store.len(db) == 0 {
            continue;
        }
        let stats = ctx.store.db_stats(db);
        report.field(
            &format!("db{db}"),
            format_args!(
                "keys={},expires={},avg_ttl={},subexpiry={}",
                stats.keys, stats.expires, stats.avg_ttl_ms, stats.field_expires
            ),
        );
    }
}
