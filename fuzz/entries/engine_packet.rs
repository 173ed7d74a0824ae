//! Decodes any bytes as the body of an Engine.IO POST. The first byte sets the maximum length of a poll's answer. The
//! messages of the body are queued and polled. The polls must return the same messages in the same order. Each answer
//! must be within the limit, or have one packet.

use tidings_gateway::transport::probe::{DecodedPacket, decode_engine_packets, encode_engine_bodies};

const SEPARATOR: u8 = 0x1E;

pub fn run(data: &[u8]) {
    let Some((&limit, body)) = data.split_first() else { return };
    let packets = decode_engine_packets(body);
    let separators = body.iter().filter(|byte| **byte == SEPARATOR).count();
    assert_eq!(packets.len(), separators + 1);
    let is_message =
        |packet: &DecodedPacket| matches!(packet, DecodedPacket::Text(_) | DecodedPacket::Binary(_));
    let messages: Vec<DecodedPacket> = packets.into_iter().filter(is_message).collect();
    let max_bytes = usize::from(limit);
    let bodies = encode_engine_bodies(&messages, max_bytes);
    for body in &bodies {
        assert!(body.len() <= max_bytes || !body.contains(&SEPARATOR), "{body:?}");
    }
    let polled: Vec<DecodedPacket> = bodies.iter().flat_map(|body| decode_engine_packets(body)).collect();
    assert_eq!(polled, messages);
}
