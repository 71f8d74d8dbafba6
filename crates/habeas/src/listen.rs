//! Accepting connections: TCP, TLS and the operator's socket, with a cap, timeouts and a graceful end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use habeas_access::Actor;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long requests in hand may take to finish once the server is to stop.
const DRAIN: Duration = Duration::from_secs(30);

/// What the listeners share.
#[derive(Clone)]
pub(crate) struct Gate {
    /// Connections that may be open.
    pub(crate) connections: Arc<Semaphore>,
    /// For the head of a request, and for a connection that is idle.
    pub(crate) header_timeout: Duration,
    /// Ends the listening.
    pub(crate) stop: CancellationToken,
}

/// Serves `router` on `listener` until the gate is told to stop, then lets requests in hand finish.
pub(crate) async fn tcp(listener: TcpListener, tls: Option<TlsAcceptor>, router: Router, gate: Gate) {
    let graceful = GracefulShutdown::new();
    loop {
        let Some((stream, permit)) = next(&gate, || listener.accept()).await else { break };
        // Answers are small; waiting to fill a packet only costs time.
        let _ = stream.set_nodelay(true);
        let (router, gate, tls, watcher) = (router.clone(), gate.clone(), tls.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _permit = permit;
            match tls {
                None => serve(stream, router, &gate, watcher).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                        serve(stream, router, &gate, watcher).await;
                    }
                }
            }
        });
    }
    // Who comes now is refused at once, not left waiting for the end.
    drop(listener);
    drain(graceful).await;
}

/// Serves `router` on the operator's socket: whoever can open the file may do everything.
pub(crate) async fn socket(listener: UnixListener, router: Router, gate: Gate) {
    let router = router.layer(axum::Extension(Actor::Operator));
    let graceful = GracefulShutdown::new();
    loop {
        let Some((stream, permit)) = next(&gate, || listener.accept()).await else { break };
        let (router, gate, watcher) = (router.clone(), gate.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _permit = permit;
            serve(stream, router, &gate, watcher).await;
        });
    }
    // Who comes now is refused at once, not left waiting for the end.
    drop(listener);
    drain(graceful).await;
}

async fn drain(graceful: GracefulShutdown) {
    // Whoever takes longer is cut off; what was acknowledged is durable all the same.
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

/// The next connection and the permit to serve it; none when the server is to stop.
async fn next<S, A, F: Future<Output = std::io::Result<(S, A)>>>(
    gate: &Gate,
    accept: impl Fn() -> F,
) -> Option<(S, OwnedSemaphorePermit)> {
    let accepted = async {
        let permit = Arc::clone(&gate.connections).acquire_owned().await.ok()?;
        loop {
            match accept().await {
                Ok((stream, _)) => return Some((stream, permit)),
                // Out of file descriptors, or a client that was gone already: try again in a moment.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::select! {
        () = gate.stop.cancelled() => None,
        accepted = accepted => accepted,
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: Router,
    gate: &Gate,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(gate.header_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(gate.header_timeout)
        .keep_alive_timeout(gate.header_timeout);
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).into_owned();
    // A client that breaks off or speaks something else is no event worth a log line.
    let _ = watcher.watch(connection).await;
}
