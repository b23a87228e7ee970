//! Small files that others write: no more of them than they may have, and nothing that would keep a reader waiting.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// The bytes of a plain file, and what the kernel says of it. A pipe in its place would be waited for without end, and a device never ends.
pub fn plain_file(path: &Path, bytes_max: u64) -> io::Result<(Vec<u8>, Metadata)> {
    let file: File = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it holds more than {bytes_max} bytes")));
    }
    Ok((bytes, about))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_a_device_a_folder_and_a_long_file_are_not_read() {
        let folder = std::env::temp_dir().join(format!("wardgate-plain-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let (file, pipe) = (folder.join("file"), folder.join("pipe"));
        std::fs::write(&file, "four").unwrap();
        assert_eq!(plain_file(&file, 4).unwrap().0, b"four");
        assert_eq!(plain_file(&file, 3).unwrap_err().to_string(), "it holds more than 3 bytes");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for odd in [pipe.as_path(), Path::new("/dev/zero"), folder.as_path()] {
            assert_eq!(plain_file(odd, 4).unwrap_err().to_string(), "it is no plain file", "{}", odd.display());
        }
    }
}
