//! Free ports on the loopback address.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};

use crate::keys;

/// Ports handed out by this process, so that two control planes started at once are not given the same ones.
static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// `N` ports that nothing listens on, outside the range from which the kernel takes ports for outgoing connections: there
/// one that is released, as in a restart of the API server, can be gone a moment later.
///
/// Another process may still take one before it is used, so a start that fails for that reason is tried again.
pub(crate) fn free<const N: usize>() -> anyhow::Result<[u16; N]> {
    let below = first_outgoing_port();
    let mut guard = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = guard.get_or_insert_default();
    let mut found = [0; N];
    for port in &mut found {
        *port = one_of(below, taken)?;
        taken.insert(*port);
    }
    Ok(found)
}

fn one_of(below: u16, taken: &HashSet<u16>) -> anyhow::Result<u16> {
    const LOWEST: u16 = 12_000;
    for _ in 0..1_000 {
        let port = if below > LOWEST + 1_000 {
            let random = u16::from_ne_bytes(keys::random()?);
            LOWEST + random % (below - LOWEST)
        } else {
            // A machine with an unusual range: whatever the kernel gives.
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr())?.port()
        };
        if !taken.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1 between {LOWEST} and {below}: stop some listeners")
}

fn first_outgoing_port() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .context("unreadable")
        .and_then(|range| Ok(range.split_whitespace().next().context("empty")?.parse()?))
        .unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_different_and_can_be_listened_on() {
        let ports: [u16; 20] = free().unwrap();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
        let listeners: Vec<_> =
            ports.iter().map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).unwrap()).collect();
        assert_eq!(listeners.len(), ports.len());
    }
}
