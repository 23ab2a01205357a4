//! Round trips and refusals of the messages' bytes.

use larder_format::ids::{LeaseToken, OperationId};
use larder_format::record::{Live, OperationRecord, OperationResult};
use proptest::prelude::*;

use super::*;

fn any_bytes(max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn any_key() -> impl Strategy<Value = Key> {
    prop::collection::vec(any::<u8>(), 1..20).prop_map(|k| Key::new(k).expect("1 to 19 bytes"))
}

fn any_ballot() -> impl Strategy<Value = Ballot> {
    (any::<u64>(), any::<u64>()).prop_map(|(round, proposer)| Ballot { round, proposer })
}

fn any_operation() -> impl Strategy<Value = OperationRecord> {
    (any::<[u8; 16]>(), any::<u64>(), any::<u64>()).prop_map(|(id, deadline_ms, v)| OperationRecord {
        id: OperationId(id),
        deadline_ms,
        result: OperationResult::Deleted { version: Version::from_u64(v) },
    })
}

fn any_takes() -> impl Strategy<Value = Option<u32>> {
    prop::option::of(1..=TAKES_MAX)
}

fn any_state() -> impl Strategy<Value = RecordState> {
    let live = (any_takes(), prop::collection::vec(any::<[u8; 16]>(), 0..3), any_bytes(20), any_bytes(50))
        .prop_map(|(takes_left, tokens, head, body)| {
            let tokens = tokens.into_iter().map(LeaseToken).collect();
            Content::Live(Live { takes_left, tokens, head, body })
        });
    let content = prop_oneof![2 => live, 1 => Just(Content::Shadow(ShadowReason::Expired))];
    (any::<u64>(), any::<u64>(), content, prop::collection::vec(any_operation(), 0..3)).prop_map(
        |(v, e, content, operations)| RecordState {
            version: Version::from_u64(v),
            expiry: Expiry::at_ms(e),
            content,
            operations,
        },
    )
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any_state().prop_map(Value::Full),
        any_ballot().prop_map(|accepted| Value::Same { accepted }),
        (any_ballot(), any_state(), any_takes()).prop_map(|(accepted, state, takes_left)| Value::Changed {
            accepted,
            version: state.version,
            expiry: state.expiry,
            takes_left,
            operations: state.operations,
        }),
    ]
}

fn any_request() -> impl Strategy<Value = Request> {
    let ask =
        prop_oneof![
            any::<bool>().prop_map(|want_state| Ask::Read { want_state }),
            (any_ballot(), any::<bool>())
                .prop_map(|(ballot, want_state)| Ask::Prepare { ballot, want_state }),
            (any_ballot(), any::<u64>(), any_value())
                .prop_map(|(ballot, holds_before_ms, value)| Ask::Accept { ballot, holds_before_ms, value }),
            any_ballot().prop_map(|accepted| Ask::Fetch { accepted }),
            any_ballot().prop_map(|ballot| Ask::Forget { ballot }),
        ];
    (any::<u64>(), any::<u64>(), any::<u64>(), any_key(), ask)
        .prop_map(|(tag, epoch, now, key, ask)| Request { tag, epoch, now: Hlc::from_u64(now), key, ask })
}

fn any_summary() -> impl Strategy<Value = Summary> {
    (any_ballot(), any_ballot(), prop::option::of(any_state()), any::<bool>()).prop_map(
        |(accepted, floor, state, sent)| Summary {
            accepted,
            floor,
            meta: state.as_ref().map(RecordState::meta),
            state: state.filter(|_| sent),
        },
    )
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let refused = prop_oneof![
        any_ballot().prop_map(Refused::Promised),
        Just(Refused::Late),
        Just(Refused::ExpiryTooFar),
        Just(Refused::ClockAhead),
        Just(Refused::ClockBehind),
        Just(Refused::StaleEpoch),
        Just(Refused::NotVoting),
    ];
    let answer = prop_oneof![
        any_summary().prop_map(Answer::Seen),
        Just(Answer::Accepted),
        Just(Answer::Missing),
        (any_ballot(), prop::option::of(any_state()))
            .prop_map(|(accepted, state)| Answer::State { accepted, state }),
        refused.prop_map(Answer::Refused),
    ];
    (any::<u64>(), any::<u64>(), any::<u64>(), answer).prop_map(|(tag, epoch, high, answer)| Reply {
        tag,
        epoch,
        high: Hlc::from_u64(high),
        answer,
    })
}

fn any_page() -> impl Strategy<Value = JoinPage> {
    let ballots =
        (any_ballot(), any_ballot()).prop_map(|(promised, accepted)| Ballots { promised, accepted });
    let slot = (prop::option::of(ballots), prop::option::of(any_state()))
        .prop_map(|(ballots, state)| RecordSlot { ballots, state });
    let slots = prop::collection::vec((any_key(), slot), 0..4);
    (any::<u64>(), any_ballot(), any::<u64>(), slots, any::<bool>()).prop_map(
        |(epoch, floor, high, slots, last)| JoinPage { epoch, floor, high: Hlc::from_u64(high), slots, last },
    )
}

proptest! {
    #[test]
    fn requests_round_trip(request in any_request()) {
        prop_assert_eq!(Request::decode(request.encode()), Ok(request));
    }

    #[test]
    fn replies_round_trip(reply in any_reply()) {
        prop_assert_eq!(Reply::decode(reply.encode()), Ok(reply));
    }

    #[test]
    fn pages_round_trip(page in any_page(), epoch in any::<u64>(), after in prop::option::of(any_key())) {
        prop_assert_eq!(JoinPage::decode(page.encode()), Ok(page));
        let ask = JoinAsk { epoch, after };
        prop_assert_eq!(JoinAsk::decode(ask.encode()), Ok(ask));
    }

    #[test]
    fn no_bytes_panic_and_what_decodes_encodes_to_the_same(mut bytes in any_bytes(200).prop_map(|b| b.to_vec())) {
        if let Some(first) = bytes.first_mut() {
            *first = MESSAGE_FORMAT;
        }
        let bytes = Bytes::from(bytes);
        if let Ok(request) = Request::decode(bytes.clone()) {
            prop_assert_eq!(request.encode(), bytes.clone());
        }
        if let Ok(reply) = Reply::decode(bytes.clone()) {
            prop_assert_eq!(reply.encode(), bytes.clone());
        }
        if let Ok(page) = JoinPage::decode(bytes.clone()) {
            prop_assert_eq!(page.encode(), bytes.clone());
        }
        if let Ok(ask) = JoinAsk::decode(bytes.clone()) {
            prop_assert_eq!(ask.encode(), bytes);
        }
    }

    #[test]
    fn a_flipped_bit_never_decodes_to_the_same_request(request in any_request(), at in any::<u32>()) {
        let mut bytes = request.encode().to_vec();
        let bit = at as usize % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert_ne!(Request::decode(bytes.into()), Ok(request));
    }
}

#[test]
fn a_newer_message_is_named_as_such_and_a_huge_count_allocates_nothing() {
    let ask = JoinAsk { epoch: 1, after: None };
    let mut newer = ask.encode().to_vec();
    newer[0] = MESSAGE_FORMAT + 1;
    assert!(matches!(JoinAsk::decode(newer.into()), Err(DecodeError::TooNew { .. })));
    let page = JoinPage { epoch: 1, floor: Ballot::ZERO, high: Hlc::ZERO, slots: Vec::new(), last: true };
    let mut huge = page.encode().to_vec();
    let at = huge.len() - 4;
    huge[at..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(JoinPage::decode(huge.into()), Err(DecodeError::TooLong { .. })));
}
