//! The canonical tar: exactly one way to write files in their order, and a reader that refuses every other. Pure.

use super::flaw::Flaw;

const BLOCK: usize = 512;
/// Two empty blocks, and nothing behind them.
const END: usize = 2 * BLOCK;
const NAME_BYTES_MAX: usize = 100; // longer names need a second field, and ours have 77

/// A file in a tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub name: &'a str,
    pub bytes: &'a [u8],
}

/// Room that an entry takes, its header included.
fn room(bytes: usize) -> usize {
    BLOCK + bytes.next_multiple_of(BLOCK)
}

pub fn write(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.iter().map(|e| room(e.bytes.len())).sum::<usize>() + END);
    for entry in entries {
        out.extend_from_slice(&header(entry.name, entry.bytes.len()));
        out.extend_from_slice(entry.bytes);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    out.resize(out.len() + END, 0);
    out
}

/// What [`write`] would have written, byte for byte, or an error.
pub fn read(bytes: &[u8], entries_max: usize) -> Result<Vec<Entry<'_>>, Flaw> {
    let (mut entries, mut at) = (Vec::new(), 0);
    loop {
        let block = bytes.get(at..at + BLOCK).ok_or(Flaw::Truncated { bytes: bytes.len(), inside: None })?;
        if block.iter().all(|b| *b == 0) {
            return ended(bytes, at).map(|()| entries);
        }
        if entries.len() == entries_max {
            return Err(Flaw::TooMany { most: entries_max });
        }
        let entry = entry(bytes, at)?;
        at += room(entry.bytes.len());
        entries.push(entry);
    }
}

fn ended(bytes: &[u8], at: usize) -> Result<(), Flaw> {
    let rest = &bytes[at..];
    match rest.len() {
        n if n < END => Err(Flaw::Truncated { bytes: bytes.len(), inside: None }),
        END if rest.iter().all(|b| *b == 0) => Ok(()),
        n => Err(Flaw::Trailing { bytes: n.saturating_sub(END) }),
    }
}

/// The entry whose header stands at this byte.
fn entry(all: &[u8], at: usize) -> Result<Entry<'_>, Flaw> {
    let bytes = &all[at..];
    let block = &bytes[..BLOCK];
    let end = block[..NAME_BYTES_MAX].iter().position(|b| *b == 0).unwrap_or(NAME_BYTES_MAX);
    let name = std::str::from_utf8(&block[..end]).map_err(|_| Flaw::Header { name: String::from_utf8_lossy(&block[..end]).into(), at })?;
    // 0: a plain file; others are links, folders, devices and whatever extensions of tar there are
    if block[156] != b'0' {
        return Err(Flaw::NoFile { name: name.into(), at });
    }
    let odd = || Flaw::Header { name: name.into(), at };
    let size = std::str::from_utf8(&block[124..135]).ok().and_then(|digits| usize::from_str_radix(digits, 8).ok()).ok_or_else(odd)?;
    if header(name, size) != *block {
        return Err(odd());
    }
    let held = &bytes[BLOCK..];
    let cut = || Flaw::Truncated { bytes: all.len(), inside: Some(name.into()) };
    let (file, rest) = held.split_at_checked(size).ok_or_else(cut)?;
    let padding = rest.get(..size.next_multiple_of(BLOCK) - size).ok_or_else(cut)?;
    if let Some(first) = padding.iter().position(|b| *b != 0) {
        return Err(Flaw::Padding { name: name.into(), at: at + BLOCK + size + first });
    }
    Ok(Entry { name, bytes: file })
}

/// POSIX ustar: a plain file that everybody may read, of nobody, from 1970.
fn header(name: &str, size: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, &name.as_bytes()[..name.len().min(NAME_BYTES_MAX)]);
    put(100, b"0000644\0"); // mode
    put(108, b"0000000\0"); // user
    put(116, b"0000000\0"); // group
    put(124, format!("{size:011o}\0").as_bytes().first_chunk::<12>().expect("as many at least"));
    put(136, b"00000000000\0"); // time
    put(148, b"        "); // the checksum counts itself as spaces
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(329, b"0000000\0"); // device numbers
    put(337, b"0000000\0");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [Entry; 3] =
        [Entry { name: "a", bytes: b"first" }, Entry { name: "b/c", bytes: &[7; 512] }, Entry { name: "empty", bytes: b"" }];

    #[test]
    fn what_was_written_is_read_and_nothing_else_is() {
        let tar = write(&FILES);
        assert_eq!(read(&tar, 3).unwrap(), FILES);
        assert_eq!(read(&tar, 2), Err(Flaw::TooMany { most: 2 }));
        for n in 0..tar.len() {
            assert!(matches!(read(&tar[..n], 3), Err(Flaw::Truncated { .. })), "cut at {n}");
        }
        for more in [1, 511, 512, 9216] {
            let padded = [&tar[..], &vec![0; more]].concat();
            assert_eq!(read(&padded, 3), Err(Flaw::Trailing { bytes: more }));
        }
        let mut tar = tar;
        for bit in 0..8 * tar.len() {
            tar[bit / 8] ^= 1 << (bit % 8);
            let held = read(&tar, 3);
            // what a file holds is covered by its digest, one floor up
            let covered =
                held.as_ref().is_ok_and(|e| e.iter().map(|e| (e.name, e.bytes.len())).eq(FILES.iter().map(|e| (e.name, e.bytes.len()))));
            assert!(
                held.is_err() || covered && (517 - 5..517).contains(&(bit / 8)) || (1536..2048).contains(&(bit / 8)),
                "bit {bit}: {held:?}"
            );
            tar[bit / 8] ^= 1 << (bit % 8);
        }
    }

    //= PROMISES.md#P282
    #[test]
    fn where_a_package_is_cut_or_changed_is_told_by_the_byte_of_the_file_and_the_member() {
        let tar = write(&FILES);
        let says = |bytes: &[u8]| read(bytes, 3).unwrap_err().to_string();
        let changed = |at: usize, to: u8| {
            let mut bytes = tar.clone();
            bytes[at] = to;
            says(&bytes)
        };
        assert_eq!(says(&tar[..1600]), "is cut off after 1600 bytes, inside its member \"b/c\"");
        assert_eq!(says(&tar[..1100]), "is cut off after 1100 bytes");
        assert!(changed(1024 + 101, b'7').starts_with("at byte 1024 of the package: the tar header of its member \"b/c\" is not"));
        assert_eq!(
            changed(512 + 5 + 2, 1),
            "at byte 519 of the package: there are bytes between the end of its member \"a\" and the next one"
        );
        assert!(changed(1024 + 156, b'5').starts_with("at byte 1024 of the package: its member \"b/c\" is a link"));
    }

    #[test]
    fn gnu_tar_lists_it_without_a_word_of_complaint() {
        let folder = super::super::super::cache::test_folder("tar");
        std::fs::write(folder.join("x.tar"), write(&FILES)).unwrap();
        let done = std::process::Command::new("tar").args(["--utc", "-tvf", "x.tar"]).current_dir(&folder).output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let line = said.lines().nth(1).unwrap();
        assert!(line.starts_with("-rw-r--r-- 0/0") && line.ends_with("512 1970-01-01 00:00 b/c"), "{said}");
        let done = std::process::Command::new("tar").args(["-xf", "x.tar"]).current_dir(&folder).status().unwrap();
        assert!(done.success());
        assert_eq!(std::fs::read(folder.join("b/c")).unwrap(), [7; 512]);
    }
}
