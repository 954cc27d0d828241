//! One published message, in the forms that subscribers read.

use super::Topic;
use crate::protocol::{Protocol, ReplyWriter};
use bytes::BytesMut;
use std::cell::OnceCell;

/// A message on its way to the subscribers of one channel or pattern. Each of its two forms is made once, for the first who needs it.
#[derive(Debug)]
pub struct Message<'a> {
    topic: Topic,
    pattern: Option<&'a [u8]>,
    channel: &'a [u8],
    payload: &'a [u8],
    forms: [OnceCell<BytesMut>; 2],
}

impl<'a> Message<'a> {
    /// `payload`, published to `channel`, for those who are subscribed by `topic`, through `pattern` if that is a pattern.
    pub fn new(topic: Topic, pattern: Option<&'a [u8]>, channel: &'a [u8], payload: &'a [u8]) -> Self {
        Self { topic, pattern, channel, payload, forms: [const { OnceCell::new() }; 2] }
    }

    /// Appends it to what `out` writes.
    pub fn write(&self, out: &mut ReplyWriter<'_>) {
        let form = match out.protocol() {
            Protocol::Resp2 => &self.forms[0],
            Protocol::Resp3 => &self.forms[1],
        };
        let bytes = form.get_or_init(|| self.encode(out.protocol()));
        out.raw().extend_from_slice(bytes);
    }

    fn encode(&self, protocol: Protocol) -> BytesMut {
        let mut bytes = BytesMut::with_capacity(self.channel.len() + self.payload.len() + 64);
        let mut reply = ReplyWriter::new(&mut bytes, protocol);
        reply.push_header(3 + usize::from(self.pattern.is_some()));
        reply.bulk(match self.topic {
            Topic::Channel => b"message",
            Topic::Pattern => b"pmessage",
            Topic::ShardChannel => b"smessage",
        });
        self.pattern.into_iter().for_each(|pattern| reply.bulk(pattern));
        reply.bulk(self.channel);
        reply.bulk(self.payload);
        bytes
    }
}
