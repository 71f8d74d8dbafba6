//! Threads that own connections, and the queue in front of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use habeas_core::{Error, Result};
use tokio::sync::oneshot;

use super::{Connection, Engine};

/// A transaction: may be run more than once.
pub(crate) type Job = Box<dyn FnMut(&mut dyn Engine) -> Result<()> + Send>;

/// Something that wants the connection itself.
type Errand = Box<dyn FnOnce(&mut dyn Connection) + Send>;

enum Request {
    Transaction(Job, oneshot::Sender<Result<()>>),
    Errand(Errand),
}

/// Connections, each on a thread of its own, that take transactions from one queue.
pub(crate) struct Pool {
    queue: Option<mpsc::Sender<Request>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts a thread for each connection. Each takes up to `batch` waiting transactions at a time.
    pub(crate) fn start(name: &str, connections: Vec<Box<dyn Connection>>, batch: usize) -> Result<Pool> {
        let (queue, waiting) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let mut threads = Vec::new();
        for (number, mut connection) in connections.into_iter().enumerate() {
            let waiting = Arc::clone(&waiting);
            let thread = std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || serve(&mut *connection, &waiting, batch))
                .map_err(|error| {
                    Error::unavailable(format!("a database thread cannot be started: {error}"))
                })?;
            threads.push(thread);
        }
        Ok(Pool { queue: Some(queue), threads })
    }

    /// Runs a transaction; returns when it is committed, and durable if it wrote.
    pub(crate) async fn run(&self, job: Job) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Transaction(job, reply))?;
        answer.await.map_err(|_| stopped())?
    }

    /// Gives the connection itself to `errand`, between transactions.
    pub(crate) async fn errand<T: Send + 'static>(
        &self,
        errand: impl FnOnce(&mut dyn Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Errand(Box::new(move |connection| {
            // A receiver that went away wants no answer.
            let _ = reply.send(errand(connection));
        })))?;
        answer.await.map_err(|_| stopped())?
    }

    fn send(&self, request: Request) -> Result<()> {
        self.queue.as_ref().and_then(|queue| queue.send(request).ok()).ok_or_else(stopped)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // Panics were caught transaction by transaction; nothing is left to report here.
            let _ = thread.join();
        }
    }
}

fn stopped() -> Error {
    Error::unavailable("the database has stopped")
        .hint("see the server's log for the reason, and start it again")
}

fn serve(connection: &mut dyn Connection, waiting: &Mutex<mpsc::Receiver<Request>>, batch: usize) {
    loop {
        let mut jobs = Vec::new();
        let mut replies = Vec::new();
        let mut errand = None;
        {
            let Ok(queue) = waiting.lock() else { return };
            let Ok(mut next) = queue.recv() else { return };
            loop {
                match next {
                    Request::Transaction(job, reply) => {
                        jobs.push(job);
                        replies.push(reply);
                    }
                    Request::Errand(work) => {
                        errand = Some(work);
                        break;
                    }
                }
                if jobs.len() >= batch {
                    break;
                }
                match queue.try_recv() {
                    Ok(request) => next = request,
                    Err(_) => break,
                }
            }
        }
        if !jobs.is_empty() {
            for (result, reply) in connection.run(&mut jobs).into_iter().zip(replies) {
                let _ = reply.send(result);
            }
        }
        if let Some(errand) = errand
            && catch_unwind(AssertUnwindSafe(|| errand(connection))).is_err()
        {
            tracing::error!("a database errand panicked");
        }
    }
}

/// Runs a job so that its panic ends only itself.
pub(super) fn guarded(job: &mut Job, engine: &mut dyn Engine) -> Result<()> {
    catch_unwind(AssertUnwindSafe(|| job(engine)))
        .unwrap_or_else(|_| Err(Error::internal("a database transaction panicked; it was rolled back")))
}
