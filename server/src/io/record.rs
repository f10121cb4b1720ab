//! Recordings: a file for each start, written by a thread of its own, so that the zone never waits for a disk.
//!
//! What a tick logged goes to the system in one write right after it: a server that is killed loses its last tick at most.
//! Where the queue to the thread is full, or a write fails, the recording ends with an error line, and the server goes on; when
//! it ends itself, its exit code says that the recording is not whole.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender, TrySendError};
use tracing::{error, info};

use super::error::RunError;
use super::run::spawn;

/// Ticks that may wait for the disk.
const QUEUED_TICKS: usize = 1024;
/// Bytes that may wait for the disk.
const QUEUED_BYTES: usize = 64 << 20;
/// How long the server waits at its end for them to be written.
const PATIENCE: Duration = Duration::from_secs(2);
/// Recordings of one zone that may begin in the same second.
const SAME_SECOND: u32 = 100;

/// The zone's end of a recording.
pub struct Recorder {
    queue: Sender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
    broken: Arc<AtomicBool>,
    path: PathBuf,
}

/// The other end: waits for a recording to be written.
pub struct Writing {
    done: Receiver<()>,
    broken: Arc<AtomicBool>,
    path: PathBuf,
}

/// Makes the file of a recording that begins now, and writes its header: zone, start (UTC) and seed are in its name. The
/// directory is made where it is not there; a file that does not even take the header is gone again.
pub fn create(dir: &Path, zone: u32, seed: u64, unix_ms: u64, header: &[u8]) -> Result<(File, PathBuf), RunError> {
    let (mut file, path) = create_file(dir, zone, seed, unix_ms)?;
    match file.write_all(header) {
        Ok(()) => Ok((file, path)),
        Err(error) => {
            remove(&path);
            Err(RunError::Write { path, error })
        }
    }
}

/// Takes a file away that holds no tick.
fn remove(path: &Path) {
    // Where that cannot be, it stays, and replays to nothing.
    let _ = std::fs::remove_file(path);
}

fn create_file(dir: &Path, zone: u32, seed: u64, unix_ms: u64) -> Result<(File, PathBuf), RunError> {
    let failed = |path: PathBuf| move |error| RunError::Write { path, error };
    if dir.exists() && !dir.is_dir() {
        return Err(RunError::NoDirectory { path: dir.into() });
    }
    std::fs::create_dir_all(dir).map_err(failed(dir.into()))?;
    let name = format!("zone{zone}-{}-seed{seed}", utc(unix_ms / 1000));
    for number in 1..=SAME_SECOND {
        let again = if number == 1 { String::new() } else { format!("-{number}") };
        let path = dir.join(format!("{name}{again}.zwil"));
        match File::create_new(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < SAME_SECOND => {}
            opened => return opened.map(|file| (file, path.clone())).map_err(failed(path)),
        }
    }
    unreachable!("the last one returns")
}

impl Recorder {
    /// Starts the thread that writes to `out`, which is the file `path`. A recording that ends without a whole tick is taken
    /// away.
    pub fn start(mut out: impl Write + Send + 'static, path: PathBuf) -> Result<(Self, Writing), RunError> {
        let (queue, ticks) = channel::bounded::<Vec<u8>>(QUEUED_TICKS);
        let (done, written) = channel::bounded(1);
        let waiting = Arc::new(AtomicUsize::new(0));
        let broken = Arc::new(AtomicBool::new(false));
        let (queued, failed, to) = (Arc::clone(&waiting), Arc::clone(&broken), path.clone());
        spawn("recorder", move || {
            // Its end hangs up, on the queue as well.
            let _done: Sender<()> = done;
            let mut written = 0u64;
            for tick in ticks {
                if let Err(error) = out.write_all(&tick).and_then(|()| out.flush()) {
                    error!(file = %to.display(), %error, ticks = written, "the recording ends: it cannot be written");
                    failed.store(true, Ordering::Release);
                    break;
                }
                written += 1;
                queued.fetch_sub(tick.len(), Ordering::AcqRel);
            }
            if written == 0 {
                remove(&to);
            }
        })?;
        info!(file = %path.display(), "recording");
        let writing = Writing { done: written, broken: Arc::clone(&broken), path: path.clone() };
        Ok((Self { queue, waiting, broken, path }, writing))
    }

    /// Takes what a tick logged, at once; false: the recording has ended.
    #[must_use]
    pub fn take(&self, tick: Vec<u8>) -> bool {
        let len = tick.len();
        let waiting = self.waiting.fetch_add(len, Ordering::AcqRel);
        let sent = if waiting > QUEUED_BYTES { Err(TrySendError::Full(tick)) } else { self.queue.try_send(tick) };
        if let Err(TrySendError::Full(_)) = sent {
            error!(file = %self.path.display(), "the recording ends: the disk is too slow");
            self.broken.store(true, Ordering::Release);
        }
        sent.is_ok()
    }
}

impl Writing {
    /// Waits for a while for the rest to be written; the [`Recorder`] is gone by then. An error: the recording is not whole.
    pub fn end(self) -> Result<(), RunError> {
        // It says nothing; its end hangs up.
        let written = self.done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Disconnected);
        if written && !self.broken.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err(RunError::NotWhole { path: self.path })
        }
    }
}

/// A time as `20260131T235959Z`.
fn utc(unix_s: u64) -> String {
    let (days, seconds) = (unix_s / 86_400, unix_s % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Year, month and day of a day since 1970, by eras of 400 years that begin in March (Hinnant, "chrono-compatible low-level
/// date algorithms", 2021).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (year + 400 * era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_utc_time_of_the_start() {
        assert_eq!(utc(0), "19700101T000000Z");
        assert_eq!(utc(951_827_696), "20000229T123456Z");
        assert_eq!(utc(4_107_542_399), "21000228T235959Z");
        assert_eq!(utc(4_107_542_400), "21000301T000000Z", "2100 is no leap year");
    }

    /// Takes nothing until it is told to, or never.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_takes_nothing_ends_the_recording_and_holds_up_nobody() {
        let (release, stuck) = channel::bounded(0);
        let (recorder, writing) = Recorder::start(Stuck(stuck), "stuck".into()).unwrap();
        let taken = (0..2 * QUEUED_TICKS).take_while(|_| recorder.take(vec![0; 10])).count();
        assert!((QUEUED_TICKS..=QUEUED_TICKS + 1).contains(&taken), "{taken}");
        drop((recorder, release));
        assert!(writing.end().is_err());
    }

    #[test]
    fn the_bytes_that_wait_are_bounded_as_well() {
        let (release, stuck) = channel::bounded(0);
        let (recorder, writing) = Recorder::start(Stuck(stuck), "stuck".into()).unwrap();
        let taken = (0..100).take_while(|_| recorder.take(vec![0; 8 << 20])).count();
        assert_eq!(taken, 9);
        drop((recorder, release));
        assert!(writing.end().is_err());
    }

    /// Takes so many bytes.
    struct Small(usize);

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_ends_the_recording() {
        let (recorder, writing) = Recorder::start(Small(25), "small".into()).unwrap();
        let taken = recorder.take(vec![0; 10]) && recorder.take(vec![0; 10]);
        assert!(taken);
        let _ = recorder.take(vec![0; 10]);
        assert_eq!(writing.end().unwrap_err().exit_code(), 1);
        assert!(!recorder.take(vec![0; 10]));
    }

    #[test]
    fn a_recording_without_a_whole_tick_leaves_no_file_behind_and_one_with_a_tick_does() {
        let dir = std::env::temp_dir().join(format!("zonewire-empty-{}", std::process::id()));
        for (room, ticks, stays) in [(5, 3, false), (15, 3, true), (15, 0, false)] {
            let (file, path) = create(&dir, 1, 1, 0, b"header").unwrap();
            drop(file);
            let (recorder, writing) = Recorder::start(Small(room), path.clone()).unwrap();
            for _ in 0..ticks {
                let _ = recorder.take(vec![0; 10]);
            }
            drop(recorder);
            assert_eq!(writing.end().is_ok(), ticks == 0);
            assert_eq!(path.exists(), stays, "room for {room} bytes, {ticks} ticks");
            let _ = std::fs::remove_file(path);
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn recordings_that_are_to_go_into_a_file_are_refused_in_words() {
        let file = std::env::temp_dir().join(format!("zonewire-no-directory-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        let error = create(&file, 1, 1, 0, b"header").unwrap_err();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("is no directory: record.dir (--record) takes one"), "{error}");
    }

    #[test]
    fn two_recordings_of_one_second_get_files_of_their_own() {
        let dir = std::env::temp_dir().join(format!("zonewire-record-{}", std::process::id()));
        let names: Vec<_> = (0..2).map(|_| create(&dir, 3, 77, 0, b"header").unwrap().1).collect();
        std::fs::remove_dir_all(&dir).unwrap();
        let names: Vec<_> = names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["zone3-19700101T000000Z-seed77.zwil", "zone3-19700101T000000Z-seed77-2.zwil"]);
    }
}
