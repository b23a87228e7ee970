//! Which line a name in gateway.toml means: one line may have several names. What is there is followed, the rest is compared as written; names of
//! hosts other than `localhost` are not resolved: who answers to them may change.

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// Of a port as a grant or a bus names it, a terminal server's too: however it is spoken to.
pub fn of_port(port: &Path) -> PathBuf {
    match port.to_str().and_then(|text| text.split_once("://")) {
        Some((_, at)) => of_address(at),
        None => node(port).unwrap_or_else(|| port.canonicalize().unwrap_or_else(|_| without_dots(port))),
    }
}

/// Of a terminal its number at the kernel: two nodes may have one.
fn node(port: &Path) -> Option<PathBuf> {
    let about = port.metadata().ok().filter(|about| about.file_type().is_char_device())?;
    Some(format!("character device {}", about.rdev()).into())
}

/// Of host:port. A path is none, so it never means the same.
pub fn of_address(at: &str) -> PathBuf {
    if let Ok(address) = at.parse::<SocketAddr>() {
        return address.to_string().into();
    }
    let (host, port) = at.rsplit_once(':').unwrap_or((at, ""));
    let port = port.parse::<u16>().map_or_else(|_| port.to_owned(), |port| port.to_string());
    match host.trim_end_matches('.').to_ascii_lowercase().as_str() {
        "localhost" => of_address(&format!("127.0.0.1:{port}")),
        host => format!("{host}:{port}").into(),
    }
}

fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_one_by_all_its_names() {
        for same in ["/dev/ttyS9", "/dev/../dev/ttyS9", "/dev/./ttyS9", "/dev//ttyS9", "/../dev/ttyS9"] {
            assert_eq!(of_port(Path::new(same)), Path::new("/dev/ttyS9"), "{same}");
        }
        for same in ["tcp://Moxa.ward.:4001", "rfc2217://moxa.ward:04001"] {
            assert_eq!(of_port(Path::new(same)), of_address("moxa.ward:4001"), "{same}");
        }
        assert_eq!(of_address("[fe80:0::1]:502"), of_address("[fe80::1]:502"));
        assert_ne!(of_address("10.0.3.7:502"), of_address("10.0.3.7:503"));
        assert_eq!(of_address("localhost:502"), of_address("127.0.0.1:502"));
        assert_eq!(of_port(Path::new("/dev/null")), of_port(Path::new("/proc/self/root/dev/null")), "one number");
        assert_ne!(of_port(Path::new("/dev/null")), of_port(Path::new("/dev/zero")));
    }
}
