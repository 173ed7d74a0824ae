//! What a dialect sends to clients: the packets of a frame, and which rule an answer belongs to. Pure.

use serde_json::Value;

use super::{
    rules::Emission,
    template::{Scope, Template, evaluate_items},
};

/// Digits of a rule's number in a `ref`.
const RULE_DIGITS: usize = 10;
/// Digits of an ack id in a `ref`. A `ref` with both has more characters than any `ref` of a client.
const ACK_DIGITS: usize = 60;

/// The users whom a packet reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PacketReceivers {
    Everybody,
    AllBut(Box<str>),
    Only(Box<str>),
}

impl PacketReceivers {
    /// Whether the packet reaches this user.
    pub fn include(&self, user: Option<&str>) -> bool {
        match self {
            Self::Everybody => true,
            Self::AllBut(author) => user != Some(&**author),
            Self::Only(author) => user == Some(&**author),
        }
    }
}

/// A packet of Socket.IO for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialectPacket {
    /// The id of the event that the packet acks; `None` if it is an event.
    pub ack: Option<u64>,
    /// The array of the packet: of an event, its name and its arguments.
    pub json: String,
    pub receivers: PacketReceivers,
}

impl DialectPacket {
    pub(super) fn ack(id: u64, arguments: &[Template], scope: &Scope<'_>) -> Self {
        let json = Value::Array(evaluate_items(arguments, scope)).to_string();
        Self { ack: Some(id), json, receivers: PacketReceivers::Everybody }
    }

    pub(super) fn event(emission: &Emission, scope: &Scope<'_>) -> Self {
        let mut items = vec![Value::from(emission.event.as_str())];
        items.extend(evaluate_items(&emission.arguments, scope));
        let json = Value::Array(items).to_string();
        Self { ack: None, json, receivers: PacketReceivers::Everybody }
    }
}

/// Which event an answer belongs to. It is the `ref` of the event's command, so it needs no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AnswerReference {
    /// The index of the rule of the event; `None` if no rule fits the event.
    pub rule: Option<usize>,
    /// The ack id of the event.
    pub ack: Option<u64>,
}

impl AnswerReference {
    pub fn to_ref(self) -> String {
        // 0 stands for none.
        let rule = self.rule.map_or(0, |rule| rule + 1);
        let ack = self.ack.map_or(0, |ack| u128::from(ack) + 1);
        format!("{rule:0>RULE_DIGITS$}{ack:0>ACK_DIGITS$}")
    }

    pub fn parse(reference: &str) -> Option<Self> {
        let (rule, ack) = reference.split_at_checked(RULE_DIGITS)?;
        if ack.len() != ACK_DIGITS {
            return None;
        }
        let (rule, ack): (usize, u128) = (rule.parse().ok()?, ack.parse().ok()?);
        let ack = ack.checked_sub(1).map(u64::try_from).transpose().ok()?;
        Some(Self { rule: rule.checked_sub(1), ack })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ref_leads_back_to_rule_and_ack() {
        for rule in [None, Some(0), Some(41)] {
            for ack in [None, Some(0), Some(7), Some(u64::MAX)] {
                let reference = AnswerReference { rule, ack };
                let text = reference.to_ref();
                assert_eq!(text.len(), RULE_DIGITS + ACK_DIGITS);
                assert_eq!(AnswerReference::parse(&text), Some(reference));
            }
        }
        for other in ["", "7", "ref of a client"] {
            assert_eq!(AnswerReference::parse(other), None, "{other}");
        }
    }
}
