//! The server: a few threads, each of which takes a connection, answers one request and closes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use dunlin_clock::Deadline;
use socket2::{Domain, Socket, Type};

use super::balloon::{Balloon, INCREASE_BYTES};
use super::matrix::{MATRIX_ORDER_MAX, multiply};
use super::message::{Head, read_request, write_answer};

/// Connections that are served at the same time; others wait to be taken.
const WORKERS: usize = 8;
/// Connections that may wait.
const BACKLOG: i32 = 128;
/// A client that takes longer to say what it wants, or to take its answer, is dropped.
const CLIENT_LIMIT: Duration = Duration::from_secs(2);
/// How long a worker waits for a connection before it looks whether it should end. It is woken as well; this is for
/// where it is not.
const ACCEPT_LIMIT: Duration = Duration::from_secs(1);
/// The order of matrices where the request names none, as in the Xen paper.
const DEFAULT_ORDER: usize = 5;

/// How a server is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerSettings {
    /// Where it listens; port 0 for any.
    pub address: SocketAddrV4,
    /// What calls may make it allocate, in bytes.
    pub memory_limit_bytes: u64,
    /// So many times 10 MiB are allocated and written before it serves.
    pub increase_calls: u32,
}

/// What a server did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Served {
    /// Requests answered with 200.
    pub answered: u64,
    /// Requests answered with anything else.
    pub refused: u64,
    /// Connections that ended before their request or its answer was through.
    pub broken: u64,
    /// Memory held at the end by calls of `/increase_mem`, in bytes.
    pub held_bytes: u64,
    /// Pages of that memory that did not hold what was written to them; 0 is the only good answer.
    pub corrupt_pages: u64,
    /// Products that were not what they must be; 0 is the only good answer.
    pub wrong_results: u64,
}

/// A server that runs. Dropped, it ends.
#[derive(Debug)]
pub struct HttpServer {
    shared: Arc<Shared>,
    address: SocketAddrV4,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    listener: Socket,
    end: AtomicBool,
    balloon: Mutex<Balloon>,
    answered: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
    wrong_results: AtomicU64,
}

impl HttpServer {
    /// Starts to serve `/` (a short page), `/increase_mem` and `/decrease_mem` (10 MiB a call), and `/matrix?order=N`
    /// (multiplies two square matrices). Its threads have the name of the caller's with `-http` behind it.
    ///
    /// # Errors
    /// Where it cannot listen, a thread cannot be had, or there is not memory enough to begin with.
    pub fn start(settings: &ServerSettings) -> io::Result<Self> {
        let balloon = inflated(settings.memory_limit_bytes, settings.increase_calls)?;
        let listener = listen(settings.address)?;
        let bound = listener.local_addr()?.as_socket_ipv4();
        let shared = Arc::new(Shared {
            listener,
            end: AtomicBool::new(false),
            balloon: Mutex::new(balloon),
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            wrong_results: AtomicU64::new(0),
        });
        let address = bound.unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        let mut server = Self { shared, address, workers: Vec::new() };
        let name = format!("{}-http", std::thread::current().name().unwrap_or("some"));
        for _ in 0..WORKERS {
            let shared = Arc::clone(&server.shared);
            let worker = std::thread::Builder::new().name(name.clone()).spawn(move || shared.work())?;
            server.workers.push(worker);
        }
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Ends it, and says what it did; an error where one of its threads died.
    ///
    /// # Errors
    /// With the last words of the thread.
    pub fn stop(mut self) -> Result<Served, String> {
        self.end()?;
        let shared = &self.shared;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let balloon = lock(&shared.balloon);
        Ok(Served {
            answered: count(&shared.answered),
            refused: count(&shared.refused),
            broken: count(&shared.broken),
            held_bytes: balloon.held_bytes(),
            corrupt_pages: balloon.corrupt_pages(),
            wrong_results: count(&shared.wrong_results),
        })
    }

    fn end(&mut self) -> Result<(), String> {
        self.shared.end.store(true, Ordering::Release);
        // On Linux this wakes all who wait in accept(2). Where it does not, they wake up by themselves.
        let _ = self.shared.listener.shutdown(Shutdown::Both);
        let mut died = None;
        for worker in self.workers.drain(..) {
            if let Err(panic) = worker.join() {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                died = died
                    .or(text)
                    .or_else(|| panic.downcast_ref().cloned())
                    .or(Some("it said nothing".into()));
            }
        }
        died.map_or(Ok(()), Err)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.end();
    }
}

/// The memory to begin with. What cannot fit is not even tried: a machine without memory is of no use to anybody.
fn inflated(limit_bytes: u64, calls: u32) -> io::Result<Balloon> {
    let mut balloon = Balloon::new(limit_bytes);
    let fits = u64::from(calls) * INCREASE_BYTES as u64 <= limit_bytes;
    if fits && (0..calls).all(|_| balloon.increase()) {
        return Ok(balloon);
    }
    let why = format!("{calls} x 10 MiB do not fit into {} MiB", limit_bytes >> 20);
    Err(io::Error::new(io::ErrorKind::OutOfMemory, why))
}

fn listen(address: SocketAddrV4) -> io::Result<Socket> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Connections of a server before this one may still be closing.
    listener.set_reuse_address(true)?;
    listener.bind(&address.into())?;
    listener.set_read_timeout(Some(ACCEPT_LIMIT))?;
    listener.listen(BACKLOG)?;
    Ok(listener)
}

impl Shared {
    fn work(&self) {
        while !self.end.load(Ordering::Acquire) {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    if self.serve(socket.into()).is_err() {
                        self.broken.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Most often the client has gone again, or there are no descriptors for now.
                Err(_) if !self.end.load(Ordering::Acquire) => std::thread::sleep(Duration::from_millis(10)),
                Err(_) => {}
            }
        }
    }

    /// Reads one request and answers it.
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let deadline = Deadline::after(CLIENT_LIMIT);
        client.set_write_timeout(Some(CLIENT_LIMIT))?;
        client.set_nodelay(true)?;
        let mut bytes = Vec::new();
        let (status, body) = loop {
            match read_request(&bytes) {
                Head::Whole(line) if line.method == "GET" => break self.page(&line.target),
                Head::Whole(_) => break (405, "only GET\n".into()),
                Head::Wrong => break (400, "not a request\n".into()),
                Head::Partial => {}
            }
            let left = deadline.left();
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            client.set_read_timeout(Some(left))?;
            let mut buffer = [0; 1024];
            let count = client.read(&mut buffer)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&buffer[..count]);
        };
        let counter = if status == 200 { &self.answered } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        client.write_all(&write_answer(status, &body))?;
        client.shutdown(Shutdown::Write)
    }

    /// The status and body of a page.
    fn page(&self, target: &str) -> (u16, String) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match path {
            "/" => (200, "a guest of Dunlin\n".into()),
            "/increase_mem" => self.change_memory(Balloon::increase, "no memory is left"),
            "/decrease_mem" => self.change_memory(Balloon::decrease, "none is held"),
            "/matrix" => self.matrix(query),
            _ => (404, "no such page\n".into()),
        }
    }

    fn change_memory(&self, change: fn(&mut Balloon) -> bool, why_not: &str) -> (u16, String) {
        let mut balloon = lock(&self.balloon);
        if change(&mut balloon) {
            (200, format!("{} MiB held\n", balloon.held_bytes() >> 20))
        } else {
            (507, format!("{why_not}: {} MiB held\n", balloon.held_bytes() >> 20))
        }
    }

    fn matrix(&self, query: &str) -> (u16, String) {
        let order = match query.strip_prefix("order=").map(str::parse) {
            None if query.is_empty() => DEFAULT_ORDER,
            Some(Ok(order)) if (1..=MATRIX_ORDER_MAX).contains(&order) => order,
            _ => return (400, format!("expected order=1 to {MATRIX_ORDER_MAX}\n")),
        };
        match multiply(order) {
            Some(sum) => (200, format!("sum {sum}\n")),
            None => {
                self.wrong_results.fetch_add(1, Ordering::Relaxed);
                (500, "the product is wrong\n".into())
            }
        }
    }
}

/// What a thread that died left behind is whole memory: pages are written before they are kept.
fn lock(balloon: &Mutex<Balloon>) -> MutexGuard<'_, Balloon> {
    balloon.lock().unwrap_or_else(PoisonError::into_inner)
}
