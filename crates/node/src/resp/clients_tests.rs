//! Clients of the Redis door: who is cut off, and what messages may take.

use super::*;

fn client(clients: &Clients) -> Arc<Client> {
    let address = "127.0.0.1:1".parse().unwrap();
    clients.enter(address, address)
}

#[test]
fn whoever_does_not_go_on_is_cut_off_and_whoever_idles_is_not() {
    let clients = Clients::new();
    let one = client(&clients);
    one.look(100_000);
    assert!(!one.is_over(), "idle for ever");
    one.enter(Phase::Stalled);
    one.look(30);
    assert!(!one.is_over());
    one.look(31);
    assert!(one.is_over());
    let two = client(&clients);
    two.set_unknown(true);
    two.look(30);
    assert!(!two.is_over());
    two.look(31);
    assert!(two.is_over(), "has not said who it is");
    let three = client(&clients);
    (0..100).for_each(|_| clients.look_at_all(None));
    three.set_unknown(true);
    clients.look_at_all(None);
    assert!(!three.is_over(), "it has its time from when it was forgotten who it is");
    clients.leave(three.id);
    assert_eq!(clients.count(), (2, 0));
    clients.leave(one.id);
    assert_eq!(clients.count(), (1, 0));
}

#[test]
fn whoever_takes_no_messages_is_in_its_own_way_first() {
    let clients = Clients::new();
    let message = vec![0; 1 << 20];
    let of = |name: &str| {
        let client = client(&clients);
        client.set_mail_part(clients.mail_part(&Caller::with_token([192, 0, 2, 1].into(), name), false));
        client
    };
    let deaf: Vec<_> = (0..8).map(|_| of("deaf")).collect();
    for _ in 0..30 {
        deaf.iter().for_each(|one| {
            one.post(&message);
        });
    }
    let cut = deaf.iter().filter(|one| one.is_over()).count();
    assert!((1..8).contains(&cut), "{cut}: half of all is for one");
    assert!(clients.mail_bytes() <= UNSENT_BYTES_MAX / 2, "{}", clients.mail_bytes());
    let other = of("other");
    assert!((0..30).all(|_| other.post(&message)), "nobody else is let go");
    let late = of("deaf");
    assert!(!(0..10).all(|_| late.post(&message)) && late.is_over());
    // Whoever turns out to be somebody else takes along what it has.
    let one = deaf.iter().find(|one| !one.is_over()).unwrap();
    let before = clients.mail_bytes();
    one.set_mail_part(clients.mail_part(&Caller::with_token([192, 0, 2, 1].into(), "third"), false));
    assert_eq!(clients.mail_bytes(), before);
    let late = of("deaf");
    assert!((0..10).all(|_| late.post(&message)), "there is room again");
}

#[test]
fn messages_are_bounded_for_one_and_for_all() {
    let clients = Clients::new();
    let all: Vec<_> = (0..12).map(|_| client(&clients)).collect();
    let message = vec![0; 1 << 20];
    let one = &all[0];
    let taken = (0..100).filter(|_| one.post(&message)).count();
    assert_eq!((taken, one.is_over()), (32, true));
    assert_eq!(clients.mail_bytes(), 0, "whoever is cut off holds nothing more");
    for other in &all[1..11] {
        (0..31).for_each(|_| {
            other.post(&message);
        });
    }
    assert!(clients.mail_bytes() <= UNSENT_BYTES_MAX, "all together");
    assert!(all[1..11].iter().any(|other| other.is_over()));
    let before = clients.mail_bytes();
    let mail = all[1].take_mail();
    assert_eq!(clients.mail_bytes(), before - mail.len());
    assert!(all[11].post(&message[..10]) && all[11].has_mail());
    drop((clients.list(|_| true), all));
}
