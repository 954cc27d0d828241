//! Flags and a configuration file to settings: what the server is told before it starts.
//!
//! A file is read as Redis reads `redis.conf`: one directive a line, named like the settings of CONFIG GET. Flags override it. A directive
//! that nothing knows is an error; one that Redis knows and that means nothing here is accepted, and said so in the log.

use crate::command::settings::{Effect, Kind, SettingError, SettingSpec, Settings, file};
use crate::persist::RegionOptions;
use crate::pool::PoolOptions;
use crate::store::StoreOptions;
use clap::{Args, Parser, Subcommand};
use pmem_emulation::{Hook, Latency, LatencyModel};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

/// A Redis-protocol store for persistent memory: every acknowledged write is already past the fence.
#[derive(Parser, Debug)]
#[command(name = "fencepost", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Serve clients (the default).
    Serve(Box<ServeArgs>),
    /// Print every setting: its default, and whether it does anything here.
    Settings,
    /// Look into a pool.
    #[command(subcommand)]
    Pool(PoolCommand),
}

#[derive(Subcommand, Debug)]
enum PoolCommand {
    /// Print superblock, segments, and a map of how full they are.
    Info {
        /// Leave out the map and the live bytes, which take 50 to 100 bytes of memory for each key.
        #[arg(long)]
        no_map: bool,
        /// The pool's file.
        path: PathBuf,
    },
    /// Save everything that is intact into a new pool, and list what is lost. Exits with status 0 if nothing is, 1 if something is, 2 if
    /// nothing could be saved.
    Salvage {
        /// The damaged pool's file; only read.
        source: PathBuf,
        /// The file of the new pool, which must not exist.
        destination: PathBuf,
    },
    /// Verify every checksum; report damage by place and key, and exit with status 1 if there is any.
    Check {
        /// The pool's file.
        path: PathBuf,
    },
}

/// What to do.
#[derive(Debug)]
pub enum Action {
    /// Serve clients.
    Serve(Box<ServeArgs>),
    /// `settings`.
    Settings,
    /// `pool info`.
    PoolInfo {
        /// The pool's file.
        path: PathBuf,
        /// Whether there is to be a map.
        map: bool,
    },
    /// `pool check`.
    PoolCheck(PathBuf),
    /// `pool salvage`: from, to.
    PoolSalvage(PathBuf, PathBuf),
}

impl Cli {
    /// What the command line asks for.
    pub fn into_action(self) -> Action {
        match self.command {
            None => Action::Serve(Box::new(self.serve)),
            Some(Command::Serve(args)) => Action::Serve(args),
            Some(Command::Settings) => Action::Settings,
            Some(Command::Pool(PoolCommand::Info { path, no_map })) => Action::PoolInfo { path, map: !no_map },
            Some(Command::Pool(PoolCommand::Check { path })) => Action::PoolCheck(path),
            Some(Command::Pool(PoolCommand::Salvage { source, destination })) => {
                Action::PoolSalvage(source, destination)
            }
        }
    }
}

/// The server's flags. Each stands for the setting of its name.
#[derive(Args, Debug, Default)]
pub struct ServeArgs {
    /// Read settings from a file like redis.conf; flags override it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Addresses to listen on [default: 127.0.0.1].
    #[arg(long, value_name = "ADDRESS", num_args = 1..)]
    bind: Option<Vec<String>>,
    /// TCP port; 0 for none beside a Unix socket, else for any free one [default: 6379].
    #[arg(long)]
    port: Option<String>,
    /// The pool's file, made when it is not there [default: fencepost.pool].
    #[arg(long, value_name = "PATH")]
    pool: Option<String>,
    /// The size of a pool that is made: 512mb, 4gb, ... [default: 1gb].
    #[arg(long, value_name = "SIZE")]
    pool_size: Option<String>,
    /// The size that the pool may grow to while it is used [default: 0, none beyond its own].
    #[arg(long, value_name = "SIZE")]
    pool_max_size: Option<String>,
    /// What to do about a damaged pool: refuse to start, or go on with all that is intact [default: refuse].
    #[arg(long, value_name = "refuse|salvage")]
    pool_damage: Option<String>,
    /// What to keep the data in: the pool's file, or memory only, for comparison [default: auto].
    #[arg(long, value_name = "auto|dram")]
    medium: Option<String>,
    /// On an ordinary disk, when writes are synced to it: before each reply, every second, or by the system alone [default: everysec].
    #[arg(long, value_name = "always|everysec|no", visible_alias = "appendfsync")]
    fsync: Option<String>,
    /// Make memory as slow as the described one.
    #[arg(long, value_name = "SPEC")]
    emulate_latency: Option<String>,
    /// Threads that serve clients [default: one for each core].
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Logical databases [default: 16].
    #[arg(long, value_name = "N")]
    databases: Option<String>,
    /// The password that clients must give.
    #[arg(long, value_name = "PASSWORD")]
    requirepass: Option<String>,
    /// Whether, without a password, only clients of this machine are let in [default: yes].
    #[arg(long, value_name = "yes|no")]
    protected_mode: Option<String>,
    /// Most clients at once [default: 10000].
    #[arg(long, value_name = "N")]
    maxclients: Option<String>,
    /// Bytes of live records that there may be: 512mb, 4gb, ...; 0 for no limit but the pool's [default: 0].
    #[arg(long, value_name = "SIZE")]
    maxmemory: Option<String>,
    /// Which keys are evicted to stay below that: noeviction, allkeys-lru, volatile-ttl, ... [default: noeviction].
    #[arg(long, value_name = "POLICY")]
    maxmemory_policy: Option<String>,
    /// Close clients that are idle for so long; 0 for never [default: 0].
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<String>,
    /// A Unix socket to listen on, too.
    #[arg(long, value_name = "PATH")]
    unixsocket: Option<String>,
    /// Its permissions, in octal.
    #[arg(long, value_name = "MODE")]
    unixsocketperm: Option<String>,
    /// How much is logged: debug, verbose, notice, warning, nothing [default: notice].
    #[arg(long, value_name = "LEVEL")]
    loglevel: Option<String>,
}

impl ServeArgs {
    /// Names and values of the settings that the flags give.
    fn settings(&self) -> impl Iterator<Item = (&'static str, String)> {
        let bind = self.bind.as_ref().map(|addresses| addresses.join(" "));
        [
            ("bind", bind),
            ("port", self.port.clone()),
            ("pool", self.pool.clone()),
            ("pool-size", self.pool_size.clone()),
            ("pool-max-size", self.pool_max_size.clone()),
            ("pool-damage", self.pool_damage.clone()),
            ("medium", self.medium.clone()),
            ("appendfsync", self.fsync.clone()),
            ("emulate-latency", self.emulate_latency.clone()),
            ("workers", self.workers.clone()),
            ("databases", self.databases.clone()),
            ("requirepass", self.requirepass.clone()),
            ("protected-mode", self.protected_mode.clone()),
            ("maxclients", self.maxclients.clone()),
            ("maxmemory", self.maxmemory.clone()),
            ("maxmemory-policy", self.maxmemory_policy.clone()),
            ("timeout", self.timeout.clone()),
            ("unixsocket", self.unixsocket.clone()),
            ("unixsocketperm", self.unixsocketperm.clone()),
            ("loglevel", self.loglevel.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// What is wrong with the configuration, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A directive that nothing knows.
    #[error("{path}:{line}: there is no directive '{name}'; correct its name or remove the line")]
    UnknownDirective {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The directive.
        name: String,
    },
    /// A line that cannot be understood.
    #[error("{path}:{line}: {reason}; correct the line or remove it")]
    BadLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A flag whose value will not do.
    #[error("--{name} {value}: {reason}")]
    BadFlag {
        /// The flag.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong.
        reason: String,
    },
    /// The working directory cannot be entered.
    #[error("cannot work in the directory {path} that 'dir' names: {error}")]
    BadDirectory {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// Files that include each other, or too many of them.
    #[error("{path}: configuration files include each other more than {MAX_INCLUDES} deep")]
    IncludedTooDeep {
        /// The last one.
        path: PathBuf,
    },
}

/// Stripes of a new pool: enough that writers of different keys hardly ever meet, in 64 bytes each.
const STRIPES: u32 = 1 << 12;

/// Address space that is set aside for the pool in any case, so that CONFIG SET pool-max-size can raise its limit: 1 TiB of 128.
const ROOM_TO_GROW_BYTES: u64 = 1 << 40;

/// How deep files may include others.
const MAX_INCLUDES: usize = 16;

/// Directives that Redis knows beside its settings, and that mean nothing here.
const FOREIGN_DIRECTIVES: &[&str] = &["loadmodule", "rename-command", "sentinel", "user", "io-threads-core-list"];

/// A configuration that can be started with.
#[derive(Debug)]
pub struct Config {
    /// Every setting.
    pub settings: Settings,
    /// The file it came from, if any; absolute.
    pub file: Option<PathBuf>,
    /// What the user should know: directives without effect.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the file that the flags name, if any, and then the flags.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(args: &ServeArgs) -> Result<Self, ConfigError> {
        let mut config = Self { settings: Settings::new(), file: None, warnings: Vec::new() };
        if let Some(path) = &args.config {
            config.read_file(path)?;
        }
        for (name, value) in args.settings() {
            config.settings.load(name.as_bytes(), value.as_bytes()).map_err(|error| {
                let reason = match error {
                    SettingError::Refused { reason, .. } => reason,
                    unknown @ SettingError::Unknown(_) => unknown.to_string(),
                };
                ConfigError::BadFlag { name, value, reason }
            })?;
        }
        config.enter_directory()?;
        Ok(config)
    }

    /// Goes to the directory that `dir` names, as Redis does, so that other relative paths start there.
    fn enter_directory(&mut self) -> Result<(), ConfigError> {
        let directory = PathBuf::from(self.text("dir"));
        let failed = |error| ConfigError::BadDirectory { path: directory.clone(), error };
        if directory != Path::new(".") {
            std::env::set_current_dir(&directory).map_err(failed)?;
        }
        let absolute = std::env::current_dir().map_err(failed)?;
        // Cannot fail: it takes any text.
        let _ = self.settings.load(b"dir", absolute.as_os_str().as_encoded_bytes());
        Ok(())
    }

    /// The text of a setting.
    pub fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&self.settings.get(name).unwrap_or_default()).into_owned()
    }

    /// The number that a setting holds; 0 when it holds none.
    pub fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// How the store is to be opened, a new pool being made at `now_ms`.
    ///
    /// # Errors
    /// [`ConfigError::BadFlag`] for a value that only shows here to be of no use.
    pub fn store_options(&self, now_ms: u64) -> Result<StoreOptions, ConfigError> {
        let in_memory = self.text("medium") == "dram";
        let max_bytes = self.number("pool-max-size");
        let reserve_bytes = max_bytes.max(ROOM_TO_GROW_BYTES);
        let region = RegionOptions { hook: self.latency_hook()?, reserve_bytes, ..RegionOptions::default() };
        Ok(StoreOptions {
            pool: PoolOptions {
                path: (!in_memory).then(|| PathBuf::from(self.text("pool"))),
                bytes: self.number("pool-size"),
                max_bytes,
                segment_bytes: None,
                stripes: STRIPES,
                now_ms,
                region,
            },
            databases: self.settings.databases(),
            recovery_threads: thread::available_parallelism().map_or(1, usize::from),
            salvage: self.text("pool-damage") == "salvage",
        })
    }

    /// What makes memory as slow as `emulate-latency` says; nothing by default.
    fn latency_hook(&self) -> Result<Option<Arc<dyn Hook>>, ConfigError> {
        let value = self.text("emulate-latency");
        if value.is_empty() {
            return Ok(None);
        }
        match value.parse::<LatencyModel>() {
            Ok(model) => Ok(Some(Latency::new(model))),
            Err(error) => Err(ConfigError::BadFlag { name: "emulate-latency", value, reason: error.to_string() }),
        }
    }

    fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let unreadable = |error| ConfigError::Unreadable { path: path.to_owned(), error };
        let path = path.canonicalize().map_err(unreadable)?;
        self.file = Some(path.clone());
        FileReader { config: self, values: HashMap::new() }.read(&path, 0)
    }
}

/// Reads a file and those that it includes.
struct FileReader<'a> {
    config: &'a mut Config,
    /// What the directives that add up have come to in these files.
    values: HashMap<&'static str, Vec<u8>>,
}

impl FileReader<'_> {
    fn read(&mut self, path: &Path, depth: usize) -> Result<(), ConfigError> {
        if depth > MAX_INCLUDES {
            return Err(ConfigError::IncludedTooDeep { path: path.to_owned() });
        }
        let text = fs::read(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
        for (i, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let bad = |reason| ConfigError::BadLine { path: path.to_owned(), line: i + 1, reason };
            let Some(directive) = file::parse_line(line).map_err(bad)? else { continue };
            if directive.name.eq_ignore_ascii_case("include") {
                let included = directive.value(Kind::Text).map_err(bad)?;
                self.read(Path::new(&*String::from_utf8_lossy(&included)), depth + 1)?;
            } else if FOREIGN_DIRECTIVES.iter().any(|name| directive.name.eq_ignore_ascii_case(name)) {
                self.warn(path, i + 1, &directive.name);
            } else {
                let spec = self.apply(&directive).map_err(|error| match error {
                    SettingError::Unknown(_) => ConfigError::UnknownDirective {
                        path: path.to_owned(),
                        line: i + 1,
                        name: directive.name.clone(),
                    },
                    SettingError::Refused { reason, .. } => bad(format!("{}: {reason}", directive.name)),
                })?;
                if matches!(spec.effect, Effect::Ignored | Effect::IgnoredFixed) {
                    self.warn(path, i + 1, &directive.name);
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, directive: &file::Directive) -> Result<&'static SettingSpec, SettingError> {
        let spec = Settings::spec(directive.name.as_bytes())?;
        let refused = |reason| SettingError::Refused { name: directive.name.clone(), reason };
        let mut value = directive.value(spec.kind).map_err(refused)?;
        // Save points of several lines add up, unless one is empty.
        if spec.kind == Kind::SavePoints {
            let so_far = self.values.entry(spec.name).or_default();
            if value.is_empty() {
                so_far.clear();
            } else {
                so_far.push(b' ');
                so_far.extend_from_slice(&value);
            }
            value = so_far.clone();
        }
        self.config.settings.load(spec.name.as_bytes(), &value)
    }

    fn warn(&mut self, path: &Path, line: usize, name: &str) {
        self.config.warnings.push(format!("{}:{line}: '{name}' has no effect in this server", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn load(file: &str, flags: &[&str]) -> Result<Config, ConfigError> {
        let mut on_disk = tempfile::NamedTempFile::new().unwrap();
        on_disk.write_all(file.as_bytes()).unwrap();
        let path = on_disk.path().to_str().unwrap();
        let line = ["fencepost", "--config", path].into_iter().chain(flags.iter().copied());
        let Action::Serve(args) = Cli::try_parse_from(line).unwrap().into_action() else { panic!("serves") };
        Config::load(&args)
    }

    fn error(file: &str, flags: &[&str]) -> String {
        let text = load(file, flags).unwrap_err().to_string();
        match text.split_once(".tmp") {
            Some((_, rest)) => rest.split_once(':').map_or(rest, |(_, rest)| rest).to_owned(),
            None => text,
        }
    }

    #[test]
    fn flags_override_the_file_and_the_file_overrides_the_defaults() {
        let config = load("# ours\nPort 7000\nmaxclients 5\npool-size 2gb\n", &["--port", "7001"]).unwrap();
        assert_eq!(config.text("port"), "7001");
        assert_eq!(config.number("maxclients"), 5);
        assert_eq!(config.number("pool-size"), 2 << 30);
        assert_eq!(config.number("databases"), 16);
    }

    #[test]
    fn a_pool_has_room_to_grow_in_any_case_and_as_much_as_it_may_use() {
        let pool = |flags: &[&str]| load("", flags).unwrap().store_options(0).unwrap().pool;
        assert_eq!((pool(&[]).max_bytes, pool(&[]).region.reserve_bytes), (0, 1 << 40));
        let large = pool(&["--pool-max-size", "4096gb"]);
        assert_eq!((large.bytes, large.max_bytes, large.region.reserve_bytes), (1 << 30, 1 << 42, 1 << 42));
        assert!(load("pool-max-size 20000gb\n", &[]).is_err(), "16 TiB is the most");
    }

    #[test]
    fn serve_is_the_default_and_pool_commands_take_a_path() {
        let action = |line: &[&str]| Cli::try_parse_from(line).unwrap().into_action();
        assert!(matches!(action(&["fencepost"]), Action::Serve(_)));
        assert!(matches!(action(&["fencepost", "serve", "--port", "1"]), Action::Serve(_)));
        assert!(matches!(action(&["fencepost", "pool", "info", "x"]), Action::PoolInfo { map: true, .. }));
        assert!(matches!(action(&["fencepost", "pool", "check", "x"]), Action::PoolCheck(_)));
        assert!(matches!(action(&["fencepost", "pool", "salvage", "x", "y"]), Action::PoolSalvage(..)));
    }

    #[test]
    fn words_and_repeated_directives_are_taken_as_redis_takes_them() {
        let config = load(
            "bind 127.0.0.1 ::1\nsave 900 1\nsave 60 10000\nclient-output-buffer-limit normal 1mb 512kb 10\nrequirepass \"a b\\x41\"\n",
            &[],
        )
        .unwrap();
        assert_eq!(config.text("bind"), "127.0.0.1 ::1");
        assert_eq!(config.text("save"), "900 1 60 10000");
        assert!(config.text("client-output-buffer-limit").starts_with("normal 1048576 524288 10 slave"));
        assert_eq!(config.text("requirepass"), "a bA");
    }

    #[test]
    fn what_cannot_apply_is_accepted_with_a_warning() {
        let config = load("appendonly yes\nrename-command FLUSHALL \"\"\nport 1\n", &[]).unwrap();
        assert_eq!(config.warnings.len(), 2);
        assert!(config.warnings[0].ends_with(":1: 'appendonly' has no effect in this server"));
        assert!(config.warnings[1].contains(":2: 'rename-command'"));
    }

    #[test]
    fn errors_name_the_line_and_what_to_do() {
        assert_eq!(error("\n\nfoo 1\n", &[]), "3: there is no directive 'foo'; correct its name or remove the line");
        assert_eq!(error("port 1 2\n", &[]), "1: port: wrong number of arguments; correct the line or remove it");
        assert_eq!(
            error("port 70000\n", &[]),
            "1: port: argument must be between 0 and 65535 inclusive; correct the line or remove it"
        );
        assert_eq!(error("a \"b\n", &[]), "1: unbalanced quotes in configuration line; correct the line or remove it");
        assert_eq!(error("", &["--pool-size", "1xb"]), "--pool-size 1xb: argument must be a memory value");
        let config = load("", &["--emulate-latency", "treacle"]).unwrap();
        let text = config.store_options(0).map(|_| ()).unwrap_err().to_string();
        assert!(text.starts_with("--emulate-latency treacle: "), "{text}");
        assert!(
            load("", &["--emulate-latency", "optane"]).unwrap().store_options(0).unwrap().pool.region.hook.is_some()
        );
    }
}
