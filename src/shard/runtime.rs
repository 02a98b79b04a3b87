//! The only place that names glommio: tasks that wait and call the shard with what happened.
//!
//! Per client core: one accepting task, one task per connection that reads it, one that empties the mailbox, one that
//! ends turns (forwards the gathered writes, sends what is dirty), one for housekeeping. Tasks run in turn on one
//! thread; no borrow of the shard crosses an await. A connection's socket is written in the ending task, one send
//! per connection and turn; a socket that takes no more gets a task of its own until it does.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use atomic_waker::AtomicWaker;
use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};

use super::input::InputEffect;
use super::{Conn, Links, Shard, ShardOptions};
use crate::base::slab::Key;
use crate::base::{MonoMs, WallMs};
use crate::pipeline::Wake;
use crate::wire::four_letter::FourLetterWord;

/// How a client core's executor is set up (tuning.md).
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// CPU to stay on.
    pub cpu: Option<usize>,
    /// How long to poll before sleeping.
    pub spin: Duration,
    /// Registered memory, bytes. Sockets use none of it.
    pub io_memory_bytes: usize,
    pub ring_depth: usize,
    /// Longest run of tasks before the executor looks at its ring again.
    pub preempt: Duration,
    /// How often sessions that were heard of are reported to the Zab core, in milliseconds.
    pub touch_interval_ms: u64,
}

/// Wakes a client core out of its executor's sleep.
#[derive(Clone, Default)]
pub struct ShardWaker(Arc<AtomicWaker>);

impl std::fmt::Debug for ShardWaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ShardWaker")
    }
}

impl Wake for ShardWaker {
    fn wake(&self) {
        self.0.wake();
    }
}

/// Wall clock, milliseconds since 1970.
pub fn wall_ms() -> WallMs {
    crate::base::time::wall_ms(SystemTime::now())
}

/// A client core that runs.
#[derive(Debug)]
pub struct RunningShard(glommio::ExecutorJoinHandle<()>);

impl RunningShard {
    /// Waits for its end.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("a client core ended abnormally");
        }
    }
}

/// Starts a client core on a thread of its own. Each gets its own listening socket on the same address
/// (SO_REUSEPORT); the kernel spreads connections over them.
pub fn start(
    id: u16,
    options: ShardOptions,
    runtime: RuntimeOptions,
    links: Links,
    waker: ShardWaker,
    listeners: Vec<StdListener>,
) -> Result<RunningShard, String> {
    let placement = runtime.cpu.map_or(Placement::Unbound, Placement::Fixed);
    LocalExecutorBuilder::new(placement)
        .name(&format!("client-{id}"))
        .spin_before_park(runtime.spin)
        .io_memory(runtime.io_memory_bytes)
        .ring_depth(runtime.ring_depth)
        .preempt_timer(runtime.preempt)
        .spawn(move || run(id, options, runtime, links, waker, listeners))
        .map(RunningShard)
        .map_err(|error| format!("client core {id} does not start: {error}"))
}

/// What the tasks of one client core share.
struct Core {
    shard: RefCell<Shard>,
    links: Links,
    options: ShardOptions,
    sockets: RefCell<std::collections::HashMap<Key, Socket, ahash::RandomState>>,
    /// Read into by every connection, one at a time.
    read_buffer: RefCell<Vec<u8>>,
    turn_waker: RefCell<Option<Waker>>,
    turn_due: Cell<bool>,
}

#[derive(Clone)]
struct Socket {
    fd: RawFd,
    stream: Rc<RefCell<TcpStream>>,
}

async fn run(
    id: u16,
    options: ShardOptions,
    runtime: RuntimeOptions,
    links: Links,
    waker: ShardWaker,
    listeners: Vec<StdListener>,
) {
    let options_chunk = options.read_chunk_bytes;
    let core = Rc::new(Core {
        shard: RefCell::new(Shard::new(id, options.clone(), links.clone())),
        links,
        options,
        sockets: RefCell::default(),
        read_buffer: RefCell::new(vec![0; options_chunk]),
        turn_waker: RefCell::new(None),
        turn_due: Cell::new(false),
    });
    for listener in listeners {
        // SAFETY: the descriptor is owned by nobody else from here on.
        let listener =
            unsafe { <TcpListener as std::os::fd::FromRawFd>::from_raw_fd(listener.into_raw_fd()) };
        glommio::spawn_local(accept(core.clone(), listener)).detach();
    }
    glommio::spawn_local(empty_mailbox(core.clone(), waker)).detach();
    glommio::spawn_local(keep_house(core.clone(), runtime.touch_interval_ms)).detach();
    end_turns(core).await;
}

impl Core {
    /// Calls the shard with the clock set, and has the turn ended.
    fn with_shard<R>(&self, f: impl FnOnce(&mut Shard) -> R) -> R {
        let mut shard = self.shard.borrow_mut();
        shard.set_now(Instant::now());
        let result = f(&mut shard);
        drop(shard);
        self.want_turn();
        result
    }

    fn want_turn(&self) {
        self.turn_due.set(true);
        if let Some(waker) = self.turn_waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn socket(&self, key: Key) -> Option<Socket> {
        self.sockets.borrow().get(&key).cloned()
    }
}

async fn accept(core: Rc<Core>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok(stream) => admit(&core, stream),
            Err(error) => {
                // Out of descriptors, most likely: what is connected goes on, new ones wait.
                tracing::error!(
                    "cannot accept a connection: {error}; check the limit of open files"
                );
                glommio::timer::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn admit(core: &Rc<Core>, stream: TcpStream) {
    let Ok(peer) = stream.peer_addr() else { return };
    let peer = canonical(peer);
    if !core.links.admission.enter(peer.ip(), &core.options) {
        core.with_shard_quietly(Shard::note_rejected);
        return;
    }
    let _ = stream.set_nodelay(true);
    let fd = stream.as_raw_fd();
    if core.options.tcp_keepalive {
        set_keepalive(fd);
    }
    let key = core.with_shard(|shard| shard.add_conn(peer));
    let stream = Rc::new(RefCell::new(stream));
    core.sockets.borrow_mut().insert(key, Socket { fd, stream: stream.clone() });
    glommio::spawn_local(read(core.clone(), key, peer, stream)).detach();
}

/// An IPv4 peer of an IPv6 socket is an IPv4 peer.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

fn set_keepalive(fd: RawFd) {
    let on: libc::c_int = 1;
    // SAFETY: a plain integer option on a descriptor that is open.
    unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_KEEPALIVE,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

/// Reads one connection until its end.
async fn read(core: Rc<Core>, key: Key, peer: SocketAddr, stream: Rc<RefCell<TcpStream>>) {
    let mut budget = READS_PER_TURN;
    loop {
        may_read(&core, key).await;
        let got = poll_fn(|cx| {
            let mut buffer = core.read_buffer.borrow_mut();
            let mut stream = stream.borrow_mut();
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(0)) => Poll::Ready(Err(End::Silent)),
                Poll::Ready(Err(_)) => Poll::Ready(Err(End::Broken)),
                Poll::Ready(Ok(count)) => {
                    let effect = core.with_shard(|shard| shard.on_bytes(key, &buffer[..count]));
                    Poll::Ready(Ok((count, effect)))
                }
            }
        })
        .await;
        let (count, effect) = match got {
            Ok(read) => read,
            Err(End::Silent) => {
                let_answer_out(&core, key).await;
                break;
            }
            Err(End::Broken) => break,
        };
        if let InputEffect::Command(word, argument) = effect {
            glommio::spawn_local(answer_command(core.clone(), key, word, argument)).detach();
        }
        budget -= 1;
        if budget == 0 || count == core.options.read_chunk_bytes {
            // Others get their turn, and this turn's replies get out.
            budget = READS_PER_TURN;
            glommio::executor().yield_task_queue_now().await;
        }
    }
    // Whoever still waits for the socket to take more is woken by its end.
    if let Some(socket) = core.sockets.borrow_mut().remove(&key) {
        shut_down(socket.fd, libc::SHUT_RDWR);
    }
    core.with_shard(|shard| shard.remove_conn(key));
    core.links.admission.leave(peer.ip());
}

const READS_PER_TURN: usize = 4;

/// How reading ended.
enum End {
    /// The peer sends no more; it may still read.
    Silent,
    Broken,
}

/// A peer that has shut down its sending side right after a four-letter word still waits for the answer.
async fn let_answer_out(core: &Rc<Core>, key: Key) {
    for _ in 0..HALF_CLOSED_MS_MAX {
        let owes = core.shard.borrow().conn(key).is_some_and(|conn| conn.owes_output());
        if !owes {
            return;
        }
        glommio::timer::sleep(Duration::from_millis(1)).await;
    }
}

/// How long a half-closed connection may take to receive what it asked for.
const HALF_CLOSED_MS_MAX: usize = 3000;

/// Waits while the connection's input must wait for earlier requests.
async fn may_read(core: &Rc<Core>, key: Key) {
    poll_fn(|cx| {
        let mut shard = core.shard.borrow_mut();
        match shard.conn_mut(key) {
            Some(conn) if !conn.wants_input(core.options.read_chunk_bytes) => {
                conn.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    })
    .await;
}

/// Polls the question's answer until it is there, then sends it and closes.
async fn answer_command(core: Rc<Core>, key: Key, word: FourLetterWord, argument: Option<[u8; 8]>) {
    let mut pending = core.links.commands.start(word, argument);
    let answer = loop {
        if let Some(answer) = pending.poll() {
            break answer;
        }
        // The other cores answer within a turn of theirs; commands are rare.
        glommio::timer::sleep(Duration::from_micros(500)).await;
    };
    core.with_shard(|shard| shard.finish_command(key, &answer));
}

async fn empty_mailbox(core: Rc<Core>, waker: ShardWaker) {
    let mailbox = core.links.mailbox.clone();
    loop {
        let took = core.with_shard_quietly(|shard| shard.on_mailbox());
        if took {
            core.want_turn();
            glommio::executor().yield_task_queue_now().await;
            continue;
        }
        if core.shard.borrow().has_early() {
            // The Zab core makes the tree visible within the next instants.
            glommio::executor().yield_task_queue_now().await;
            continue;
        }
        let mut registered = false;
        poll_fn(|cx| {
            if registered {
                mailbox.awake();
                return Poll::Ready(());
            }
            waker.0.register(cx.waker());
            registered = true;
            if mailbox.prepare_sleep() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }
}

impl Core {
    fn with_shard_quietly<R>(&self, f: impl FnOnce(&mut Shard) -> R) -> R {
        let mut shard = self.shard.borrow_mut();
        shard.set_now(Instant::now());
        f(&mut shard)
    }
}

/// Ends turns: forwards writes, sends replies. Returns when the shard stops.
async fn end_turns(core: Rc<Core>) {
    loop {
        poll_fn(|cx| {
            if core.turn_due.take() {
                return Poll::Ready(());
            }
            *core.turn_waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        core.with_shard_quietly(|shard| shard.end_turn());
        flush_dirty(&core);
        let again = core.shard.borrow().has_more();
        if core.shard.borrow().is_stopping() {
            return stop(&core).await;
        }
        if again {
            core.turn_due.set(true);
        }
        if core.shard.borrow().has_backlog() {
            core.turn_due.set(true);
            glommio::timer::sleep(Duration::from_micros(100)).await;
        }
    }
}

/// Gives the last replies a moment to get out.
async fn stop(core: &Rc<Core>) {
    for _ in 0..50 {
        flush_dirty(core);
        if core.sockets.borrow().is_empty() {
            return;
        }
        glommio::timer::sleep(Duration::from_millis(2)).await;
    }
}

/// One send per connection that has something to send.
fn flush_dirty(core: &Rc<Core>) {
    let dirty = core.shard.borrow_mut().take_dirty();
    for key in dirty {
        let Some(socket) = core.socket(key) else { continue };
        let mut shard = core.shard.borrow_mut();
        let Some(conn) = shard.conn_mut(key) else { continue };
        conn.dirty = false;
        if conn.flushing {
            continue;
        }
        match send_output(socket.fd, conn) {
            Sent::All => shard.output_moved(key),
            Sent::Some => {
                conn.flushing = true;
                drop(shard);
                glommio::spawn_local(flush_slowly(core.clone(), key, socket)).detach();
            }
            Sent::Broken => {
                shut_down(socket.fd, libc::SHUT_RDWR);
                conn.input_waits = false;
                conn.wake_reader();
            }
        }
    }
}

enum Sent {
    All,
    Some,
    Broken,
}

fn send_output(fd: RawFd, conn: &mut Conn) -> Sent {
    while conn.sent < conn.output.len() {
        let rest = &conn.output[conn.sent..];
        // SAFETY: `rest` is valid for its length during the call; the descriptor is open while its task lives.
        let count = unsafe {
            libc::send(
                fd,
                rest.as_ptr().cast(),
                rest.len(),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        if count >= 0 {
            conn.sent += count as usize;
            continue;
        }
        match io::Error::last_os_error().kind() {
            io::ErrorKind::WouldBlock => return Sent::Some,
            io::ErrorKind::Interrupted => {}
            _ => return Sent::Broken,
        }
    }
    sent_all(fd, conn);
    Sent::All
}

/// The output buffer is empty: keep a small one, and close what was to be closed.
fn sent_all(fd: RawFd, conn: &mut Conn) {
    let used = conn.output.len();
    conn.output.clear();
    conn.sent = 0;
    if conn.output.capacity() > 16 << 10 && used < conn.output.capacity() / 4 {
        conn.output = Vec::new();
    }
    if conn.is_closing() {
        shut_down(fd, libc::SHUT_WR);
    }
}

/// For a socket whose buffer is full: waits until it takes the rest.
async fn flush_slowly(core: Rc<Core>, key: Key, socket: Socket) {
    poll_fn(|cx| {
        loop {
            let mut shard = core.shard.borrow_mut();
            let Some(conn) = shard.conn_mut(key) else { return Poll::Ready(()) };
            if conn.sent >= conn.output.len() {
                sent_all(socket.fd, conn);
                conn.flushing = false;
                shard.output_moved(key);
                return Poll::Ready(());
            }
            let mut stream = socket.stream.borrow_mut();
            let rest = &conn.output[conn.sent..];
            match Pin::new(&mut *stream).poll_write(cx, rest) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count)) => conn.sent += count,
                Poll::Ready(Err(_)) => {
                    shut_down(socket.fd, libc::SHUT_RDWR);
                    conn.input_waits = false;
                    conn.wake_reader();
                    return Poll::Ready(());
                }
            }
        }
    })
    .await;
    core.want_turn();
}

fn shut_down(fd: RawFd, how: libc::c_int) {
    // SAFETY: shutting down touches no memory; a descriptor that is closed already answers with an error.
    unsafe {
        libc::shutdown(fd, how);
    }
}

/// Touch batches, late handshakes, lingering sockets, gauges.
async fn keep_house(core: Rc<Core>, touch_interval_ms: u64) {
    let mut swept: MonoMs = 0;
    loop {
        glommio::timer::sleep(Duration::from_millis(touch_interval_ms)).await;
        let now = crate::base::time::mono_ms(core.links.epoch, Instant::now());
        core.with_shard_quietly(|shard| {
            shard.flush_touches();
            shard.publish_gauges();
        });
        if now - swept < 1000 {
            continue;
        }
        swept = now;
        let doomed = core.with_shard_quietly(|shard| shard.sweep());
        for key in doomed {
            if let Some(socket) = core.socket(key) {
                shut_down(socket.fd, libc::SHUT_RDWR);
            }
        }
    }
}
