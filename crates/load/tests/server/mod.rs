//! A server of the Redis protocol for tests, a thread for each connection: honest, or lying in one particular way.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use larder_format::clock::{Clock, SystemClock};

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Honest,
    /// Every so many reads: the value of another key.
    OtherKey(u64),
    /// Every so many reads: the first half of this value and the second of the one before.
    Torn(u64),
    /// Every so many reads: one bit is another.
    Flipped(u64),
    /// Every so many reads: the value before this one.
    Stale(u64),
    /// Every so many reads: nothing.
    Forgetful(u64),
    /// Values never end.
    NeverExpires,
    /// Values end at half of their time.
    ExpiresEarly,
    /// Every so many commands: an error.
    Refusing(u64),
    /// Every so many commands: the connection ends.
    Closing(u64),
    /// Every so many commands: bytes that mean nothing.
    Garbled(u64),
    /// At this command everybody waits so many milliseconds, once.
    Stalls(u64, u64),
    /// No command is ever answered after this one.
    Silent(u64),
}

struct Entry {
    value: Vec<u8>,
    before: Option<Vec<u8>>,
    expires_ms: Option<u64>,
}

struct State {
    manner: Manner,
    entries: Mutex<HashMap<Vec<u8>, Entry>>,
    commands: AtomicU64,
    clock: SystemClock,
}

/// Lets time pass.
pub fn pause(ms: u64) {
    let (_sender, receiver) = mpsc::channel::<()>();
    let _ = receiver.recv_timeout(Duration::from_millis(ms));
}

/// Tries of what a machine that is busy with something else may spoil: it makes things later, never sooner.
pub fn in_one_of_six(mut holds: impl FnMut() -> Result<(), String>) {
    let failed: Vec<String> = (0..6).map_while(|_| holds().err()).collect();
    assert!(failed.len() < 6, "{}", failed.join("\n"));
}

/// Starts one; it ends with the test.
pub fn start(manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::new(State {
        manner,
        entries: Mutex::new(HashMap::new()),
        commands: AtomicU64::new(0),
        clock: SystemClock::new(),
    });
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let state = state.clone();
            std::thread::spawn(move || state.serve(&socket));
        }
    });
    address
}

fn command(reader: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let count: usize = line.trim_end().strip_prefix('*')?.parse().ok()?;
    let mut words = Vec::new();
    for _ in 0..count {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let len: usize = line.trim_end().strip_prefix('$')?.parse().ok()?;
        let mut word = vec![0; len + 2];
        reader.read_exact(&mut word).ok()?;
        word.truncate(len);
        words.push(word);
    }
    Some(words)
}

impl State {
    fn now_ms(&self) -> u64 {
        self.clock.monotonic().as_millis() as u64
    }

    fn serve(&self, socket: &TcpStream) {
        socket.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        let mut writer = socket;
        while let Some(words) = command(&mut reader) {
            let number = self.commands.fetch_add(1, Ordering::SeqCst) + 1;
            let due = |every: u64| number.is_multiple_of(every);
            let mut entries = self.entries.lock().unwrap();
            match self.manner {
                Manner::Closing(every) if due(every) => return,
                Manner::Silent(after) if number > after => continue,
                // Under the lock: everybody waits.
                Manner::Stalls(at, ms) if number == at => pause(ms),
                _ => {}
            }
            let mut answer = match words[0].as_slice() {
                b"GET" => self.get(&mut entries, &words[1], number),
                b"SET" => self.set(&mut entries, &words),
                b"DEL" => format!(":{}\r\n", u8::from(entries.remove(&words[1]).is_some())).into_bytes(),
                b"AUTH" if words.last().unwrap() == b"right" => b"+OK\r\n".to_vec(),
                b"AUTH" => b"-WRONGPASS invalid username-password pair\r\n".to_vec(),
                _ => b"-ERR unknown command\r\n".to_vec(),
            };
            drop(entries);
            match self.manner {
                Manner::Refusing(every) if due(every) => answer = b"-OOM no room\r\n".to_vec(),
                Manner::Garbled(every) if due(every) => answer = b"what?\r\n".to_vec(),
                _ => {}
            }
            if writer.write_all(&answer).is_err() {
                return;
            }
        }
    }

    fn set(&self, entries: &mut HashMap<Vec<u8>, Entry>, words: &[Vec<u8>]) -> Vec<u8> {
        let ttl_ms = words.get(4).map(|time| {
            let time: u64 = std::str::from_utf8(time).unwrap().parse().unwrap();
            if words[3] == b"EX" { time * 1000 } else { time }
        });
        let ttl_ms = ttl_ms.map(|ms| if self.manner == Manner::ExpiresEarly { ms / 2 } else { ms });
        let before = entries.remove(&words[1]).map(|entry| entry.value);
        let expires_ms = ttl_ms.map(|ms| self.now_ms() + ms);
        entries.insert(words[1].clone(), Entry { value: words[2].clone(), before, expires_ms });
        b"+OK\r\n".to_vec()
    }

    fn get(&self, entries: &mut HashMap<Vec<u8>, Entry>, key: &[u8], number: u64) -> Vec<u8> {
        let due = |every: u64| number.is_multiple_of(every);
        let bulk = |value: &[u8]| [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat();
        let over = |entry: &Entry| entry.expires_ms.is_some_and(|at| at <= self.now_ms());
        let Some(entry) = entries.get(key).filter(|e| self.manner == Manner::NeverExpires || !over(e)) else {
            return b"$-1\r\n".to_vec();
        };
        match (self.manner, &entry.before) {
            (Manner::OtherKey(every), _) if due(every) => {
                let other = entries.iter().find(|(name, _)| name.as_slice() != key);
                bulk(&other.unwrap().1.value)
            }
            (Manner::Torn(every), Some(before)) if due(every) => {
                let half = entry.value.len().min(before.len()) / 2;
                bulk(&[&entry.value[..half], &before[half..]].concat())
            }
            (Manner::Flipped(every), _) if due(every) => {
                let mut value = entry.value.clone();
                *value.last_mut().unwrap() ^= 0x10;
                bulk(&value)
            }
            (Manner::Stale(every), Some(before)) if due(every) => bulk(before),
            (Manner::Forgetful(every), _) if due(every) => b"$-1\r\n".to_vec(),
            _ => bulk(&entry.value),
        }
    }
}
