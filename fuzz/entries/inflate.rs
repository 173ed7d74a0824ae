//! Compressed messages, from any bytes: the first says how large a message may be. No more than that comes out or is
//! kept, a message leaves nothing behind that changes the next one, and what we deflate inflates to the same.

use tidings_gateway::transport::probe::{MessageInflater, deflate};

/// What an inflater keeps at most between messages: a whole message of the protocol, and one byte.
const KEPT_BYTES: usize = 64 * 1024 + 1;

pub fn run(data: &[u8]) {
    let Some((&told, payload)) = data.split_first() else { return };
    let max_bytes = usize::from(told) * 300;
    let mut inflater = MessageInflater::default();
    let first = inflater.inflate(payload, max_bytes);
    assert!(first.as_ref().is_none_or(|text| text.len() <= max_bytes));
    assert!(inflater.held_bytes() <= max_bytes + 1, "{}", inflater.held_bytes());
    assert_eq!(inflater.inflate(payload, max_bytes), first, "the same bytes, behind themselves");
    // Room that is larger than a smaller bound stays, and is not handed out.
    let smaller = inflater.inflate(payload, max_bytes / 2);
    assert_eq!(smaller, first.filter(|text| text.len() <= max_bytes / 2));
    assert_eq!(inflater.inflate(&[0], max_bytes), Some(Vec::new()), "nothing, behind it");

    if let Some(deflated) = deflate(payload) {
        assert!(deflated.len() < payload.len());
        assert_eq!(inflater.inflate(&deflated, payload.len()).as_deref(), Some(payload));
    }
    assert!(inflater.held_bytes() <= KEPT_BYTES.max(max_bytes + 1).max(payload.len() + 1));
}
