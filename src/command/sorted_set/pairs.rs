//! Members in replies, alone or with their scores: one flat array in RESP2, an array of pairs in RESP3.

use crate::protocol::{Protocol, ReplyWriter};

/// `len` members follow, each by [`write`].
pub fn header(reply: &mut ReplyWriter<'_>, len: usize, with_scores: bool) {
    let flat = with_scores && reply.protocol() == Protocol::Resp2;
    reply.array_header(if flat { 2 * len } else { len });
}

/// One member of those that [`header`] has announced.
pub fn write(reply: &mut ReplyWriter<'_>, member: &[u8], score: f64, with_scores: bool) {
    if with_scores && reply.protocol() == Protocol::Resp3 {
        reply.array_header(2);
    }
    reply.bulk(member);
    if with_scores {
        reply.double(score);
    }
}
