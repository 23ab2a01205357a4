//! Requests in whatever pieces.

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { arguments_max: 1000, bulk_len_max: 1000, stranger: false };

/// All requests in these bytes, and how it ended.
fn all(bytes: &[u8]) -> (Vec<Vec<Vec<u8>>>, Option<Wrong>) {
    in_pieces(bytes, &[])
}

/// The same, when the bytes come in pieces of these lengths (the rest at once).
fn in_pieces(bytes: &[u8], lens: &[usize]) -> (Vec<Vec<Vec<u8>>>, Option<Wrong>) {
    let mut parser = Parser::new();
    let (mut requests, mut start, mut end) = (Vec::new(), 0, 0);
    let mut lens = lens.iter().copied();
    loop {
        end = lens.next().map_or(bytes.len(), |len| (end + len).min(bytes.len()));
        loop {
            match parser.step(&bytes[start..end], BOUNDS) {
                Ok(Step::Request(len)) => {
                    let args = parser.args(&bytes[start..end]);
                    requests.push(args.iter().map(<[u8]>::to_vec).collect());
                    assert!(len > 0);
                    start += len;
                }
                Ok(Step::More) => break,
                Err(wrong) => return (requests, Some(wrong)),
            }
        }
        if end == bytes.len() {
            return (requests, None);
        }
    }
}

fn words(request: &[Vec<u8>]) -> Vec<String> {
    request.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

#[test]
fn arrays_and_lines_follow_each_other() {
    let (requests, wrong) =
        all(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\nping\r\n*0\r\n*-1\r\n\r\nset a \"b c\"\n*1\r\n$0\r\n\r\n*1\r\n$4\r\nPI");
    assert_eq!(wrong, None);
    let requests: Vec<_> = requests.iter().map(|request| words(request)).collect();
    let none: Vec<String> = Vec::new();
    assert_eq!(requests[0], ["GET", "a"]);
    assert_eq!(requests[1], ["ping"]);
    assert_eq!((&requests[2], &requests[3], &requests[4]), (&none, &none, &none));
    assert_eq!(requests[5], ["set", "a", "b c"]);
    assert_eq!(requests[6], [""]);
    assert_eq!(requests.len(), 7);
}

#[test]
fn what_is_no_request_is_told_as_redis_tells_it() {
    for (bytes, words) in [
        ("*x\r\n", "invalid multibulk length"),
        ("*1001\r\n", "invalid multibulk length"),
        ("*99999999999\r\n", "invalid multibulk length"),
        ("*\r\n", "invalid multibulk length"),
        ("*1\r\nfoo\r\n", "expected '$', got 'f'"),
        ("*1\r\n*1\r\n$1\r\na\r\n", "expected '$', got '*'"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n$1001\r\n", "invalid bulk length"),
        ("*1\r\n$-9999999999\r\n", "invalid bulk length"),
        ("*1\r\n$a\r\n", "invalid bulk length"),
        ("*1\r\n$1\r\nab\r\n", "expected CRLF after a bulk string"),
        ("set \"a\r\n", "unbalanced quotes in request"),
    ] {
        let (requests, wrong) = all(bytes.as_bytes());
        assert!(requests.is_empty(), "{bytes:?}");
        assert_eq!(wrong.unwrap().to_string(), words, "{bytes:?}");
    }
    let long = format!("*{}", "1".repeat(100));
    assert_eq!(all(long.as_bytes()).1.unwrap().to_string(), "too big mbulk count string");
    assert_eq!(all("a".repeat(INLINE_BYTES_MAX).as_bytes()).1, Some(Wrong::InlineLen));
    assert_eq!(all("a".repeat(INLINE_BYTES_MAX - 1).as_bytes()).1, None, "the end may still come");
}

#[test]
fn limits_are_what_they_say_to_the_byte() {
    let wide = Bounds::known(100 << 20);
    let step = |bytes: &[u8]| Parser::new().step(bytes, wide);
    assert_eq!(step(format!("*{ARGUMENTS_MAX}\r\n").as_bytes()), Ok(Step::More));
    assert_eq!(step(format!("*{}\r\n", ARGUMENTS_MAX + 1).as_bytes()), Err(Wrong::CountLong));
    // All together: what was announced counts before it comes.
    let announce = |len: usize| format!("*1\r\n${len}\r\n");
    let head = announce(REQUEST_BYTES_MAX).len();
    assert_eq!(step(announce(REQUEST_BYTES_MAX - head - 2).as_bytes()), Ok(Step::More));
    assert_eq!(step(announce(REQUEST_BYTES_MAX - head - 1).as_bytes()), Err(Wrong::RequestLen));
    let line = |len: usize| [&vec![b'a'; len][..], b"\n"].concat();
    assert_eq!(step(&line(INLINE_BYTES_MAX - 1)), Ok(Step::Request(INLINE_BYTES_MAX)));
    assert_eq!(step(&line(INLINE_BYTES_MAX)), Err(Wrong::InlineLen));
}

#[test]
fn the_memory_of_a_request_with_many_arguments_is_given_back() {
    let mut bytes = b"*100000\r\n".to_vec();
    (0..100_000).for_each(|_| bytes.extend_from_slice(b"$1\r\na\r\n"));
    let mut parser = Parser::new();
    let bounds = Bounds::known(10);
    assert_eq!(parser.step(&bytes, bounds), Ok(Step::Request(bytes.len())));
    assert!(parser.held_bytes() > 100_000);
    assert_eq!(parser.step(b"*1\r\n$1\r\na\r\n", bounds), Ok(Step::Request(11)));
    assert!(parser.held_bytes() <= SPANS_KEPT * size_of::<Span>(), "{}", parser.held_bytes());
}

#[test]
fn a_stranger_is_told_that_it_is_one() {
    let stranger = Bounds { arguments_max: 10, bulk_len_max: 100, stranger: true };
    let step = |bytes: &[u8]| Parser::new().step(bytes, stranger);
    assert_eq!(step(b"*11\r\n"), Err(Wrong::StrangerCount));
    assert_eq!(step(b"*1\r\n$101\r\n"), Err(Wrong::StrangerBulkLen));
    assert_eq!(step(b"*1\r\n$100\r\n"), Ok(Step::More));
}

#[test]
fn announced_lengths_allocate_nothing() {
    let mut parser = Parser::new();
    let bounds = Bounds::known(10 << 20);
    assert_eq!(parser.step(b"*1048576\r\n$10485760\r\n", bounds), Ok(Step::More));
    assert!(parser.held_bytes() < 1024, "{}", parser.held_bytes());
    assert_eq!(parser.wanted(), 21 + (10 << 20) + 2);
}

#[test]
fn many_pieces_are_not_read_again_and_again() {
    // 60,000 arguments, a byte at a time: read from the beginning each time this would take minutes.
    let mut bytes = b"*60000\r\n".to_vec();
    for _ in 0..60_000 {
        bytes.extend_from_slice(b"$1\r\na\r\n");
    }
    let mut parser = Parser::new();
    let bounds = Bounds::known(10);
    for end in 1..bytes.len() {
        assert_eq!(parser.step(&bytes[..end], bounds), Ok(Step::More));
    }
    assert_eq!(parser.step(&bytes, bounds), Ok(Step::Request(bytes.len())));
    assert_eq!(parser.args(&bytes).len(), 60_000);
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let argument = prop::collection::vec(any::<u8>(), 0..30);
    let array = prop::collection::vec(argument, 0..6).prop_map(|args| {
        let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(&arg);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    });
    let line = "[a-z \"'\\\\]{0,12}\r?\n".prop_map(String::into_bytes);
    let other = prop::collection::vec(prop::sample::select(b"*$-0123456789\r\n abc\"\\x".to_vec()), 0..20);
    prop_oneof![6 => array, 2 => line, 1 => other]
}

proptest! {
    /// However the bytes are cut, the same requests come out of them, and the same error.
    #[test]
    fn any_split_gives_the_same_requests(requests in prop::collection::vec(request(), 0..6), lens in prop::collection::vec(0usize..12, 0..200)) {
        let bytes = requests.concat();
        let whole = all(&bytes);
        prop_assert_eq!(&whole, &in_pieces(&bytes, &lens));
        let single = vec![1; bytes.len()];
        prop_assert_eq!(&whole, &in_pieces(&bytes, &single));
    }

    /// What is written as an array of strings is read as that.
    #[test]
    fn arrays_are_read_as_they_were_written(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..8)) {
        let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
        for arg in &args {
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(arg);
            bytes.extend_from_slice(b"\r\n");
        }
        prop_assert_eq!(all(&bytes), (vec![args], None));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = all(&bytes);
    }
}
