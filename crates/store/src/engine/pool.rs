//! Threads that own connections, and the queue in front of them.

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

/// What waits for a thread, and the threads that wait for it.
struct Queue {
    state: Mutex<State>,
    /// One for each thread, by its number.
    wakers: Vec<Condvar>,
}

struct State {
    requests: VecDeque<Request>,
    /// Threads with nothing to do, by number. The first of them is woken, not the one that has waited longest: what it read last is still in
    /// its connection's cache, and the caches of the others stay as small as the load allows.
    idle: BTreeSet<usize>,
    /// Threads that have not ended.
    alive: usize,
    has_ended: bool,
}

/// What a thread does next: transactions together, then an errand.
#[derive(Default)]
struct Work {
    jobs: Vec<Job>,
    replies: Vec<oneshot::Sender<Result<()>>>,
    errand: Option<Errand>,
}

impl Queue {
    fn new(threads: usize) -> Queue {
        let state =
            State { requests: VecDeque::new(), idle: BTreeSet::new(), alive: threads, has_ended: false };
        Queue { state: Mutex::new(state), wakers: (0..threads).map(|_| Condvar::new()).collect() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request; false when no thread is left that could take it.
    fn add(&self, request: Request) -> bool {
        let mut state = self.lock();
        if state.alive == 0 {
            return false;
        }
        state.requests.push_back(request);
        let woken = state.idle.pop_first();
        drop(state);
        if let Some(thread) = woken {
            self.wakers[thread].notify_one();
        }
        true
    }

    /// Waits for up to `batch` transactions, or fewer and an errand. None once the pool has ended and all that waited is done.
    fn take(&self, thread: usize, batch: usize) -> Option<Work> {
        let mut state = self.lock();
        while state.requests.is_empty() {
            if state.has_ended {
                return None;
            }
            state.idle.insert(thread);
            state = self.wakers[thread].wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle.remove(&thread);
        let mut work = Work::default();
        while work.jobs.len() < batch {
            match state.requests.pop_front() {
                Some(Request::Transaction(job, reply)) => {
                    work.jobs.push(job);
                    work.replies.push(reply);
                }
                Some(Request::Errand(errand)) => {
                    work.errand = Some(errand);
                    break;
                }
                None => break,
            }
        }
        Some(work)
    }

    /// Says that a thread is about to wait. It says so before it gives its answers: whoever asks again because of one is served by the same
    /// connection.
    fn will_wait(&self, thread: usize) {
        self.lock().idle.insert(thread);
    }

    fn end(&self) {
        self.lock().has_ended = true;
        self.wakers.iter().for_each(Condvar::notify_one);
    }
}

/// Says that a thread has ended, however it did: whoever waits for the last one would wait for ever.
struct Alive<'a>(&'a Queue);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.alive -= 1;
        let given_up = if state.alive == 0 { std::mem::take(&mut state.requests) } else { VecDeque::new() };
        // What a request owns may itself send requests when it is dropped.
        drop(state);
        drop(given_up);
    }
}

impl Pool {
    /// Starts a thread for each connection. Each takes up to `batch` waiting transactions at a time.
    pub(crate) fn start(name: &str, connections: Vec<Box<dyn Connection>>, batch: usize) -> Result<Pool> {
        let queue = Arc::new(Queue::new(connections.len()));
        let mut pool = Pool { queue: Arc::clone(&queue), threads: Vec::new() };
        for (number, mut connection) in connections.into_iter().enumerate() {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || {
                    let _alive = Alive(&queue);
                    serve(&mut *connection, &queue, number, batch);
                })
                .map_err(|error| {
                    Error::unavailable(format!("a database thread cannot be started: {error}"))
                })?;
            pool.threads.push(thread);
        }
        Ok(pool)
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
        if self.queue.add(request) { Ok(()) } else { Err(stopped()) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.end();
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

fn serve(connection: &mut dyn Connection, queue: &Queue, thread: usize, batch: usize) {
    while let Some(Work { mut jobs, replies, errand }) = queue.take(thread, batch) {
        if !jobs.is_empty() {
            let results = connection.run(&mut jobs);
            if errand.is_none() {
                queue.will_wait(thread);
            }
            for (result, reply) in results.into_iter().zip(replies) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that ends its thread.
    struct Broken;

    impl Connection for Broken {
        fn run(&mut self, _jobs: &mut [Job]) -> Vec<Result<()>> {
            panic!("this connection is broken")
        }

        fn batch(&mut self, _sql: &str) -> Result<()> {
            Ok(())
        }

        fn vacuum(&mut self) -> Result<()> {
            Ok(())
        }

        fn describe(&mut self) -> Result<String> {
            Ok(String::new())
        }

        fn columns(&mut self) -> Result<Vec<(String, String)>> {
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn a_request_that_no_thread_is_left_for_is_refused() {
        let pool = Pool::start("broken", vec![Box::new(Broken), Box::new(Broken)], 1).unwrap();
        for _ in 0..4 {
            assert!(pool.run(Box::new(|_| Ok(()))).await.is_err());
        }
    }

    #[test]
    fn the_first_idle_thread_is_woken() {
        let queue = Queue::new(3);
        queue.lock().idle.extend([2, 0, 1]);
        assert!(queue.add(Request::Errand(Box::new(|_| {}))));
        assert_eq!(queue.lock().idle, BTreeSet::from([1, 2]));
    }

    #[test]
    fn a_thread_takes_transactions_up_to_an_errand() {
        let queue = Queue::new(1);
        let transaction = || Request::Transaction(Box::new(|_| Ok(())), oneshot::channel().0);
        for request in
            [transaction(), transaction(), transaction(), Request::Errand(Box::new(|_| {})), transaction()]
        {
            assert!(queue.add(request));
        }
        queue.end();
        let taken: Vec<(usize, bool)> = std::iter::from_fn(|| queue.take(0, 2))
            .map(|work| (work.jobs.len(), work.errand.is_some()))
            .collect();
        assert_eq!(taken, [(2, false), (1, true), (1, false)]);
    }
}
