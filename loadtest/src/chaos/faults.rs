//! Faults, done and undone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use testbed::Component;
use testbed::process::Signal;
use tokio::time::sleep;

use super::plan::{Fault, Hand, Span, Weather};
use super::stage::Stage;
use super::whole;
use crate::fleet::{NAMESPACE, SESSION_LEASE, SHARD_LEASE, is_session_of};

/// From the change of a source to the middle of its fan-out.
const MIDDLE: Duration = Duration::from_millis(60);
/// From the last sign of a replica to the first other holder of a shard of its. A bound for what never comes.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);
/// A clock that was moved by minutes is off by at least this.
const OFF: Duration = Duration::from_secs(30 * 60);

impl Stage {
    /// Does it in the middle of a fan-out, and undoes it.
    ///
    /// # Errors
    /// When it cannot be done.
    pub(super) async fn inflict(&mut self, fault: &Fault) -> anyhow::Result<Outcome> {
        if let (Fault::Clock(..), Err(why)) = (fault, &self.clocks) {
            return Ok(Outcome::Skipped(why.clone()));
        }
        self.fan_out().await?;
        match fault {
            Fault::Kill(replica, away) => {
                let name = self.forget(*replica)?;
                self.fleet.kill(&name)?;
                sleep(*away).await;
                self.launch(*replica)?;
            }
            Fault::Pause(replica, span) => {
                let name = self.name(*replica)?;
                self.fleet.signal(name, Signal::Stop)?;
                self.last(*span, name).await?;
                self.fleet.signal(name, Signal::Cont)?;
            }
            Fault::Network(replica, weather, span) => {
                let (name, proxy) = (self.name(*replica)?, &self.proxies[replica - 1]);
                proxy.set(*weather);
                self.last(*span, name).await?;
                proxy.set(Weather::Fair);
            }
            Fault::ApiServer(away) => self.restart(Component::ApiServer, *away).await?,
            Fault::Etcd(away) => self.restart(Component::Etcd, *away).await?,
            Fault::Leases(hand, shard) => self.handle_leases(*hand, *shard).await?,
            Fault::Clock(replica, minutes, time) => self.move_clock(self.name(*replica)?, *minutes, *time).await?,
            Fault::Up(replica) => self.launch(*replica)?,
            Fault::Down(replica) => {
                let name = self.forget(*replica)?;
                self.fleet.retire(&name).await?;
            }
        }
        Ok(Outcome::Done)
    }

    /// To the end of the span, or else to the middle of another fan-out.
    async fn last(&self, span: Span, replica: &str) -> anyhow::Result<()> {
        let time = match span {
            Span::For(time) => time,
            Span::UntilTaken => return self.until_taken(replica).await,
        };
        sleep(time).await;
        self.fan_out().await
    }

    async fn until_taken(&self, replica: &str) -> anyhow::Result<()> {
        let held = async || anyhow::Ok(whole::holders(&whole::leases(&self.client).await?));
        let before = held().await?;
        let taken = |now: &BTreeMap<usize, String>| {
            let of_replica = before.iter().filter(|(_, holder)| is_session_of(holder, replica));
            of_replica.into_iter().any(|(shard, holder)| now.get(shard).is_some_and(|now| now != holder))
        };
        let deadline = Instant::now() + TAKEN_WITHIN;
        while !taken(&held().await?) {
            if Instant::now() > deadline {
                bail!("nobody takes the shards of {replica}");
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    async fn fan_out(&self) -> anyhow::Result<()> {
        self.load.fan_out().await.context("the source of the fan-out cannot be changed")?;
        sleep(MIDDLE).await;
        Ok(())
    }

    async fn restart(&self, component: Component, away: Duration) -> anyhow::Result<()> {
        let control_plane = self.control_plane()?;
        control_plane.stop(component)?;
        sleep(away).await;
        control_plane.start_again(component).await
    }

    async fn handle_leases(&self, hand: Hand, shard: usize) -> anyhow::Result<()> {
        let all = whole::leases(&self.client).await?;
        let holders = whole::holders(&all);
        let holder = holders.get(&shard).context("the shard has no holder")?;
        let leases = Api::<Lease>::namespaced(self.client.clone(), NAMESPACE);
        let shard = format!("{SHARD_LEASE}{shard:02}");
        let name_holder = async |holder: Option<&str>| {
            let patch = Patch::Merge(json!({ "spec": { "holderIdentity": holder } }));
            leases.patch(&shard, &PatchParams::default(), &patch).await.map(drop)
        };
        match hand {
            Hand::Clear => name_holder(None).await?,
            Hand::Foreign => name_holder(Some("somebody-else")).await?,
            Hand::Rename => {
                let other = holders.values().find(|other| *other != holder).context("nobody else holds a shard")?;
                name_holder(Some(other)).await?;
            }
            Hand::DeleteShard => leases.delete(&shard, &DeleteParams::default()).await.map(drop)?,
            Hand::DeleteSession => {
                let session = format!("{SESSION_LEASE}{holder}");
                leases.delete(&session, &DeleteParams::default()).await.map(drop)?;
            }
            Hand::DeleteAll => {
                leases.delete_collection(&DeleteParams::default(), &ListParams::default()).await.map(drop)?;
            }
        }
        Ok(())
    }

    async fn move_clock(&self, replica: &str, minutes: i32, time: Duration) -> anyhow::Result<()> {
        let clocks = self.clocks.as_ref().map_err(|why| anyhow::anyhow!("{why}"))?;
        clocks.set(replica, minutes)?;
        sleep(time).await;
        // Its renewals tell what its clock says.
        let leases = whole::leases(&self.client).await?;
        let renewal = |lease: &Lease| {
            let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
            let session = lease.metadata.name.as_deref()?.starts_with(SESSION_LEASE);
            let renewal = lease.spec.as_ref()?.renew_time.as_ref()?.0;
            (session && is_session_of(holder, replica)).then_some(renewal)
        };
        let now = jiff::Timestamp::now();
        let off = leases.iter().filter_map(renewal).any(|renewal| now.duration_since(renewal).unsigned_abs() > OFF);
        if !off {
            bail!("the clock of {replica} did not move");
        }
        clocks.set(replica, 0)
    }
}

/// What became of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was done and is over.
    Done,
    /// It cannot be done here; why.
    Skipped(String),
}
