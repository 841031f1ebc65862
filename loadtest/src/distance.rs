//! A longer way to the API server: what is sent to it arrives later.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Passes connections on, unread, to a port of this machine. It ends with its connections when this is dropped.
#[derive(Debug)]
pub struct Distance {
    port: u16,
    task: JoinHandle<()>,
}

impl Distance {
    /// Everything that is sent to `server` through it comes `delay` later; answers come at once.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn to(server: u16, delay: Duration) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port on 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                // One that fails is closed, and both sides see that.
                connections.spawn(async move { drop(pass(stream, server, delay).await) });
            }
        });
        Ok(Self { port, task })
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Distance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(near: TcpStream, server: u16, delay: Duration) -> io::Result<()> {
    let far = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (near.into_split(), far.into_split());
    let (under_way, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let sent = async move {
        let mut piece = vec![0; 16 * 1024];
        loop {
            let length = from_near.read(&mut piece).await?;
            // The end of the connection comes as late as the rest.
            if under_way.send((Instant::now() + delay, piece[..length].to_vec())).await.is_err() || length == 0 {
                return io::Result::Ok(());
            }
        }
    };
    let arrives = async move {
        while let Some((when, piece)) = arriving.recv().await {
            sleep_until(when).await;
            if piece.is_empty() {
                break;
            }
            to_far.write_all(&piece).await?;
        }
        to_far.shutdown().await
    };
    let answers = async move {
        copy(&mut from_far, &mut to_near).await?;
        to_near.shutdown().await
    };
    tokio::try_join!(sent, arrives, answers).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_arrives_later_and_whole() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let distance = Distance::to(server.local_addr().unwrap().port(), Duration::from_millis(80)).await.unwrap();
        let echo = tokio::spawn(async move {
            let (stream, _) = server.accept().await.unwrap();
            let (mut from, mut to) = stream.into_split();
            copy(&mut from, &mut to).await.unwrap()
        });
        let begun = Instant::now();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, distance.port())).await.unwrap();
        let text = vec![7; 100_000];
        let (mut from, mut to) = stream.split();
        let mut back = Vec::new();
        tokio::join!(
            async {
                to.write_all(&text).await.unwrap();
                to.shutdown().await.unwrap();
            },
            async { from.read_to_end(&mut back).await.unwrap() }
        );
        assert!(begun.elapsed() >= Duration::from_millis(80), "it came at once");
        assert_eq!((back == text, echo.await.unwrap()), (true, 100_000));
    }
}
