//! A device that says the same every second: for a plugin that is being written.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::super::{Stop, stopped};
use crate::pty::Pty;

const PERIOD_MS: u64 = 1_000;

pub struct Repeater {
    line: Pty,
    bytes: Vec<u8>,
}

impl Repeater {
    pub fn new(link: &Path, text: &str) -> Result<Self, String> {
        let bytes = bytes(text)?;
        Ok(Self { line: Pty::plug_in(link).map_err(|e| format!("{}: {e}", link.display()))?, bytes })
    }

    pub async fn run(self, mut stop: Stop) -> io::Result<()> {
        let mut tick = tokio::time::interval(Duration::from_millis(PERIOD_MS));
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    self.line.send(&self.bytes);
                    self.line.take(); // whatever it is told, it says the same
                }
                () = stopped(&mut stop) => break,
            }
        }
        self.line.read_out(Duration::from_millis(PERIOD_MS)).await;
        Ok(())
    }
}

/// Text with the escapes of Rust's byte strings.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let code = rest.chars().next().ok_or("a \\ stands alone at the end: write \\\\")?;
        rest = &rest[code.len_utf8()..];
        match code {
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            '\\' => out.push(b'\\'),
            'x' => {
                let byte = rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                out.push(byte.ok_or("\\x needs two hexadecimal digits: \\x41")?);
                rest = &rest[2..];
            }
            other => return Err(format!("\\{other} is not known; write \\n, \\r, \\t, \\\\ or \\x41")),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn escapes_become_bytes_or_are_refused() {
        assert_eq!(bytes(r"T=36.5\r\n\xff\\").unwrap(), b"T=36.5\r\n\xff\\");
        assert_eq!(bytes("µ").unwrap(), "µ".as_bytes());
        for wrong in [r"\", r"\q", r"\x4", r"\xgg"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
