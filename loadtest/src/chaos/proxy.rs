//! What stands between one replica and the API server, and makes the [`Weather`]. It speaks TLS to both, with the API
//! server's own certificate, so that the replica's kubeconfig differs in nothing but the port.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::plan::Weather;

/// For what a replica still sends after it was refused; and by which the end of a connection comes after what was held back
/// before it, as a resent FIN does. Without it the server would drop the request with the connection.
const LINGER: Duration = Duration::from_secs(1);

/// A running proxy. It ends, with its connections, when this is dropped.
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

/// TLS towards both sides.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    server: u16,
}

impl Tls {
    /// With the certificate of the API server at `server`, a port of this machine, and its key.
    ///
    /// # Errors
    /// When the files are not there, or hold something else.
    pub fn new(certificate: &Path, key: &Path, server: u16) -> anyhow::Result<Self> {
        let unusable = || format!("cannot use the certificate {}", certificate.display());
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_file_iter(certificate).with_context(unusable)?.collect::<Result<_, _>>()?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(chain.clone());
        let key = PrivateKeyDer::from_pem_file(key).with_context(unusable)?;
        let accepting = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
        let connecting = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(accepting)),
            connector: TlsConnector::from(Arc::new(connecting)),
            server,
        })
    }
}

impl Proxy {
    /// Starts one, in fair weather.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(tls: Tls) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port on 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        let (weather, seen) = watch::channel(Weather::Fair);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let (tls, weather) = (tls.clone(), seen.clone());
                // A connection that fails is closed, and the replica sees that.
                connections.spawn(async move { drop(serve(stream, tls, weather).await) });
            }
        });
        Ok(Self { port, weather, task })
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes the weather for all connections.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type FromReplica = server::TlsStream<TcpStream>;
type ToServer = client::TlsStream<TcpStream>;

async fn serve(stream: TcpStream, tls: Tls, weather: watch::Receiver<Weather>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let connecting = async {
        passable(&mut weather.clone()).await;
        let replica = tls.acceptor.accept(stream).await?;
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, tls.server)).await?;
        server.set_nodelay(true)?;
        let name = ServerName::IpAddress(IpAddr::from(Ipv4Addr::LOCALHOST).into());
        io::Result::Ok((replica, tls.connector.connect(name, server).await?))
    };
    let (replica, server) = tokio::select! {
        both = connecting => both?,
        () = closed(weather.clone()) => return Ok(()),
    };
    let (from_replica, to_replica) = split(replica);
    let (from_server, to_server) = split(server);
    let to_replica = Arc::new(Mutex::new(to_replica));
    tokio::select! {
        end = requests(from_replica, to_server, &to_replica, weather.clone()) => end,
        end = answers(from_server, &to_replica, weather.clone()) => end,
        () = closed(weather.clone()) => Ok(()),
    }
}

/// Waits until connections are closed.
async fn closed(mut weather: watch::Receiver<Weather>) {
    if weather.wait_for(|now| *now == Weather::Closed).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until something comes through.
async fn passable(weather: &mut watch::Receiver<Weather>) {
    // It fails at the end of the proxy, which ends the connection.
    let _ = weather.wait_for(|now| *now != Weather::Held).await;
}

async fn requests(
    mut from: ReadHalf<FromReplica>,
    mut to: WriteHalf<ToServer>,
    back: &Mutex<WriteHalf<FromReplica>>,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut piece = vec![0; 16 * 1024];
    let mut held_back = false;
    loop {
        let length = from.read(&mut piece).await?;
        let now = *weather.borrow();
        match now {
            Weather::Refused(status) => {
                back.lock().await.write_all(refusal(status).as_bytes()).await?;
                return linger(from, &mut *back.lock().await).await;
            }
            Weather::Delay(delay) => tokio::time::sleep(delay).await,
            Weather::Held => {
                held_back = true;
                passable(&mut weather).await;
            }
            Weather::Fair | Weather::Closed | Weather::HalfOpen => {}
        }
        if length == 0 {
            if held_back {
                tokio::time::sleep(LINGER).await;
            }
            return to.shutdown().await;
        }
        to.write_all(&piece[..length]).await?;
        to.flush().await?;
    }
}

async fn answers(
    mut from: ReadHalf<ToServer>,
    to: &Mutex<WriteHalf<FromReplica>>,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut piece).await?;
        let now = *weather.borrow();
        match now {
            Weather::HalfOpen => {
                let _ = weather.wait_for(|now| *now != Weather::HalfOpen).await;
                return Ok(());
            }
            Weather::Delay(delay) => tokio::time::sleep(delay).await,
            Weather::Held => passable(&mut weather).await,
            // What was let in is answered.
            Weather::Fair | Weather::Closed | Weather::Refused(_) => {}
        }
        let mut to = to.lock().await;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..length]).await?;
        to.flush().await?;
    }
}

/// The whole answer of a server that is busy or not ready.
fn refusal(status: u16) -> String {
    let (title, reason) = match status {
        429 => ("Too Many Requests", "TooManyRequests"),
        _ => ("Service Unavailable", "ServiceUnavailable"),
    };
    let body = format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"chaos","reason":"{reason}","code":{status}}}"#
    );
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {title}\r\nContent-Type: application/json\r\nRetry-After: 1\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

/// Reads on for a while: a connection that is closed with unread bytes is reset, and the answer with it.
async fn linger(mut from: impl AsyncRead + Unpin, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    to.shutdown().await?;
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut from, &mut tokio::io::sink())).await;
    Ok(())
}
