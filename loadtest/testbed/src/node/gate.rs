//! The way from the host to the API server: a port on 127.0.0.1 whose connections go on inside the node's namespaces.
//!
//! Nothing is changed on the host for it, neither a link nor a route, and when the cluster is down nothing listens: a client
//! with an old kubeconfig is refused, and never looks for a private address outside this machine.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::AsFd as _;
use std::thread::{self, JoinHandle};
use std::{io, mem};

use anyhow::{Context as _, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener as AsyncListener, TcpStream};
use tokio::sync::oneshot;

/// Closed, with all connections through it, when this is dropped.
#[derive(Debug)]
pub(super) struct Gate {
    port: u16,
    closed: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Gate {
    /// Opens a way to a port on the loopback address inside the network namespace of a process.
    pub(super) fn open(process: u32, port: u16) -> anyhow::Result<Self> {
        let namespace = File::open(format!("/proc/{process}/ns/net")).context("the node has no network namespace")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on 127.0.0.1")?;
        listener.set_nonblocking(true)?;
        let outside = listener.local_addr()?.port();
        let (closed, until_closed) = oneshot::channel();
        let (reply, answer) = std::sync::mpsc::channel();
        let target = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        // A thread with a runtime of its own: it is in the node's network namespace from here on, where its new sockets
        // belong to. The one that it listens with stays the host's.
        let thread = thread::Builder::new().name("testbed-gate".to_owned()).spawn(move || {
            let entered = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network));
            drop(namespace);
            let failed = entered.is_err();
            // Whoever asked waits for this.
            let _ = reply.send(entered);
            if failed {
                return Ok(());
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
            runtime.block_on(serve(listener, target, until_closed))
        })?;
        answer
            .recv()
            .context("the gate has ended")?
            .map_err(|error| anyhow!("cannot enter the node's network: {error}"))?;
        Ok(Self { port: outside, closed: Some(closed), thread: Some(thread) })
    }

    /// The port on the host.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.closed.take());
        if let Some(thread) = self.thread.take() {
            // It keeps the network namespace in being for as long as it runs.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, target: SocketAddrV4, mut closed: oneshot::Receiver<()>) -> io::Result<()> {
    let listener = AsyncListener::from_std(listener)?;
    loop {
        let accepted = tokio::select! {
            _ = &mut closed => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        // A client that went away in between is no reason to close.
        let Ok((mut client, _)) = accepted else { continue };
        mem::drop(tokio::spawn(async move {
            // Dropped when there is no server: to the client it looks like one that went away.
            if let Ok(mut server) = TcpStream::connect(target).await {
                let _ = client.set_nodelay(true);
                let _ = server.set_nodelay(true);
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        }));
    }
}
