//! A program that is built with this package has a wall clock that can be moved. Its monotonic clocks stay right.
//!
//! The linker takes the `clock_gettime` of this package instead of the C library's. So whatever calls it sees the moved clock:
//! Rust's `SystemTime` and each crate that uses it. It works for static programs too, which no `LD_PRELOAD` reaches. It is for
//! Linux; elsewhere the clock stays right.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

/// How often the file is read.
const LOOK: Duration = Duration::from_millis(200);

/// How far the wall clock is from the real time, in seconds.
static OFFSET: AtomicI64 = AtomicI64::new(0);

/// From now on, the wall clock is as far from the real time as this file says, in seconds. A file that is missing or has no
/// number leaves the clock as it is.
///
/// # Errors
/// When no thread can be started.
pub fn follow(file: PathBuf) -> std::io::Result<()> {
    read(&file);
    thread::Builder::new().name("clock".to_owned()).spawn(move || {
        loop {
            thread::sleep(LOOK);
            read(&file);
        }
    })?;
    Ok(())
}

fn read(file: &Path) {
    if let Some(seconds) = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()) {
        OFFSET.store(seconds, Ordering::Relaxed);
    }
}

/// The C library's, with the wall clock moved.
///
/// # Safety
/// As for the C library's: `time` points to a `timespec` that may be written.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    // SAFETY: the kernel checks both, and the caller has promised that `time` may be written.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    if result == 0 && matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE) {
        // SAFETY: the kernel has just written it.
        unsafe { (*time).tv_sec += OFFSET.load(Ordering::Relaxed) };
    }
    if result == 0 { 0 } else { -1 }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::time::{Instant, SystemTime};

    use super::*;

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test")]
    fn the_wall_clock_moves_and_the_monotonic_one_does_not() {
        let file = std::env::temp_dir().join(format!("movable-clock-{}", std::process::id()));
        let (wall, monotonic) = (SystemTime::now(), Instant::now());
        fs::write(&file, "3600").unwrap();
        follow(file.clone()).unwrap();
        let moved = SystemTime::now().duration_since(wall).unwrap();
        let passed = monotonic.elapsed();
        fs::remove_file(file).unwrap();
        assert!(moved >= Duration::from_secs(3600), "{moved:?}");
        assert!(passed < Duration::from_secs(3600), "{passed:?}");
        assert!(moved - passed < Duration::from_secs(3700), "{moved:?} and {passed:?}");
    }
}
