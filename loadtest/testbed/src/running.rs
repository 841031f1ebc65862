//! A program of a control plane that can be stopped, started again, frozen and looked at.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};

use crate::process::{self, Child, Command, Signal};
use crate::programs::Component;

/// Another process took a port between our finding it free and its use.
#[derive(Debug)]
pub(crate) struct PortTaken;

impl fmt::Display for PortTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port was taken by another process")
    }
}

impl std::error::Error for PortTaken {}

#[derive(Debug)]
enum State {
    Stopped,
    Running(Child),
    Paused(Child),
}

/// A program, its command to start it again with, and what it is doing.
#[derive(Debug)]
pub(crate) struct Program {
    component: Component,
    command: Command,
    log: PathBuf,
    state: Mutex<State>,
}

impl Program {
    /// Not yet running.
    pub(crate) fn new(command: Command, directory: &Path, component: Component) -> Self {
        let log = directory.join(format!("{}.log", component.program()));
        Self { component, command, log, state: Mutex::new(State::Stopped) }
    }

    /// Running.
    pub(crate) fn start(command: Command, directory: &Path, component: Component) -> anyhow::Result<Self> {
        let program = Self::new(command, directory, component);
        program.spawn()?;
        Ok(program)
    }

    pub(crate) fn spawn(&self) -> anyhow::Result<()> {
        let mut state = self.lock();
        if !matches!(*state, State::Stopped) {
            bail!("{} is running: stop it first", self.component.program());
        }
        *state = State::Running(process::spawn(&self.command)?);
        Ok(())
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        match &*self.lock() {
            State::Stopped => None,
            State::Running(child) | State::Paused(child) => Some(child.pid()),
        }
    }

    /// Neither stopped nor paused.
    pub(crate) fn answers(&self) -> bool {
        matches!(*self.lock(), State::Running(_))
    }

    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        match std::mem::replace(&mut *self.lock(), State::Stopped) {
            State::Stopped => Ok(()),
            State::Running(child) | State::Paused(child) => {
                child.kill()?;
                Ok(())
            }
        }
    }

    /// Sends the signal without waiting: dropping waits.
    pub(crate) fn begin_to_stop(&self) {
        if let State::Running(child) | State::Paused(child) = &*self.lock() {
            let _ = child.signal(Signal::Kill);
        }
    }

    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::Stop, State::Paused)
    }

    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::Cont, State::Running)
    }

    fn signal(&self, signal: Signal, next: impl FnOnce(Child) -> State) -> anyhow::Result<()> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Stopped) {
            State::Stopped => bail!("{} does not run: start it first", self.component.program()),
            State::Running(child) | State::Paused(child) => {
                child.signal(signal)?;
                *state = next(child);
                Ok(())
            }
        }
    }

    /// Fails when it has ended without being asked to.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let state = self.lock();
        let (State::Running(child) | State::Paused(child)) = &*state else {
            return Ok(());
        };
        let Some(status) = child.try_wait()? else {
            return Ok(());
        };
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(15)..].join("\n");
        let ended = format!("{} ended ({status}); the end of its log:\n{end}", self.component.program());
        if end.contains("address already in use") {
            return Err(PortTaken).context(ended);
        }
        bail!(ended)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
