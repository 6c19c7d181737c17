//! A proxy between a role and NATS that reads the client protocol: it counts what the role publishes,
//! kills the role at a given message, loses the server's answer to one, and cuts the connection.
//!
//! So a role can be killed at exactly every point between two of its messages, without any hook in the product.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::process::Pid;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

use crate::role::kill_at_once;

/// What becomes of the message at which the trap is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The role is killed, and the message never reaches the server.
    KilledBefore,
    /// The role is killed, and the message reaches the server.
    KilledAfter,
    /// The message reaches the server; its answer never reaches the role.
    AnswerLost,
}

/// Where the role is caught.
#[derive(Debug, Clone)]
pub struct Trap {
    /// Beginnings of the subjects that count.
    pub subjects: Vec<&'static str>,
    /// At the how-many-th of them, from 1.
    pub nth: usize,
    /// What happens then.
    pub fate: Fate,
    /// The role's process.
    pub pid: Pid,
}

/// What a worker or dispatcher publishes that matters: events, wake-ups, timers, dead letters, runs' secrets, remembered approvals,
/// acknowledgements.
pub const WHAT_MATTERS: [&str; 7] = [
    "fleet.events.",
    "fleet.queue.",
    "fleet.timer.",
    "fleet.dead.",
    "$KV.secrets.",
    "$KV.authority.remembered.",
    "$JS.ACK.",
];

/// The proxy. Dropping it ends it and cuts its connections.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    server: u16,
    /// Subjects of everything that was published, in order.
    published: Mutex<Vec<String>>,
    trap: Mutex<Option<(Trap, usize)>>,
    sprung: watch::Sender<Option<Instant>>,
    /// Inboxes whose answers are lost.
    lost: Mutex<Vec<String>>,
    /// Beginnings of subjects of which no message gets through.
    dropped: Mutex<Vec<&'static str>>,
    /// Beginnings of subjects of which each message's first answer is lost, and the message ids seen so far.
    first_lost: Mutex<(Vec<&'static str>, HashSet<String>)>,
    /// Connections of an earlier number than this are cut; while it is odd nobody gets through.
    cut: watch::Sender<u64>,
}

impl Proxy {
    /// Stands before the server at this port of loopback.
    pub async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server,
            published: Mutex::default(),
            trap: Mutex::default(),
            sprung: watch::Sender::new(None),
            lost: Mutex::default(),
            dropped: Mutex::default(),
            first_lost: Mutex::default(),
            cut: watch::Sender::new(0),
        });
        let accepting = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&accepting).carry(client));
            }
        });
        Self { port, shared, task }
    }

    /// Where the role finds NATS.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Sets the trap; what was published before does not count.
    pub fn arm(&self, trap: Trap) {
        self.shared.sprung.send_replace(None);
        *self.shared.trap.lock().unwrap() = Some((trap, 0));
    }

    /// Waits until the trap has sprung and tells when it did.
    pub async fn sprung(&self) -> Instant {
        let mut sprung = self.shared.sprung.subscribe();
        let seen = sprung.wait_for(Option::is_some);
        let seen = tokio::time::timeout(Duration::from_secs(40), seen).await;
        let Ok(seen) = seen else {
            panic!(
                "the trap does not spring: {:#?}",
                self.published(&WHAT_MATTERS)
            );
        };
        seen.unwrap().unwrap()
    }

    /// The subjects of what was published, of those that begin so.
    pub fn published(&self, subjects: &[&str]) -> Vec<String> {
        let mut published = self.shared.published.lock().unwrap().clone();
        published.retain(|subject| subjects.iter().any(|s| subject.starts_with(s)));
        published
    }

    /// Forgets what was published.
    pub fn forget(&self) {
        self.shared.published.lock().unwrap().clear();
    }

    /// From now on loses every message of these subjects; none of them reaches the server.
    pub fn lose(&self, subjects: &[&'static str]) {
        *self.shared.dropped.lock().unwrap() = subjects.to_vec();
    }

    /// From now on loses the server's first answer to every message of these subjects. The message itself is stored.
    pub fn lose_first_answers(&self, subjects: &[&'static str]) {
        self.shared.first_lost.lock().unwrap().0 = subjects.to_vec();
    }

    /// Cuts every connection, and lets nobody through until [`Proxy::mend`].
    pub fn cut(&self) {
        self.shared.cut.send_modify(|cut| *cut += 1);
    }

    /// Lets through again.
    pub fn mend(&self) {
        self.shared.cut.send_modify(|cut| *cut += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.cut.send_modify(|cut| *cut += 1);
    }
}

impl Shared {
    async fn carry(self: Arc<Self>, client: TcpStream) -> Option<()> {
        let mut cut = self.cut.subscribe();
        let mine = *cut.borrow_and_update();
        if mine % 2 == 1 {
            return None;
        }
        let server = TcpStream::connect(("127.0.0.1", self.server)).await.ok()?;
        client.set_nodelay(true).ok()?;
        server.set_nodelay(true).ok()?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        // Whatever ends first ends both: the halves are dropped together.
        tokio::select! {
            _ = self.upwards(from_client, to_server) => {}
            _ = self.downwards(from_server, to_client) => {}
            _ = cut.wait_for(|now| *now != mine) => {}
        }
        Some(())
    }

    async fn upwards(&self, from: OwnedReadHalf, mut to: OwnedWriteHalf) -> Option<()> {
        let mut from = BufReader::with_capacity(1 << 16, from);
        loop {
            let frame = Frame::read(&mut from).await?;
            if frame.is_publish && frame.is_of(&self.dropped.lock().unwrap()) {
                continue;
            }
            let fate = frame.is_publish.then(|| self.fate(&frame)).flatten();
            if let Some((Fate::KilledBefore | Fate::KilledAfter, pid)) = fate {
                kill_at_once(pid).await;
            }
            match fate {
                Some((Fate::KilledBefore, _)) => {}
                Some((Fate::KilledAfter, _)) => {
                    self.lost.lock().unwrap().extend(frame.reply.clone());
                    to.write_all(&frame.bytes).await.ok()?;
                    // Until the server has taken it in, the connection must stay.
                    self.is_answered(frame.reply.as_deref()).await;
                }
                Some((Fate::AnswerLost, _)) => {
                    self.lost.lock().unwrap().extend(frame.reply.clone());
                    to.write_all(&frame.bytes).await.ok()?;
                }
                None => {
                    to.write_all(&frame.bytes).await.ok()?;
                    continue;
                }
            }
            self.sprung.send_replace(Some(Instant::now()));
            if fate.is_some_and(|(fate, _)| fate != Fate::AnswerLost) {
                return None;
            }
        }
    }

    async fn downwards(&self, from: OwnedReadHalf, mut to: OwnedWriteHalf) -> Option<()> {
        let mut from = BufReader::with_capacity(1 << 16, from);
        loop {
            let frame = Frame::read(&mut from).await?;
            let is_lost = {
                let mut lost = self.lost.lock().unwrap();
                let place = lost.iter().position(|inbox| *inbox == frame.subject);
                place.map(|place| lost.remove(place)).is_some()
            };
            if !is_lost {
                // A role that is gone is noticed on the way up.
                let _ = to.write_all(&frame.bytes).await;
            }
        }
    }

    /// Waits until the server's answer to a message has come and was lost; where there is none, for a moment.
    async fn is_answered(&self, inbox: Option<&str>) {
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let lost = self.lost.lock().unwrap();
            if !inbox.is_some_and(|inbox| lost.iter().any(|lost| lost == inbox)) {
                return;
            }
        }
    }

    /// What becomes of a message, when it is the one at which the trap is set.
    fn fate(&self, frame: &Frame) -> Option<(Fate, Pid)> {
        self.published.lock().unwrap().push(frame.subject.clone());
        if let (Some(id), Some(inbox)) = (frame.message_id(), &frame.reply) {
            let (subjects, seen) = &mut *self.first_lost.lock().unwrap();
            if frame.is_of(subjects) && seen.insert(id) {
                self.lost.lock().unwrap().push(inbox.clone());
            }
        }
        let mut armed = self.trap.lock().unwrap();
        let (trap, seen) = armed.as_mut()?;
        if !frame.is_of(&trap.subjects) {
            return None;
        }
        *seen += 1;
        if *seen != trap.nth {
            return None;
        }
        let caught = (trap.fate, trap.pid);
        *armed = None;
        Some(caught)
    }
}

/// One line of the protocol, with the payload that belongs to it.
struct Frame {
    bytes: Vec<u8>,
    subject: String,
    reply: Option<String>,
    is_publish: bool,
}

impl Frame {
    fn is_of(&self, subjects: &[&'static str]) -> bool {
        subjects
            .iter()
            .any(|subject| self.subject.starts_with(subject))
    }

    /// The message id among its headers.
    fn message_id(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let (_, rest) = text.split_once("\r\nNats-Msg-Id:")?;
        Some(rest.split("\r\n").next()?.trim().to_owned())
    }

    async fn read(from: &mut BufReader<OwnedReadHalf>) -> Option<Self> {
        let mut bytes = Vec::new();
        if from.read_until(b'\n', &mut bytes).await.ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&bytes).into_owned();
        let words: Vec<&str> = line.split_whitespace().collect();
        // PUB subject [reply] size; HPUB subject [reply] headers size; MSG subject sid [reply] size; HMSG likewise.
        let (is_publish, words_without_reply) = match *words.first()? {
            "PUB" => (true, 3),
            "HPUB" => (true, 4),
            "MSG" => (false, 4),
            "HMSG" => (false, 5),
            _ => {
                return Some(Self {
                    bytes,
                    subject: String::new(),
                    reply: None,
                    is_publish: false,
                });
            }
        };
        let size: usize = words.last()?.parse().ok()?;
        let reply_at = if is_publish { 2 } else { 3 };
        let reply = (words.len() > words_without_reply).then(|| words[reply_at].to_owned());
        let subject = words[1].to_owned();
        let begin = bytes.len();
        bytes.resize(begin + size + 2, 0);
        from.read_exact(&mut bytes[begin..]).await.ok()?;
        Some(Self {
            bytes,
            subject,
            reply,
            is_publish,
        })
    }
}
