//! Claims about the settings.

use super::*;

fn refusal(settings: &Settings, pairs: &[(&str, &str)]) -> String {
    set(settings, pairs).unwrap_err().to_string()
}

fn set(settings: &Settings, pairs: &[(&str, &str)]) -> Result<(), SettingError> {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    settings.set(&pairs)
}

fn text(settings: &Settings, name: &str) -> String {
    String::from_utf8(settings.get(name).unwrap()).unwrap()
}

#[test]
fn the_table_is_in_order_and_its_defaults_are_canonical() {
    let mut names: Vec<&str> = SETTINGS.iter().flat_map(|spec| [Some(spec.name), spec.alias]).flatten().collect();
    assert!(SETTINGS.is_sorted_by_key(|spec| spec.name));
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "two settings have one name");
    for spec in SETTINGS {
        let canonical = spec.kind.canonical(spec.default.as_bytes(), b"");
        assert_eq!(canonical.as_deref(), Ok(spec.default.as_bytes()), "{}", spec.name);
    }
}

#[test]
fn defaults_are_those_of_redis() {
    let settings = Settings::new();
    assert_eq!(settings.maxclients(), 10_000);
    assert_eq!(settings.timeout(), None);
    assert_eq!(settings.tcp_keepalive(), Some(Duration::from_secs(300)));
    assert_eq!(settings.max_bulk_bytes(), 512 << 20);
    assert_eq!(settings.query_limit_bytes(), 1 << 30);
    assert!(settings.protected_mode() && !settings.password_required());
    assert_eq!(settings.slowlog_threshold_us(), 10_000);
    assert_eq!(settings.databases(), 16);
    let limit = settings.output_limit(ClientClass::PubSub);
    assert_eq!((limit.hard_bytes, limit.soft_bytes, limit.soft_for.as_secs()), (32 << 20, 8 << 20, 60));
    assert_eq!(settings.output_limit(ClientClass::Normal).hard_bytes, 0);
}

#[test]
fn every_call_is_timed_when_very_short_ones_matter() {
    let settings = Settings::new();
    for (threshold_us, all) in [("0", true), ("999", true), ("1000", false), ("-1", false)] {
        set(&settings, &[("slowlog-log-slower-than", threshold_us)]).unwrap();
        assert_eq!(settings.attention().get() == Attention::TIMES | Attention::SINGLY, all, "{threshold_us}");
    }
    set(&settings, &[("latency-monitor-threshold", "100")]).unwrap();
    assert_eq!(settings.attention().get(), Attention::TIMES);
    set(&settings, &[("latency-monitor-threshold", "0")]).unwrap();
    assert_eq!(settings.attention().get(), Attention::empty());
}

#[test]
fn percentiles_are_numbers_up_to_a_hundred() {
    let (settings, name) = (Settings::new(), "latency-tracking-info-percentiles");
    set(&settings, &[(name, "50.0 99.900 100 0")]).unwrap();
    assert_eq!(text(&settings, name), "50 99.9 100 0");
    for (value, reason) in [
        ("50,99", "Invalid latency-tracking-info-percentiles parameters"),
        ("101", "between [0.0,100.0]"),
        ("-1", "[0.0,"),
    ] {
        assert!(refusal(&settings, &[(name, value)]).contains(reason), "{value}");
    }
}

#[test]
fn a_size_may_be_a_percentage() {
    let settings = Settings::new();
    for (value, canonical) in [("7%", "7%"), ("1mb", "1048576"), ("100%", "100%")] {
        set(&settings, &[("maxmemory-clients", value)]).unwrap();
        assert_eq!(text(&settings, "maxmemory-clients"), canonical);
    }
    for (value, reason) in [
        ("200%", "percentage argument must be less or equal to 100"),
        ("x%", "argument must be a memory or percent value"),
        ("-5%", "argument must be a memory or percent value"),
        ("-5", "argument must be a memory or percent value"),
    ] {
        let refused = refusal(&settings, &[("maxmemory-clients", value)]);
        assert!(refused.ends_with(&format!("'maxmemory-clients') - {reason}")), "{refused}");
    }
}

#[test]
fn a_change_takes_effect_and_shows_in_its_canonical_form() {
    let settings = Settings::new();
    set(&settings, &[("MaxClients", "007"), ("maxmemory", "1gb"), ("slave-priority", "9"), ("appendonly", "YES")])
        .unwrap();
    assert_eq!(settings.maxclients(), 7);
    assert_eq!(text(&settings, "maxmemory"), "1073741824");
    assert_eq!(text(&settings, "replica-priority"), "9");
    assert_eq!(text(&settings, "appendonly"), "yes");
    set(&settings, &[("client-output-buffer-limit", "normal 1kb 1k 2 replica 0 0 0")]).unwrap();
    assert_eq!(
        text(&settings, "client-output-buffer-limit"),
        "normal 1024 1000 2 slave 0 0 0 pubsub 33554432 8388608 60"
    );
    assert_eq!(settings.output_limit(ClientClass::Normal).soft_bytes, 1000);
    set(&settings, &[("notify-keyspace-events", "KEg$lshzxetdn")]).unwrap();
    assert_eq!(text(&settings, "notify-keyspace-events"), "AnKE");
}

#[test]
fn refusals_are_in_the_words_of_redis_and_change_nothing() {
    let settings = Settings::new();
    let before = settings.matching(|_| true);
    let possibly =
        |name: &str, reason: &str| format!("CONFIG SET failed (possibly related to argument '{name}') - {reason}");
    for (name, value, reason) in [
        ("maxclients", "abc", "argument couldn't be parsed into an integer"),
        ("databases", "3", "can't set immutable config"),
        ("appendonly", "maybe", "argument must be 'yes' or 'no'"),
        (
            "maxmemory-policy",
            "foo",
            "argument(s) must be one of the following: volatile-lru, volatile-lfu, volatile-random, volatile-ttl, \
             allkeys-lru, allkeys-lfu, allkeys-random, noeviction",
        ),
        ("maxmemory", "1xx", "argument must be a memory value"),
        ("timeout", "-5", "argument must be between 0 and 2147483647 inclusive"),
        ("proto-max-bulk-len", "5", "argument must be between 1048576 and 9223372036854775807 inclusive"),
        ("client-output-buffer-limit", "foo 1 2 3", "Invalid client class specified in buffer limit configuration."),
        ("save", "1", "Invalid save parameters"),
    ] {
        assert_eq!(refusal(&settings, &[("hz", "99"), (name, value)]), possibly(name, reason));
    }
    assert_eq!(refusal(&settings, &[("hz", "1"), ("HZ", "2")]), possibly("HZ", "duplicate parameter"));
    assert_eq!(
        refusal(&settings, &[("hz", "1"), ("foo", "2")]),
        "Unknown option or number of arguments for CONFIG SET - 'foo'"
    );
    assert_eq!(settings.matching(|_| true), before);
}

#[test]
fn passwords_match_only_themselves() {
    let settings = Settings::new();
    set(&settings, &[("requirepass", "secret")]).unwrap();
    assert!(settings.password_required() && settings.password_matches(b"secret"));
    for wrong in ["", "s", "secre", "secrets", "sEcret"] {
        assert!(!settings.password_matches(wrong.as_bytes()), "{wrong}");
    }
}

#[test]
fn the_documented_table_is_the_real_one() {
    let documented = include_str!("../../../docs/settings.md");
    assert!(
        documented == describe(),
        "docs/settings.md is out of date: write the output of `fencepost settings` there"
    );
}
