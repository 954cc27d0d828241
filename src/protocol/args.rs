//! The arguments of one request, in place in the buffer they were read into.
//!
//! An argument is a span: offset and length relative to the first byte of the request, so that the buffer may move
//! while the request is still arriving. Inline requests with quotes are the exception: their arguments are written
//! out, without the quotes, to a buffer of the [`ArgSpans`] itself, and all spans of such a request point there.
//! Which of the two it is gets decided once per request, in [`ArgSpans::args`], and not once per argument.

/// Room for this many spans is kept between requests; more is given back. 8 KiB.
const SPANS_KEPT: usize = 1024;

/// Room for this many bytes written out from quotes is kept between requests; more is given back.
const UNQUOTED_BYTES_KEPT: usize = 1024;

/// Both together.
const HEAP_BYTES_KEPT: usize = SPANS_KEPT * size_of::<(u32, u32)>() + UNQUOTED_BYTES_KEPT;

/// Where each argument of one request lies, relative to the start of that request's bytes.
///
/// Kept by the connection and reused, so that parsing allocates nothing once it has grown.
#[derive(Debug, Default, Clone)]
pub struct ArgSpans {
    /// The spans of the arguments, then stale ones, so that a request's spans are written without asking for room each.
    slots: Vec<(u32, u32)>,
    /// How many of the slots are in use.
    len: usize,
    /// The arguments of an inline request with quotes, one after the other; empty for any other request.
    unquoted: Vec<u8>,
}

impl ArgSpans {
    /// No arguments.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all arguments and keeps the room, but for what only an unusually large request needs.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
        self.unquoted.clear();
        if self.heap_bytes() > HEAP_BYTES_KEPT {
            self.shrink();
        }
    }

    #[cold]
    fn shrink(&mut self) {
        self.slots.truncate(SPANS_KEPT);
        self.slots.shrink_to_fit();
        self.unquoted.shrink_to(UNQUOTED_BYTES_KEPT);
    }

    /// Adds the argument at `start..start + len`.
    #[inline]
    pub fn push(&mut self, start: u32, len: u32) {
        match self.slots.get_mut(self.len) {
            Some(slot) => *slot = (start, len),
            None => self.slots.push((start, len)),
        }
        self.len += 1;
    }

    /// Makes it `len` arguments and gives out their spans, all of which the caller sets.
    #[inline]
    pub(super) fn set_len(&mut self, len: usize) -> &mut [(u32, u32)] {
        if self.slots.len() < len {
            self.grow(len);
        }
        self.len = len;
        &mut self.slots[..len]
    }

    #[cold]
    fn grow(&mut self, len: usize) {
        self.slots.resize(len, (0, 0));
    }

    /// Forgets the arguments from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Where the argument that is written out next begins.
    pub(super) fn unquoted_bytes(&self) -> u32 {
        // An inline request is at most 64 KiB, and unquoting makes it shorter.
        self.unquoted.len() as u32
    }

    /// Writes one byte of an argument out.
    pub(super) fn push_unquoted(&mut self, byte: u8) {
        self.unquoted.push(byte);
    }

    /// How many arguments there are, the command's name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no argument.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of heap held, used or not.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<(u32, u32)>() + self.unquoted.capacity()
    }

    /// The arguments, `buf` being the bytes of the request they were found in (more may follow).
    #[inline]
    pub fn args<'a>(&'a self, buf: &'a [u8]) -> Args<'a> {
        let buf = if self.unquoted.is_empty() { buf } else { &self.unquoted };
        Args { buf, spans: &self.slots[..self.len] }
    }
}

/// One request: the command's name at index 0, its arguments after it. Borrowed from the read buffer.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buf: &'a [u8],
    spans: &'a [(u32, u32)],
}

impl<'a> Args<'a> {
    /// How many there are, the command's name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `i`; the arity check of the command table makes fixed positions safe to ask for.
    ///
    /// # Panics
    /// If there is no argument `i`.
    #[inline]
    pub fn at(&self, i: usize) -> &'a [u8] {
        slice(self.buf, self.spans[i])
    }

    /// Argument `i`, if there is one.
    #[inline]
    pub fn get(&self, i: usize) -> Option<&'a [u8]> {
        self.spans.get(i).map(|&span| slice(self.buf, span))
    }

    /// The arguments from `i` on; empty when there are none.
    #[inline]
    pub fn from(&self, i: usize) -> Args<'a> {
        Args { buf: self.buf, spans: self.spans.get(i..).unwrap_or(&[]) }
    }

    /// The first `count` arguments, or all when there are fewer.
    #[inline]
    pub fn first(&self, count: usize) -> Args<'a> {
        Args { buf: self.buf, spans: self.spans.get(..count).unwrap_or(self.spans) }
    }

    /// The arguments in order.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + use<'a> {
        let buf = self.buf;
        self.spans.iter().map(move |&span| slice(buf, span))
    }
}

impl std::fmt::Debug for Args<'_> {
    /// The number of arguments only: keys and values do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Args").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[inline]
fn slice(buf: &[u8], (start, len): (u32, u32)) -> &[u8] {
    &buf[start as usize..start as usize + len as usize]
}
