//! Leases as they are on the API server: reading them, writing them. Decides nothing.

use kube::{Client, Config};

/// A client for Leases alone: a connection of its own, and no retries behind the gate's back.
///
/// # Errors
/// The configuration cannot be turned into a client (certificates, proxy).
pub fn leases_client(mut config: Config) -> Result<Client, kube::Error> {
    config.default_retry = false;
    Client::try_from(config)
}
