//! Round trips and refusals of the record layout.

use proptest::prelude::*;

use super::*;

fn any_bytes(max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn any_result() -> impl Strategy<Value = OperationResult> {
    prop_oneof![
        (any::<u64>(), any::<u64>()).prop_map(|(v, e)| OperationResult::Written {
            version: Version::from_u64(v),
            expiry: Expiry::at_ms(e)
        }),
        any::<u64>().prop_map(|v| OperationResult::Deleted { version: Version::from_u64(v) }),
        (any::<u64>(), any::<u64>(), any::<u32>(), any_bytes(40), any_bytes(40)).prop_map(
            |(v, e, takes_left, head, body)| {
                let (version, expiry) = (Version::from_u64(v), Expiry::at_ms(e));
                OperationResult::Taken { version, expiry, takes_left, head, body }
            }
        ),
    ]
}

fn any_content() -> impl Strategy<Value = Content> {
    let live = (
        prop::option::of(1..=TAKES_MAX),
        prop::collection::vec(any::<[u8; 16]>().prop_map(LeaseToken), 0..4),
        any_bytes(60),
        any_bytes(200),
    )
        .prop_map(|(takes_left, tokens, head, body)| Content::Live(Live { takes_left, tokens, head, body }));
    prop_oneof![
        3 => live,
        1 => Just(Content::Shadow(ShadowReason::Deleted)),
        1 => Just(Content::Shadow(ShadowReason::Expired)),
        1 => Just(Content::Shadow(ShadowReason::Taken)),
    ]
}

fn any_state() -> impl Strategy<Value = RecordState> {
    let operation = (any::<[u8; 16]>(), any::<u64>(), any_result())
        .prop_map(|(id, deadline_ms, result)| OperationRecord { id: OperationId(id), deadline_ms, result });
    (any::<u64>(), any::<u64>(), any_content(), prop::collection::vec(operation, 0..4)).prop_map(
        |(version, expiry, content, operations)| RecordState {
            version: Version::from_u64(version),
            expiry: Expiry::at_ms(expiry),
            content,
            operations,
        },
    )
}

proptest! {
    #[test]
    fn every_state_round_trips(state in any_state()) {
        prop_assert_eq!(RecordState::decode(state.encode()), Ok(state));
    }

    #[test]
    fn no_bytes_panic_and_what_decodes_encodes_to_the_same(bytes in any_bytes(300)) {
        if let Ok(state) = RecordState::decode(bytes.clone()) {
            prop_assert_eq!(state.encode(), bytes);
        }
    }

    #[test]
    fn a_cut_header_never_decodes_to_the_same_state(state in any_state(), cut in 1usize..20) {
        let bytes = state.encode();
        let short = bytes.slice(..bytes.len() - cut.min(bytes.len()));
        prop_assert_ne!(RecordState::decode(short), Ok(state));
    }
}

#[test]
fn a_newer_layout_is_named_as_such() {
    let state = RecordState {
        version: Version::from_u64(1),
        expiry: Expiry::NEVER,
        content: Content::Shadow(ShadowReason::Deleted),
        operations: Vec::new(),
    };
    let mut bytes = state.encode().to_vec();
    bytes[0] = RECORD_FORMAT + 1;
    assert!(matches!(RecordState::decode(bytes.into()), Err(DecodeError::TooNew { .. })));
}

#[test]
fn an_expiry_at_the_moment_itself_is_past() {
    let state = Expiry::at_ms(1_000);
    assert!(!state.is_past(Hlc::from_ms(999)));
    assert!(state.is_past(Hlc::from_ms(1_000)));
    assert!(!Expiry::NEVER.is_past(Hlc::MAX));
}
