//! Writes device trees: what dtc would do, for tests.

#[derive(Default)]
pub(crate) struct Writer {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Writer {
    /// The tree that `content` makes of the root.
    pub(crate) fn tree(content: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut writer = Self::default();
        writer.node("", content);
        writer.word(9);
        let (structure, strings) = (56 + 16, 56 + 16 + writer.structure.len());
        let total = strings + writer.strings.len();
        let mut tree = Vec::new();
        let sizes = [writer.strings.len(), writer.structure.len()];
        for word in [0xD00D_FEED, total, structure, strings, 40, 17, 16, 0, sizes[0], sizes[1]] {
            tree.extend((word as u32).to_be_bytes());
        }
        // One reservation, and the empty one that ends the list.
        for word in [0_u64, 0x1000, 0, 0] {
            tree.extend(word.to_be_bytes());
        }
        tree.extend(writer.structure);
        tree.extend(writer.strings);
        tree
    }

    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.structure.extend(bytes);
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }

    pub(crate) fn node(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.word(1);
        self.bytes(format!("{name}\0").as_bytes());
        content(self);
        self.word(2);
    }

    pub(crate) fn value(&mut self, name: &str, value: &[u8]) {
        self.word(3);
        self.word(value.len() as u32);
        self.word(self.strings.len() as u32);
        self.strings.extend(format!("{name}\0").as_bytes());
        self.bytes(value);
    }

    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.value(name, format!("{text}\0").as_bytes());
    }

    pub(crate) fn cells(&mut self, name: &str, cells: &[u32]) {
        let value: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.value(name, &value);
    }

    /// What the addresses below a node look like.
    pub(crate) fn sizes(&mut self, address: u32, size: u32) {
        self.cells("#address-cells", &[address]);
        self.cells("#size-cells", &[size]);
    }
}
