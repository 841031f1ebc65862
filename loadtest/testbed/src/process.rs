//! Child processes that never outlive this one, and that faults can be done to.
//!
//! Three things see to the first, since a process cannot clean up after its own SIGKILL:
//! - Every child runs under `setpriv --pdeathsig KILL`. The kernel binds that signal to the *thread* that forked, not to
//!   the process, so all children are spawned by one thread that lives as long as the process.
//! - A janitor, a shell in a session of its own, holds the reading end of a pipe from us. When the pipe ends we are gone: it
//!   kills what still carries our mark in its environment (grandchildren too, and a child that had no time to run
//!   `setpriv`), then removes our directories, those of cgroups as well.
//! - [`Child`] kills and reaps its process when it is dropped.
//!
//! Every child leads a process group of its own: a Ctrl-C at the terminal reaches this process only, which then ends its
//! children in order, and signals sent through [`Child`] reach what the child has started as well.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process_group, waitid};

/// Marks every process that belongs to us, in its environment.
const OWNER: &str = "TESTBED_OWNER";

/// Reads directories, one a line, until we are gone; `$1` is the mark. A process may fork while it is being looked for, hence
/// the rounds.
const JANITOR: &str = r#"
mark=$1; shift
while IFS= read -r directory; do set -- "$@" "$directory"; done
for round in 1 2 3 4 5 6 7 8 9 10; do
  found=$(grep -lsF "TESTBED_OWNER=$mark" /proc/[0-9]*/environ) || break
  for environ in $found; do pid=${environ#/proc/}; kill -9 "${pid%/environ}" 2>/dev/null; done
  sleep 0.1
done
for directory; do
  # Most are gone already, with their value: nothing is run for those that would still name them.
  [ -e "$directory" ] || continue
  case $directory in
    # A cgroup's files cannot be deleted, and it only goes when the last process in it has gone.
    /sys/fs/cgroup/*)
      for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        find "$directory" -depth -type d -exec rmdir {} + 2>/dev/null
        [ -d "$directory" ] || break
        sleep 0.1
      done ;;
    *) rm -rf -- "$directory" ;;
  esac
done
"#;

/// Where a child's output goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Nowhere.
    #[default]
    Null,
    /// Where ours goes.
    Inherit,
    /// Appended to this file.
    File(PathBuf),
}

impl Output {
    fn stdio(&self) -> anyhow::Result<Stdio> {
        Ok(match self {
            Self::Null => Stdio::null(),
            Self::Inherit => Stdio::inherit(),
            Self::File(path) => OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("cannot write the log file {}", path.display()))?
                .into(),
        })
    }
}

/// What to run. Unlike [`std::process::Command`] it is a plain value: it can be kept and started again.
#[derive(Clone, Debug)]
pub struct Command {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    stdout: Output,
    stderr: Output,
}

impl Command {
    /// A program by its path, or by a name that is looked for in `PATH`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new(), env: Vec::new(), stdout: Output::Null, stderr: Output::Null }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable; the rest of the environment is inherited.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Takes a variable out of the inherited environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), None));
        self
    }

    /// Sends the standard output somewhere; by default it is thrown away.
    #[must_use]
    pub fn stdout(mut self, output: Output) -> Self {
        self.stdout = output;
        self
    }

    /// Sends the standard error output somewhere; by default it is thrown away.
    #[must_use]
    pub fn stderr(mut self, output: Output) -> Self {
        self.stderr = output;
        self
    }

    /// Appends both outputs to one file.
    #[must_use]
    pub fn log(self, path: impl Into<PathBuf>) -> Self {
        let file = Output::File(path.into());
        self.stdout(file.clone()).stderr(file)
    }

    /// A script for `sh` that becomes this program. Where its output goes is not in it.
    pub(crate) fn script(&self) -> String {
        let quoted = |word: &OsStr| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"));
        let mut script = String::new();
        for (name, value) in &self.env {
            let name = name.to_string_lossy();
            script.push_str(&match value {
                Some(value) => format!("export {name}={}\n", quoted(value)),
                None => format!("unset {name}\n"),
            });
        }
        let words = std::iter::once(self.program.as_os_str()).chain(self.args.iter().map(OsString::as_os_str));
        script.push_str(&format!("exec {}\n", words.map(quoted).collect::<Vec<_>>().join(" ")));
        script
    }

    fn name(&self) -> String {
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }

    fn under_setpriv(&self, mark: &str) -> anyhow::Result<std::process::Command> {
        // setpriv would only report a missing program by exiting with 127, into a log.
        if self.program.components().count() > 1 && !self.program.is_file() {
            bail!("{} is not there: build it first", self.program.display());
        }
        let mut command = std::process::Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program).args(&self.args);
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env(OWNER, mark).process_group(0);
        command.stdin(Stdio::null()).stdout(self.stdout.stdio()?).stderr(self.stderr.stdio()?);
        Ok(command)
    }
}

/// A signal that can be sent to a [`Child`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Asks it to end, as Kubernetes does with a pod.
    Term,
    /// Asks it to end, as Ctrl-C does.
    Int,
    /// Ends it at once.
    Kill,
    /// Freezes it, as a suspended machine or a long pause does.
    Stop,
    /// Lets it go on after [`Signal::Stop`].
    Cont,
}

impl From<Signal> for rustix::process::Signal {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Term => Self::TERM,
            Signal::Int => Self::INT,
            Signal::Kill => Self::KILL,
            Signal::Stop => Self::STOP,
            Signal::Cont => Self::CONT,
        }
    }
}

/// A running child. Dropping it kills the process and waits until it is gone.
#[derive(Debug)]
pub struct Child {
    name: String,
    pid: u32,
    // Under a lock, since a signal must not be sent once the process has been reaped: its pid may be someone else's then.
    process: Mutex<std::process::Child>,
}

impl Child {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The program's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a signal to the child and to whatever it started; nothing happens when it has ended. After
    /// [`Signal::Stop`] every thread of the child stands: on busy cores one may run on for a while, and answer.
    ///
    /// # Errors
    /// When the system refuses, which it does not for children of one's own.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let mut process = self.lock();
        if process.try_wait()?.is_some() {
            return Ok(());
        }
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        kill_process_group(pid, signal.into())?;
        if signal == Signal::Stop {
            let stands = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(pid), stands)?;
        }
        Ok(())
    }

    /// Ends it at once and waits until it is gone, so that its ports are free again.
    ///
    /// # Errors
    /// As [`Child::signal`].
    pub fn kill(&self) -> io::Result<ExitStatus> {
        self.signal(Signal::Kill)?;
        self.lock().wait()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        self.lock().try_wait()
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When the system does not tell.
    pub async fn wait(&self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks it to end and gives it `grace` to do so; kills it after that. `None` means that it had to be killed.
    ///
    /// # Errors
    /// As [`Child::signal`].
    pub async fn terminate(&self, grace: Duration) -> io::Result<Option<ExitStatus>> {
        self.signal(Signal::Term)?;
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.kill()?;
        Ok(None)
    }

    fn lock(&self) -> MutexGuard<'_, std::process::Child> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing can be done about a failure here, and the janitor comes later.
        let _ = self.kill();
    }
}

/// Starts a child that ends with this process, however this process ends.
///
/// # Errors
/// When the program or `setpriv` (util-linux) is missing, or its log file cannot be written.
pub fn spawn(command: &Command) -> anyhow::Result<Child> {
    let owner = owner()?;
    let (reply, answer) = mpsc::channel();
    owner
        .spawner
        .send((command.under_setpriv(&owner.mark)?, reply))
        .ok()
        .context("the thread that starts processes has ended")?;
    let process = answer
        .recv()
        .context("the thread that starts processes has ended")?
        .with_context(|| format!("cannot start {} by setpriv (package util-linux)", command.name()))?;
    Ok(Child { name: command.name(), pid: process.id(), process: Mutex::new(process) })
}

/// Has the janitor remove this directory when we are gone; the caller removes it earlier when it can.
///
/// # Errors
/// When its path is not absolute or has a line break, or there is no janitor any more.
pub fn removed_at_exit(directory: &Path) -> anyhow::Result<()> {
    let mut line = directory.as_os_str().as_bytes().to_vec();
    if line.contains(&b'\n') || !directory.is_absolute() {
        bail!("{}: a directory of the test bed needs an absolute path without line breaks", directory.display());
    }
    line.push(b'\n');
    let mut pipe = owner()?.janitor.lock().unwrap_or_else(PoisonError::into_inner);
    pipe.write_all(&line).context("the janitor has ended: it must not be killed while the test bed is in use")
}

type Request = (std::process::Command, mpsc::Sender<io::Result<std::process::Child>>);

/// What this process has one of.
struct Owner {
    mark: String,
    spawner: mpsc::Sender<Request>,
    janitor: Mutex<std::process::ChildStdin>,
}

fn owner() -> anyhow::Result<&'static Owner> {
    static OWNER: OnceLock<Result<Owner, String>> = OnceLock::new();
    OWNER
        .get_or_init(|| Owner::start().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

impl Owner {
    fn start() -> anyhow::Result<Self> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Ends in a letter, so that no mark is the beginning of another.
        let mark = format!("{}-{}x", std::process::id(), since_epoch.as_nanos());
        // Without our own mark, should we be a child of another test bed ourselves: its janitor must not kill ours, which
        // has directories to remove. Without our outputs, or whoever reads them to the end would wait for the janitor.
        let janitor = std::process::Command::new("setsid")
            .args(["sh", "-c", JANITOR, "testbed-janitor", &mark])
            .env_remove(self::OWNER)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the janitor: setsid (package util-linux) and sh are needed")?
            .stdin
            .context("the janitor has no standard input")?;
        let (spawner, requests) = mpsc::channel::<Request>();
        thread::Builder::new().name("testbed-spawner".into()).spawn(move || {
            for (mut command, reply) in requests {
                // Whoever asked may have gone; then the child is dropped, unreaped but under the death signal and the mark.
                let _ = reply.send(command.spawn());
            }
        })?;
        Ok(Self { mark, spawner, janitor: Mutex::new(janitor) })
    }
}
