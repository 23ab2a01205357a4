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
fn messages_are_bounded_for_one_and_for_all() {
    let clients = Clients::new();
    let all: Vec<_> = (0..10).map(|_| client(&clients)).collect();
    let message = vec![0; 1 << 20];
    let one = &all[0];
    let taken = (0..100).filter(|_| one.post(&message)).count();
    assert_eq!((taken, one.is_over()), (32, true));
    for other in &all[1..9] {
        (0..31).for_each(|_| {
            other.post(&message);
        });
    }
    assert!(clients.mail_bytes() <= UNSENT_BYTES_MAX, "all together");
    assert!(all[1..9].iter().any(|other| other.is_over()));
    let before = clients.mail_bytes();
    let mail = all[1].take_mail();
    assert_eq!(clients.mail_bytes(), before - mail.len());
    assert!(all[9].post(&message[..10]) && all[9].has_mail());
    drop((clients.list(|_| true), all));
}
