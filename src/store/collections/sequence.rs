//! An order of many elements: a B+ tree that counts, so that the element at a position, the position of an element, inserting and removing all take
//! O(log n) and touch a few hundred bytes.
//!
//! Elements lie in the leaves; an inner node knows of each child how many are below it, and a copy of the first of them, so that a search touches one
//! array a level. Who searches by something else than a position gives a predicate that holds for a front part of the order
//! ([`Sequence::partition_point`]).

use super::End;

/// Most elements in a leaf, and most children of an inner node.
const FULL: usize = 64;

/// See the module.
pub struct Sequence<T> {
    root: Node<T>,
    len: usize,
}

enum Node<T> {
    Leaf(Vec<T>),
    Inner(Vec<Child<T>>),
}

struct Child<T> {
    count: usize,
    /// The first element below.
    first: T,
    node: Box<Node<T>>,
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Self { root: Node::Leaf(Vec::new()), len: 0 }
    }
}

impl<T: Copy> FromIterator<T> for Sequence<T> {
    /// Of elements in order, in O(n).
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        // Not quite full, as those made one by one.
        const FILL: usize = FULL * 3 / 4;
        let mut iter = elements.into_iter().peekable();
        let mut level = Vec::new();
        while iter.peek().is_some() {
            level.push(Child::new(Node::Leaf(iter.by_ref().take(FILL).collect())));
        }
        while level.len() > 1 {
            let mut iter = level.into_iter().peekable();
            let mut above = Vec::new();
            while iter.peek().is_some() {
                above.push(Child::new(Node::Inner(iter.by_ref().take(FILL).collect())));
            }
            level = above;
        }
        level.pop().map_or_else(Self::default, |child| Self { len: child.count, root: *child.node })
    }
}

impl<T: Copy> Sequence<T> {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The first element. O(1).
    pub fn first(&self) -> Option<T> {
        (self.len > 0).then(|| self.root.first())
    }

    /// The last element. O(log n).
    pub fn last(&self) -> Option<T> {
        self.end_leaf(End::Right).last().copied()
    }

    /// The element at position `at`.
    pub fn get(&self, mut at: usize) -> Option<T> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(elements) => return elements.get(at).copied(),
                Node::Inner(children) => {
                    let mut found = None;
                    for child in children {
                        if at < child.count {
                            found = Some(&child.node);
                            break;
                        }
                        at -= child.count;
                    }
                    node = found?;
                }
            }
        }
    }

    /// How many elements are at the front for which `holds` does; for none behind them it may.
    pub fn partition_point(&self, mut holds: impl FnMut(&T) -> bool) -> usize {
        let (mut node, mut before) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(elements) => return before + elements.partition_point(holds),
                Node::Inner(children) => {
                    // The last child whose first element is still in the front part; the first child otherwise.
                    let at = children[1..].partition_point(|child| holds(&child.first));
                    before += children[..at].iter().map(|child| child.count).sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }

    /// The elements from position `at` on.
    pub fn iter_from(&self, at: usize) -> Iter<'_, T> {
        let mut iter = Iter { path: Vec::new(), leaf: [].iter() };
        iter.descend(&self.root, at);
        iter
    }

    /// Inserts an element so that it is at position `at`, at most [`Sequence::len`].
    pub fn insert(&mut self, at: usize, element: T) {
        self.len += 1;
        if let Some(right) = self.root.insert(at, element) {
            let left = Child::new(std::mem::replace(&mut self.root, Node::Leaf(Vec::new())));
            self.root = Node::Inner(vec![left, Child::new(right)]);
        }
    }

    /// Inserts an element at an end: O(log n), with no search.
    pub fn push(&mut self, end: End, element: T) {
        if self.end_leaf(end).len() == FULL {
            let at = if end == End::Left { 0 } else { self.len };
            return self.insert(at, element);
        }
        self.len += 1;
        let mut node = &mut self.root;
        loop {
            match node {
                Node::Leaf(elements) if end == End::Left => return elements.insert(0, element),
                Node::Leaf(elements) => return elements.push(element),
                Node::Inner(children) => {
                    let child = end_of_mut(children, end);
                    child.count += 1;
                    if end == End::Left {
                        child.first = element;
                    }
                    node = &mut *child.node;
                }
            }
        }
    }

    fn end_leaf(&self, end: End) -> &[T] {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(elements) => return elements,
                Node::Inner(children) => {
                    let child = if end == End::Left { children.first() } else { children.last() };
                    node = &child.expect("an inner node has children").node;
                }
            }
        }
    }

    /// Puts another element in the place of the one at position `at`, in the same order.
    pub fn replace(&mut self, mut at: usize, element: T) -> T {
        let mut node = &mut self.root;
        loop {
            match node {
                Node::Leaf(elements) => return std::mem::replace(&mut elements[at], element),
                Node::Inner(children) => {
                    let number = child_at(children, &mut at);
                    let child = &mut children[number];
                    if at == 0 {
                        child.first = element;
                    }
                    node = &mut *child.node;
                }
            }
        }
    }

    /// Removes the element at position `at`.
    pub fn remove(&mut self, at: usize) -> T {
        let removed = self.root.remove(at);
        self.len -= 1;
        self.lower_root();
        removed
    }

    /// Removes `count` elements from position `at` on. O(log n + count / [`FULL`]) and the copying of what is removed.
    pub fn remove_range(&mut self, at: usize, count: usize) -> Vec<T> {
        let mut removed = Vec::with_capacity(count);
        if count > 0 {
            self.root.remove_range(at, count, &mut removed);
            self.len -= count;
        }
        self.lower_root();
        removed
    }

    fn lower_root(&mut self) {
        // Ends: the tree gets lower each turn.
        while let Node::Inner(children) = &mut self.root {
            match children.len() {
                0 => self.root = Node::Leaf(Vec::new()),
                1 => self.root = *children.pop().expect("one").node,
                _ => break,
            }
        }
    }

    /// Bytes of DRAM.
    pub fn dram_bytes(&self) -> usize {
        self.root.dram_bytes()
    }
}

/// The child that has position `at` of them all; `at` becomes the position in it.
fn child_at<T>(children: &[Child<T>], at: &mut usize) -> usize {
    let mut number = 0;
    while *at >= children[number].count && number + 1 < children.len() {
        *at -= children[number].count;
        number += 1;
    }
    number
}

impl<T: Copy> Child<T> {
    fn new(node: Node<T>) -> Self {
        Self { count: node.len(), first: node.first(), node: Box::new(node) }
    }
}

impl<T: Copy> Child<T> {
    /// So many have been removed below.
    fn fewer(&mut self, count: usize) {
        self.count -= count;
        if self.count > 0 {
            self.first = self.node.first();
        }
    }
}

impl<T: Copy> Node<T> {
    fn len(&self) -> usize {
        match self {
            Node::Leaf(elements) => elements.len(),
            Node::Inner(children) => children.iter().map(|child| child.count).sum(),
        }
    }

    /// The first element below. Only the root may have none.
    fn first(&self) -> T {
        match self {
            Node::Leaf(elements) => elements[0],
            Node::Inner(children) => children[0].first,
        }
    }

    /// Inserts below; returns what did not fit any more, to be put to the right of this node.
    fn insert(&mut self, mut at: usize, element: T) -> Option<Node<T>> {
        match self {
            Node::Leaf(elements) => insert_into(elements, at, element).map(Node::Leaf),
            Node::Inner(children) => {
                let number = child_for_insert(children, &mut at);
                let child = &mut children[number];
                let overflow = child.node.insert(at, element);
                child.count += 1;
                if at == 0 {
                    child.first = element;
                }
                let right = Child::new(overflow?);
                child.count -= right.count;
                insert_into(children, number + 1, right).map(Node::Inner)
            }
        }
    }

    fn remove(&mut self, mut at: usize) -> T {
        match self {
            Node::Leaf(elements) => elements.remove(at),
            Node::Inner(children) => {
                let number = child_at(children, &mut at);
                let removed = children[number].node.remove(at);
                children[number].fewer(1);
                join(children, number);
                removed
            }
        }
    }

    fn remove_range(&mut self, at: usize, count: usize, removed: &mut Vec<T>) {
        match self {
            Node::Leaf(elements) => removed.extend(elements.drain(at..at + count)),
            Node::Inner(children) => {
                let (mut before, mut left, mut at) = (0, count, at);
                let mut touched = Vec::new();
                for (number, child) in children.iter_mut().enumerate() {
                    if left == 0 {
                        break;
                    }
                    if at < before + child.count {
                        let from = at - before;
                        let here = left.min(child.count - from);
                        child.node.remove_range(from, here, removed);
                        before += child.count;
                        child.fewer(here);
                        left -= here;
                        at = before;
                        touched.push(number);
                    } else {
                        before += child.count;
                    }
                }
                let (first, last) = (touched[0], touched[touched.len() - 1]);
                children.retain(|child| child.count > 0);
                // What is left of the two at the ends may be small now.
                for number in [last, first] {
                    if number < children.len() {
                        join(children, number);
                    }
                }
            }
        }
    }

    fn width(&self) -> usize {
        match self {
            Node::Leaf(elements) => elements.len(),
            Node::Inner(children) => children.len(),
        }
    }

    fn append(&mut self, other: Node<T>) {
        match (self, other) {
            (Node::Leaf(mine), Node::Leaf(theirs)) => mine.extend(theirs),
            (Node::Inner(mine), Node::Inner(theirs)) => mine.extend(theirs),
            _ => unreachable!("all leaves are at one depth"),
        }
    }

    fn dram_bytes(&self) -> usize {
        match self {
            Node::Leaf(elements) => elements.capacity() * size_of::<T>(),
            Node::Inner(children) => {
                let below: usize = children.iter().map(|child| child.node.dram_bytes() + size_of::<Node<T>>()).sum();
                children.capacity() * size_of::<Child<T>>() + below
            }
        }
    }
}

/// Inserts into a node; returns what did not fit any more.
fn insert_into<T>(all: &mut Vec<T>, at: usize, one: T) -> Option<Vec<T>> {
    let mut right = (all.len() == FULL).then(|| split(all, at));
    match &mut right {
        Some(right) if at > all.len() => right.insert(at - all.len(), one),
        _ => all.insert(at, one),
    }
    right
}

fn end_of_mut<T>(all: &mut [T], end: End) -> &mut T {
    let one = if end == End::Left { all.first_mut() } else { all.last_mut() };
    one.expect("an inner node has children")
}

/// The right part of a full node. Where the next one goes to the very end, as in a queue, or to the very front, as on a stack, nearly all stays together:
/// the nodes are full then.
fn split<T>(full: &mut Vec<T>, at: usize) -> Vec<T> {
    let keep = match at {
        0 => 4,
        at if at >= full.len() => FULL - 4,
        _ => FULL / 2,
    };
    let mut right = Vec::with_capacity(FULL);
    right.extend(full.drain(keep..));
    right
}

/// As [`child_at`], but a position between two children is the end of the left one.
fn child_for_insert<T>(children: &[Child<T>], at: &mut usize) -> usize {
    let mut number = 0;
    while *at > children[number].count && number + 1 < children.len() {
        *at -= children[number].count;
        number += 1;
    }
    number
}

/// Takes child `number` out if it is empty, or joins it with a neighbour if both are small.
fn join<T: Copy>(children: &mut Vec<Child<T>>, number: usize) {
    if children[number].count == 0 {
        children.remove(number);
        return;
    }
    if children[number].node.width() > FULL / 4 || children.len() < 2 {
        return;
    }
    let left = if number + 1 < children.len() { number } else { number - 1 };
    if children[left].node.width() + children[left + 1].node.width() <= FULL * 3 / 4 {
        let right = children.remove(left + 1);
        children[left].count += right.count;
        children[left].node.append(*right.node);
    }
}

/// Elements in order.
pub struct Iter<'a, T> {
    path: Vec<std::slice::Iter<'a, Child<T>>>,
    leaf: std::slice::Iter<'a, T>,
}

impl<'a, T> Iter<'a, T> {
    fn descend(&mut self, mut node: &'a Node<T>, mut at: usize) {
        loop {
            match node {
                Node::Leaf(elements) => {
                    self.leaf = elements.get(at..).unwrap_or_default().iter();
                    return;
                }
                Node::Inner(children) => {
                    let number = child_at(children, &mut at);
                    self.path.push(children[number + 1..].iter());
                    node = &children[number].node;
                }
            }
        }
    }
}

impl<T: Copy> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        // Ends: each turn takes a child of the path, or an iterator off it.
        loop {
            if let Some(element) = self.leaf.next() {
                return Some(*element);
            }
            let level = self.path.last_mut()?;
            match level.next() {
                Some(child) => self.descend(&child.node, 0),
                None => drop(self.path.pop()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Copy + PartialEq>(node: &Node<T>, is_root: bool) -> (usize, usize) {
        match node {
            Node::Leaf(elements) => {
                assert!(elements.len() <= FULL && (is_root || !elements.is_empty()));
                (elements.len(), 1)
            }
            Node::Inner(children) => {
                assert!(children.len() <= FULL && children.len() >= if is_root { 2 } else { 1 });
                let below: Vec<_> = children.iter().map(|child| check(&child.node, false)).collect();
                assert!(children.iter().all(|child| child.first == child.node.first()), "another one is first");
                assert!(below.iter().zip(children).all(|(below, child)| below.0 == child.count));
                assert!(below.iter().all(|other| other.1 == below[0].1), "leaves at different depths");
                (below.iter().map(|below| below.0).sum(), below[0].1 + 1)
            }
        }
    }

    /// Random changes beside a plain vector.
    #[test]
    fn a_sequence_is_as_a_plain_vector() {
        let mut seed = 11u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % below
        };
        let (mut sequence, mut model) = (Sequence::default(), Vec::new());
        for step in 0..60_000usize {
            match random(if step < 40_000 { 10 } else { 20 }) {
                0..5 => {
                    let at = [0, model.len(), random(model.len() + 1)][random(3)];
                    match at {
                        0 if step % 2 == 0 => sequence.push(End::Left, step),
                        at if at == model.len() && step % 2 == 0 => sequence.push(End::Right, step),
                        at => sequence.insert(at, step),
                    }
                    model.insert(at, step);
                }
                5 if !model.is_empty() => {
                    let at = random(model.len());
                    assert_eq!(sequence.replace(at, step), std::mem::replace(&mut model[at], step));
                }
                6 if step % 8 == 0 => {
                    let at = random(model.len() + 1);
                    let count = random((model.len() - at).min(700) + 1);
                    assert_eq!(sequence.remove_range(at, count), model.drain(at..at + count).collect::<Vec<_>>());
                }
                _ if !model.is_empty() => {
                    let at = [0, model.len() - 1, random(model.len())][random(3)];
                    assert_eq!(sequence.remove(at), model.remove(at));
                }
                _ => {}
            }
            assert_eq!(sequence.len(), model.len());
            assert_eq!((sequence.first(), sequence.last()), (model.first().copied(), model.last().copied()));
            if step % 500 == 0 {
                check(&sequence.root, true);
                let at = random(model.len() + 1);
                assert_eq!(sequence.iter_from(at).collect::<Vec<_>>(), model[at..]);
                assert_eq!(sequence.get(at), model.get(at).copied());
            }
        }
        let built: Sequence<usize> = (0..100_000).collect();
        check(&built.root, true);
        for value in [0, 1, 47, 48, 49, 2303, 2304, 2305, 99_999, 100_000] {
            assert_eq!(built.partition_point(|&element| element < value), value);
        }
        assert_eq!(built.iter_from(99_990).count(), 10);
        let mut built = built;
        assert_eq!(built.remove_range(10, 99_980).len(), 99_980);
        check(&built.root, true);
        assert_eq!(built.iter_from(0).collect::<Vec<_>>(), (0..10).chain(99_990..100_000).collect::<Vec<_>>());
    }
}
