//! Gives back the memory of code that runs seldom: what read the configuration, made the engine and shook hands stays mapped long after nothing
//! runs it, and so does what looks once a minute whether anything changed. What is still needed comes back from the page cache by itself, a few
//! hundred microseconds each time.

use std::path::Path;

use rustix::mm::{Advice, madvise};
use tokio::time::{Duration, sleep};

/// By then instances have opened and the first connection was made.
const SETTLED_AFTER_S: u64 = 10;

pub(super) async fn settle() {
    sleep(Duration::from_secs(SETTLED_AFTER_S)).await;
    give_back();
}

pub(super) fn give_back() {
    let (Ok(program), Ok(maps)) = (std::env::current_exe(), std::fs::read_to_string("/proc/self/maps")) else { return };
    for (from, to) in code(&maps, &program) {
        // SAFETY: these pages are mapped from the program's file, not writable, and hold no relocations: each is read again from there.
        #[allow(unsafe_code)]
        let _ = unsafe { madvise(from as *mut _, to - from, Advice::LinuxDontNeed) }; // refused: then they stay
    }
}

/// Where this program's own code lies: what is mapped from its file and may be run, and not written.
fn code(maps: &str, program: &Path) -> Vec<(usize, usize)> {
    let range = |line: &str| {
        let (place, rest) = line.split_once(' ')?;
        let ours = rest.starts_with("r-xp ") && Path::new(rest.get(rest.find('/')?..)?) == program;
        let (from, to) = place.split_once('-')?;
        ours.then_some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?))
    };
    maps.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_own_code_is_given_back() {
        let maps = "\
            5561-5562 r--p 00000000 fe:00 12 /usr/bin/wardgate\n\
            5562-5571 r-xp 00001000 fe:00 12 /usr/bin/wardgate\n\
            5571-5575 rwxp 00010000 fe:00 12 /usr/bin/wardgate\n\
            7f01-7f02 r-xp 00000000 00:00 0 \n\
            7f03-7f04 r-xp 00001000 fe:00 13 /usr/lib/libc.so.6\n\
            7f05-7f06 r-xp 00000000 00:00 0 [vdso]\n";
        assert_eq!(code(maps, Path::new("/usr/bin/wardgate")), [(0x5562, 0x5571)]);
    }

    #[test]
    fn the_program_goes_on_after_it() {
        give_back();
        assert!(!code(&std::fs::read_to_string("/proc/self/maps").unwrap(), &std::env::current_exe().unwrap()).is_empty());
    }
}
