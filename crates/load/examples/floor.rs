//! The floor that figures stand on: a server that reads commands of the Redis protocol and answers `+OK` to each, without
//! looking at what they say. Nothing that does any work on this machine can be faster.
//! `cargo run --release -p larder-load --example floor -- PORT`

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

fn main() {
    let port: u16 = std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let lanes: Vec<(Sender<TcpStream>, OwnedFd)> = (0..cores)
        .map(|_| {
            let wake = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).expect("an eventfd");
            let (sender, receiver) = channel();
            let watched = wake.try_clone().expect("a descriptor");
            std::thread::spawn(move || serve(&receiver, &watched));
            (sender, wake)
        })
        .collect();
    for (number, socket) in listener.incoming().flatten().enumerate() {
        let (lane, wake) = &lanes[number % lanes.len()];
        lane.send(socket).expect("lanes stay");
        rustix::io::write(wake, &1_u64.to_ne_bytes()).expect("an eventfd takes a number");
    }
}

/// A connection, and how many bytes of its next command are still to come before its end is known.
struct Connection {
    socket: TcpStream,
    rest: Vec<u8>,
}

fn serve(fresh: &Receiver<TcpStream>, wake: &OwnedFd) {
    let epoll = epoll::create(CreateFlags::CLOEXEC).expect("epoll");
    epoll::add(&epoll, wake, EventData::new_u64(0), EventFlags::IN).expect("a watched descriptor");
    let mut connections: HashMap<u64, Connection> = HashMap::new();
    let (mut next, mut buffer, mut answers) = (1, vec![0; 128 << 10], Vec::new());
    let mut events: Vec<Event> = Vec::with_capacity(256);
    loop {
        events.clear();
        if epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None).is_err() {
            continue;
        }
        for event in &events {
            let id = event.data.u64();
            if id == 0 {
                let _ = rustix::io::read(wake, &mut [0; 8]);
                while let Ok(socket) = fresh.try_recv() {
                    socket.set_nonblocking(true).expect("a socket");
                    socket.set_nodelay(true).expect("a socket");
                    epoll::add(&epoll, &socket, EventData::new_u64(next), EventFlags::IN).expect("a socket");
                    connections.insert(next, Connection { socket, rest: Vec::new() });
                    next += 1;
                }
                continue;
            }
            let Some(connection) = connections.get_mut(&id) else { continue };
            match connection.socket.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => {
                    connections.remove(&id);
                }
                Ok(got) => {
                    let count = connection.commands(&buffer[..got]);
                    answers.clear();
                    for _ in 0..count {
                        answers.extend_from_slice(b"+OK\r\n");
                    }
                    // Answers are short: a client that reads has room for them.
                    let _ = connection.socket.write(&answers);
                }
            }
        }
    }
}

impl Connection {
    /// How many commands end in what has come.
    fn commands(&mut self, fresh: &[u8]) -> usize {
        if self.rest.is_empty() {
            let (count, used) = whole(fresh);
            self.rest.extend_from_slice(&fresh[used..]);
            return count;
        }
        self.rest.extend_from_slice(fresh);
        let (count, used) = whole(&self.rest);
        self.rest.drain(..used);
        count
    }
}

/// Whole commands, and the bytes they take.
fn whole(input: &[u8]) -> (usize, usize) {
    let (mut count, mut used) = (0, 0);
    while let Some(len) = command(&input[used..]) {
        used += len;
        count += 1;
    }
    (count, used)
}

fn number(input: &[u8]) -> Option<(usize, usize)> {
    let end = memchr::memchr(b'\n', input)?;
    let digits = input.get(1..end.checked_sub(1)?)?;
    Some((digits.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit.wrapping_sub(b'0'))), end + 1))
}

fn command(input: &[u8]) -> Option<usize> {
    let (words, mut at) = number(input)?;
    for _ in 0..words {
        let (len, used) = number(input.get(at..)?)?;
        at += used + len + 2;
    }
    (at <= input.len()).then_some(at)
}
