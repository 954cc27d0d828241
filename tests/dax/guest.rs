//! A machine with persistent memory, emulated by QEMU, that boots the server and can lose its power.
//!
//! A power cut is SIGKILL to the emulator: what the guest had in its memory (page cache, journal not yet written, the server) is gone, and every
//! store to the persistent memory is kept, flushed or not, as it went to a file of the host. So wrong flags of a mapping, a missing sync of what
//! was allocated and faults of recovery are found, with the kernel's real code for DAX; a missing flush or fence never: that is for `tests/crash`.
//!
//! Always without KVM: it is not to be had everywhere, and software emulation has CLWB and boots in seconds.

use fencepost_harness::server::free_port;
use fencepost_harness::{Client, Frame};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a guest may take from power-on to the server's answer, or to its end: a boot takes 4 s on an idle core.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Between two looks at an emulator: there is no event to wait for across processes.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// Where, in an image, what the guest sees as the device begins: the kernel keeps what is before it for its information block.
pub const DEVICE_AT: u64 = 2 << 20;

/// What stands between the server and the persistent memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// ext4, mounted with DAX. The journal's timer is off, so that only what is synced survives.
    FileSystem,
    /// Device DAX.
    Device,
}

/// The memory itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Module {
    /// An NVDIMM.
    Nvdimm,
    /// One on a platform that saves the processor's caches, too (eADR).
    Eadr,
    /// One that says of itself that it could not save its contents: the kernel has it read-only.
    Unarmed,
    /// virtio-pmem: DAX, but the kernel refuses MAP_SYNC.
    Virtio,
}

/// A file with the contents of a persistent memory. Removed when dropped.
pub struct Image {
    path: PathBuf,
    access: Access,
    mib: u64,
}

impl Image {
    /// An empty one of so many MiB, a multiple of 128; with a file system, if there is to be one.
    pub fn new(name: &str, access: Access, mib: u64) -> Self {
        let image = Self::empty(name, access, mib);
        if access == Access::FileSystem {
            image.make_file_system();
        }
        image
    }

    fn empty(name: &str, access: Access, mib: u64) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("dax-{name}-{}.img", std::process::id()));
        File::create(&path).and_then(|file| file.set_len(mib << 20)).expect("an image can be made");
        Self { path, access, mib }
    }

    fn make_file_system(&self) {
        let blocks = ((self.mib << 20) - DEVICE_AT) / 4096;
        // Blocks of a page, as DAX wants them. The stride has large files begin at 2 MiB, for huge pages.
        let layout = format!("offset={DEVICE_AT},stride=512,stripe_width=512");
        let made = Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-E", &layout])
            .args([&self.path.display().to_string(), &blocks.to_string()])
            .status();
        assert!(made.is_ok_and(|status| status.success()), "mke2fs failed");
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // If it fails a file stays in the build folder.
        let _ = fs::remove_file(&self.path);
    }
}

/// A guest that is switched on.
pub struct Guest {
    emulator: Child,
    console: PathBuf,
    port: u16,
    booted: Instant,
}

impl Guest {
    /// Switches a machine with this memory on; the server starts with these options. `boot` is what `guest.sh` has made.
    ///
    /// # Panics
    /// When there is no emulator.
    pub fn boot(boot: &Path, image: &Image, module: Module, options: &[&str]) -> Self {
        let port = free_port();
        let console = image.path.with_extension("console");
        let access = match image.access {
            Access::FileSystem => "fp.on=fsdax fp.mount=dax=always,commit=900",
            Access::Device => "fp.on=devdax",
        };
        let (machine, device) = match module {
            Module::Nvdimm => ("pc,nvdimm=on", "nvdimm,memdev=pool,unarmed=off"),
            Module::Eadr => ("pc,nvdimm=on,nvdimm-persistence=cpu", "nvdimm,memdev=pool,unarmed=off"),
            Module::Unarmed => ("pc,nvdimm=on", "nvdimm,memdev=pool,unarmed=on"),
            Module::Virtio => ("pc", "virtio-pmem-pci,memdev=pool"),
        };
        // It goes when this process does, however that ends.
        let mut emulator = Command::new("setpriv");
        emulator.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        emulator.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        emulator.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-machine", machine]);
        emulator.args(["-m", &format!("384M,slots=2,maxmem={}M", 1024 + image.mib)]);
        emulator.arg("-kernel").arg(boot.join("vmlinuz")).arg("-initrd").arg(boot.join("boot.cpio"));
        emulator.arg("-append").arg(format!(
            "console=ttyS0 quiet panic=-1 oops=panic mitigations=off random.trust_cpu=on {access} fp.args={}",
            options.join(",")
        ));
        emulator.args(["-serial", &format!("file:{}", console.display())]);
        let memory = format!("share=on,mem-path={},size={}M", image.path.display(), image.mib);
        emulator.args(["-object", &format!("memory-backend-file,id=pool,{memory}"), "-device", device]);
        emulator.args(["-netdev", &format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:6379")]);
        emulator.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        let emulator = emulator.stdin(Stdio::null()).spawn().expect("setpriv can be started");
        Self { emulator, console, port, booted: Instant::now() }
    }

    /// Where the host reaches the server. The emulator accepts connections before the server does.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// All that the guest has said.
    pub fn console(&self) -> String {
        fs::read(&self.console).map_or(String::new(), |bytes| String::from_utf8_lossy(&bytes).replace('\r', ""))
    }

    /// Waits until the server answers; returns the time since power-on.
    ///
    /// # Errors
    /// When the guest has switched itself off, or the time is over.
    pub fn wait_ready(&mut self) -> io::Result<Duration> {
        // Not asked before it says so: a connection that the emulator accepts while the guest has no network yet stays without an answer.
        self.wait_said("ready to serve")?;
        self.wait_for(|guest| {
            let reply = Client::connect(guest.address()).and_then(|mut client| client.call(&["PING"]));
            matches!(reply, Ok(Frame::Simple(_)))
        })
    }

    /// Waits until the guest has said this; returns the time since power-on.
    ///
    /// # Errors
    /// As [`Guest::wait_ready`].
    pub fn wait_said(&mut self, text: &str) -> io::Result<Duration> {
        self.wait_for(|guest| guest.console().contains(text))
    }

    /// Waits until the guest has switched itself off.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_off(&mut self) {
        let on = self.wait_for(|_| false).expect_err("waits for nothing else");
        assert!(on.kind() == io::ErrorKind::BrokenPipe, "{on}\n{}", self.console());
    }

    fn wait_for(&mut self, mut happened: impl FnMut(&mut Self) -> bool) -> io::Result<Duration> {
        loop {
            if let Some(status) = self.emulator.try_wait()? {
                let text = format!("the guest is off ({status})");
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, text));
            }
            if happened(self) {
                return Ok(self.booted.elapsed());
            }
            if self.booted.elapsed() > WAIT_MAX {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing within {WAIT_MAX:?}")));
            }
            std::thread::sleep(POLL_EVERY);
        }
    }

    /// Cuts the power.
    ///
    /// # Panics
    /// When the emulator cannot be killed.
    pub fn cut(&mut self) {
        self.emulator.kill().expect("an own process can be killed");
        self.emulator.wait().expect("an own process can be waited for");
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Nothing to do about errors here: it is off, or not ours any more.
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
        let _ = fs::remove_file(&self.console);
    }
}
