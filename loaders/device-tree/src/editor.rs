//! Changing a flattened device tree in place, without a heap: nodes and their properties (Devicetree
//! Specification 0.4, chapter 5).
//!
//! What is added is inserted, and all behind it moves up; what is removed becomes NOPs.

const MAGIC: u32 = 0xD00D_FEED;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;

/// Offsets in the header.
const TOTAL_SIZE: usize = 4;
const STRUCTURE: usize = 8;
const STRINGS: usize = 12;
const RESERVATIONS: usize = 16;
const STRINGS_SIZE: usize = 32;
const STRUCTURE_SIZE: usize = 36;

/// Why the device tree cannot be edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// It is no device tree, or a broken one.
    Broken,
    /// There is not enough room for the changes.
    NoRoom,
}

/// A device tree under change.
#[derive(Debug)]
pub struct Editor<'a> {
    bytes: &'a mut [u8],
}

/// Where a node's content is: after its name, and its END_NODE.
#[derive(Clone, Copy)]
struct Body {
    start: usize,
    end: usize,
}

/// A property: where its token is, and its value.
#[derive(Clone, Copy)]
struct Found {
    at: usize,
    value: usize,
    size: usize,
}

const fn aligned(at: usize) -> usize {
    at.saturating_add(3) & !3
}

impl<'a> Editor<'a> {
    /// Edits the tree in `bytes`, which may be longer than the tree.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn new(bytes: &'a mut [u8]) -> Result<Self, EditError> {
        let editor = Self { bytes };
        let total = editor.word(TOTAL_SIZE)?;
        let inside = |start: usize, size: usize| start.checked_add(size).is_some_and(|end| end <= total);
        let structure = inside(editor.word(STRUCTURE)?, editor.word(STRUCTURE_SIZE)?);
        let strings = inside(editor.word(STRINGS)?, editor.word(STRINGS_SIZE)?);
        let good = editor.word(0)? == MAGIC as usize && total <= editor.bytes.len() && structure && strings;
        if good { Ok(editor) } else { Err(EditError::Broken) }
    }

    fn word(&self, at: usize) -> Result<usize, EditError> {
        let bytes = self.bytes.get(at..).and_then(|bytes| bytes.first_chunk()).ok_or(EditError::Broken)?;
        Ok(u32::from_be_bytes(*bytes) as usize)
    }

    fn set_word(&mut self, at: usize, value: usize) -> Result<(), EditError> {
        let slot = self.bytes.get_mut(at..at + 4).ok_or(EditError::Broken)?;
        slot.copy_from_slice(&(value as u32).to_be_bytes());
        Ok(())
    }

    fn text(&self, at: usize) -> Result<&[u8], EditError> {
        let rest = self.bytes.get(at..).ok_or(EditError::Broken)?;
        rest.split(|byte| *byte == 0).next().ok_or(EditError::Broken)
    }

    /// The node of a path of names; the root for an empty one.
    fn node(&self, path: &[&str]) -> Result<Option<Body>, EditError> {
        let (mut at, mut depth, mut matched) = (self.word(STRUCTURE)?, 0, 0);
        let mut start = None;
        let limit = at + self.word(STRUCTURE_SIZE)?;
        while at < limit {
            let token = at;
            at += 4;
            match self.word(token)? as u32 {
                BEGIN_NODE => {
                    let name = self.text(at)?;
                    at = aligned(at + name.len() + 1);
                    let wanted = path.get(matched).is_some_and(|wanted| name == wanted.as_bytes());
                    matched += usize::from(depth == matched + 1 && wanted);
                    start = start.or((depth == path.len() && matched == depth).then_some(at));
                    depth += 1;
                }
                END_NODE => {
                    if let (Some(start), true) = (start, depth == path.len() + 1) {
                        return Ok(Some(Body { start, end: token }));
                    }
                    if depth <= 1 {
                        return Ok(None);
                    }
                    depth -= 1;
                    matched = matched.min(depth - 1);
                }
                PROPERTY => at = aligned(at.saturating_add(8).saturating_add(self.word(at)?)),
                NOP => {}
                _ => return Err(EditError::Broken),
            }
        }
        Err(EditError::Broken)
    }

    fn property(&self, node: Body, name: &str) -> Result<Option<Found>, EditError> {
        let mut at = node.start;
        while at < node.end {
            match self.word(at)? as u32 {
                NOP => at += 4,
                PROPERTY => {
                    let size = self.word(at + 4)?;
                    if self.text(self.word(STRINGS)? + self.word(at + 8)?)? == name.as_bytes() {
                        return Ok(Some(Found { at, value: at + 12, size }));
                    }
                    at = aligned(at.saturating_add(12).saturating_add(size));
                }
                _ => break,
            }
        }
        Ok(None)
    }

    /// Inserts `size` zeroes at `at`, in the block whose size is at `size_field`.
    fn insert(&mut self, at: usize, size: usize, size_field: usize) -> Result<(), EditError> {
        let total = self.word(TOTAL_SIZE)?;
        if at > total {
            return Err(EditError::Broken);
        }
        if size > self.bytes.len() - total {
            return Err(EditError::NoRoom);
        }
        self.bytes.copy_within(at..total, at + size);
        self.bytes[at..at + size].fill(0);
        let own = if size_field == STRUCTURE_SIZE { STRUCTURE } else { STRINGS };
        for field in [STRUCTURE, STRINGS, RESERVATIONS] {
            let start = self.word(field)?;
            if field != own && start >= at {
                self.set_word(field, start + size)?;
            }
        }
        self.set_word(size_field, self.word(size_field)? + size)?;
        self.set_word(TOTAL_SIZE, total + size)
    }

    /// The offset of a name in the strings block, where it is added if it is not there.
    fn name(&mut self, name: &str) -> Result<usize, EditError> {
        let (start, size) = (self.word(STRINGS)?, self.word(STRINGS_SIZE)?);
        let mut at = start;
        while at < start + size {
            let found = self.text(at)?;
            if found == name.as_bytes() {
                return Ok(at - start);
            }
            at += found.len() + 1;
        }
        // What may follow the block keeps its alignment.
        self.insert(start + size, (name.len() + 1).next_multiple_of(8), STRINGS_SIZE)?;
        self.bytes[start + size..start + size + name.len()].copy_from_slice(name.as_bytes());
        Ok(size)
    }

    fn put(&mut self, at: usize, words: &[u32]) -> Result<usize, EditError> {
        for (index, word) in words.iter().enumerate() {
            self.set_word(at + index * 4, *word as usize)?;
        }
        Ok(at + words.len() * 4)
    }

    /// Adds a property at `at`, in the structure block.
    fn put_property(&mut self, at: usize, name: &str, value: &[&[u8]]) -> Result<usize, EditError> {
        let size: usize = value.iter().map(|part| part.len()).sum();
        let name = self.name(name)?;
        self.insert(at, 12 + aligned(size), STRUCTURE_SIZE)?;
        let mut to = self.put(at, &[PROPERTY, size as u32, name as u32])?;
        for part in value {
            self.bytes[to..to + part.len()].copy_from_slice(part);
            to += part.len();
        }
        Ok(aligned(to))
    }

    /// Adds an empty node at `at`; returns where its content goes.
    fn put_node(&mut self, at: usize, name: &str) -> Result<usize, EditError> {
        let length = aligned(name.len() + 1);
        self.insert(at, 8 + length, STRUCTURE_SIZE)?;
        let to = self.put(at, &[BEGIN_NODE])?;
        self.bytes[to..to + name.len()].copy_from_slice(name.as_bytes());
        self.put(to + length, &[END_NODE])?;
        Ok(to + length)
    }

    /// Makes sure that there is a node of that name below the root. Returns whether it was added.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn ensure_node(&mut self, name: &str) -> Result<bool, EditError> {
        if self.node(&[name])?.is_some() {
            return Ok(false);
        }
        let root = self.node(&[])?.ok_or(EditError::Broken)?;
        self.put_node(root.end, name)?;
        Ok(true)
    }

    /// Takes a node below the root away, if it is there, with all that is in it.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn remove_node(&mut self, name: &str) -> Result<(), EditError> {
        let Some(body) = self.node(&[name])? else { return Ok(()) };
        let begin = body.start.checked_sub(4 + aligned(name.len() + 1)).ok_or(EditError::Broken)?;
        for at in (begin..=body.end).step_by(4) {
            self.set_word(at, NOP as usize)?;
        }
        Ok(())
    }

    /// Sets a property of a node to the parts of `value`.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn set_property(&mut self, node: &[&str], name: &str, value: &[&[u8]]) -> Result<(), EditError> {
        self.remove_property(node, name)?;
        let body = self.node(node)?.ok_or(EditError::Broken)?;
        // The strings block may lie in front of the structure and move it.
        self.name(name)?;
        let start = self.node(node)?.map_or(body.start, |body| body.start);
        self.put_property(start, name, value)?;
        Ok(())
    }

    /// Takes a property away, if it is there.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn remove_property(&mut self, node: &[&str], name: &str) -> Result<(), EditError> {
        let body = self.node(node)?.ok_or(EditError::Broken)?;
        let Some(found) = self.property(body, name)? else { return Ok(()) };
        for at in (found.at..aligned(found.value + found.size)).step_by(4) {
            self.set_word(at, NOP as usize)?;
        }
        Ok(())
    }

    /// A property of one cell.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn cells(&self, node: &[&str], name: &str) -> Result<u32, EditError> {
        let body = self.node(node)?.ok_or(EditError::Broken)?;
        let found = self.property(body, name)?.filter(|found| found.size == 4).ok_or(EditError::Broken)?;
        Ok(self.word(found.value)? as u32)
    }

    /// Adds a child with these properties to a node.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn add_child(
        &mut self,
        node: &[&str],
        name: &str,
        properties: &[(&str, &[u8])],
    ) -> Result<(), EditError> {
        for (name, _) in properties {
            self.name(name)?;
        }
        let body = self.node(node)?.ok_or(EditError::Broken)?;
        let mut at = self.put_node(body.end, name)?;
        for (name, value) in properties {
            at = self.put_property(at, name, &[value])?;
        }
        Ok(())
    }
}
