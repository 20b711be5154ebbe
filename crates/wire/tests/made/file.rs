//! A pcapng file of two interfaces, packet by packet.

/// A file that is being made, and where each of its packets ends.
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<usize>,
    /// Where what precedes the first ends.
    pub(crate) head_bytes: usize,
}

impl File {
    pub(crate) fn new() -> Self {
        let mut file = Self { bytes: Vec::new(), ends: Vec::new(), head_bytes: 0 };
        let magic = 0x1a2b_3c4d_u32.to_le_bytes();
        file.block(0x0a0d_0d0a, &[&magic, &[1, 0, 0, 0], &[0xff; 8][..]]);
        for _ in 0..2 {
            // Ethernet, stamps in nanoseconds.
            file.block(1, &[&[1, 0, 0, 0, 0, 0, 0, 0], &[9, 0, 1, 0, 9, 0, 0, 0], &[0; 4]]);
        }
        file.head_bytes = file.bytes.len();
        file
    }

    pub(crate) fn packet(&mut self, interface: u32, at_ns: u64, frame: &[u8]) {
        let [low, high] = [at_ns as u32, (at_ns >> 32) as u32];
        let length = frame.len() as u32;
        let fields = [interface, high, low, length, length].map(u32::to_le_bytes).concat();
        let padding = vec![0; frame.len().next_multiple_of(4) - frame.len()];
        self.block(6, &[&fields, frame, &padding]);
        self.ends.push(self.bytes.len());
    }

    fn block(&mut self, kind: u32, parts: &[&[u8]]) {
        let body = parts.concat();
        let length = (12 + body.len() as u32).to_le_bytes();
        self.bytes.extend([&kind.to_le_bytes()[..], &length, &body, &length].concat());
    }
}
