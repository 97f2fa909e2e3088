//! The file in use, and the ones before it.
//!
//! Invariant: a line that could not be written whole is taken back. A file that somebody moved away is not written to
//! any more: that is how `logrotate` takes it over without a signal.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{files, settings::audit::AuditSettings};

const NAME: &str = "audit.jsonl";
const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";

/// `audit.jsonl` in its folder.
#[derive(Debug)]
pub(super) struct AuditFile {
    folder: PathBuf,
    path: PathBuf,
    max_bytes: u64,
    keep: usize,
    file: File,
    length_bytes: u64,
    /// The day (UTC) of its last line, since 1970.
    day: u64,
}

impl AuditFile {
    /// Goes on with the file that is there, or makes one.
    pub(super) fn open(settings: &AuditSettings, now: SystemTime) -> io::Result<Self> {
        files::create_private_directory(&settings.folder)?;
        let path = settings.folder.join(NAME);
        let (file, length_bytes, day) = open(&path, now)?;
        Ok(Self {
            folder: settings.folder.clone(),
            path,
            max_bytes: settings.max_bytes,
            keep: settings.keep,
            file,
            length_bytes,
            day,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a line, in a new file if it is a new day or the old one is full.
    pub(super) fn write(&mut self, line: &str, now: SystemTime) -> io::Result<()> {
        if !self.is_in_place() {
            self.reopen(now)?;
        }
        let is_full = self.length_bytes.saturating_add(line.len() as u64) > self.max_bytes;
        if self.length_bytes > 0 && (is_full || day(now) != self.day) {
            self.rotate(now)?;
        }
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            self.file.set_len(self.length_bytes)?;
            return Err(error);
        }
        self.length_bytes += line.len() as u64;
        self.day = day(now);
        Ok(())
    }

    fn reopen(&mut self, now: SystemTime) -> io::Result<()> {
        files::create_private_directory(&self.folder)?;
        (self.file, self.length_bytes, self.day) = open(&self.path, now)?;
        Ok(())
    }

    fn rotate(&mut self, now: SystemTime) -> io::Result<()> {
        let stamp = humantime::format_rfc3339_micros(now).to_string();
        let stamp = stamp.replace(':', "");
        let mut place = self.folder.join(format!("{PREFIX}{stamp}{SUFFIX}"));
        for number in 1.. {
            if !place.try_exists()? {
                break;
            }
            place = self
                .folder
                .join(format!("{PREFIX}{stamp}-{number}{SUFFIX}"));
        }
        fs::rename(&self.path, place)?;
        self.reopen(now)?;
        self.remove_oldest()
    }

    /// The names sort by time.
    fn remove_oldest(&self) -> io::Result<()> {
        let mut old = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX)) {
                old.push(path);
            }
        }
        old.sort();
        let surplus = old.len().saturating_sub(self.keep);
        old.drain(..surplus).try_for_each(fs::remove_file)
    }

    #[cfg(unix)]
    fn is_in_place(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let ours = self.file.metadata().map(id);
        let there = fs::metadata(&self.path).map(id);
        matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
    }

    /// Elsewhere a file that is open is not moved away.
    #[cfg(not(unix))]
    fn is_in_place(&self) -> bool {
        true
    }
}

/// Opens it for its owner alone; the permissions of one that is there are their owner's choice. What a crash may have
/// left of a line is ended.
fn open(path: &Path, now: SystemTime) -> io::Result<(File, u64, u64)> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let metadata = file.metadata()?;
    let mut length_bytes = metadata.len();
    if length_bytes > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            length_bytes += 1;
        }
    }
    let day = day(metadata.modified().unwrap_or(now));
    Ok((file, length_bytes, day))
}

fn day(time: SystemTime) -> u64 {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() / DAY.as_secs()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn settings(folder: &TempDir) -> AuditSettings {
        AuditSettings {
            folder: folder.path().join("a/b"),
            max_bytes: 20,
            keep: 3,
        }
    }

    fn names(settings: &AuditSettings) -> Vec<String> {
        let entries = fs::read_dir(&settings.folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn it_is_rotated_by_size_and_the_oldest_go() {
        let folder = TempDir::new().unwrap();
        let settings = settings(&folder);
        let mut now = SystemTime::now();
        let mut file = AuditFile::open(&settings, now).unwrap();
        for number in 0..14 {
            file.write(&format!("line {number:03}\n"), now).unwrap(); // two in a file
            now += Duration::from_micros(1);
        }
        let names = names(&settings);
        assert_eq!(names.len(), 4, "{names:?}");
        let whole: String = names
            .iter()
            .map(|name| fs::read_to_string(settings.folder.join(name)).unwrap())
            .collect();
        let expected: String = (6..14)
            .map(|number| format!("line {number:03}\n"))
            .collect();
        assert_eq!(
            whole, expected,
            "the four newest, in the order of their names"
        );
    }

    #[test]
    fn two_rotations_in_one_instant_lose_nothing() {
        let folder = TempDir::new().unwrap();
        let settings = settings(&folder);
        let now = SystemTime::now();
        let mut file = AuditFile::open(&settings, now).unwrap();
        for _ in 0..4 {
            file.write("nineteen characters\n", now).unwrap();
        }
        assert_eq!(names(&settings).len(), 4);
    }

    #[test]
    fn a_new_day_is_a_new_file() {
        let folder = TempDir::new().unwrap();
        let settings = settings(&folder);
        let now = SystemTime::now();
        let mut file = AuditFile::open(&settings, now).unwrap();
        file.write("a\n", now).unwrap();
        file.write("b\n", now + Duration::from_secs(24 * 60 * 60))
            .unwrap();
        assert_eq!(names(&settings).len(), 2);
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "b\n");
    }

    #[test]
    fn a_restart_goes_on_behind_what_a_crash_left() {
        let folder = TempDir::new().unwrap();
        let settings = settings(&folder);
        let now = SystemTime::now();
        let mut file = AuditFile::open(&settings, now).unwrap();
        file.write("{\"torn", now).unwrap();
        drop(file);
        let mut file = AuditFile::open(&settings, now).unwrap();
        file.write("{}\n", now).unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "{\"torn\n{}\n");
    }

    #[cfg(unix)]
    #[test]
    fn it_is_its_owners_alone_and_a_file_moved_away_is_let_go() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = TempDir::new().unwrap();
        let settings = settings(&folder);
        let now = SystemTime::now();
        let mut file = AuditFile::open(&settings, now).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(file.path()), 0o600);
        assert_eq!(mode(&settings.folder), 0o700);
        file.write("a\n", now).unwrap();
        let moved = folder.path().join("moved");
        fs::rename(file.path(), &moved).unwrap();
        file.write("b\n", now).unwrap();
        assert_eq!(fs::read_to_string(moved).unwrap(), "a\n");
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "b\n");
        assert_eq!(mode(file.path()), 0o600);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_is_full_is_an_error_each_time() {
        let folder = TempDir::new().unwrap();
        let settings = settings(&folder);
        fs::create_dir_all(&settings.folder).unwrap();
        std::os::unix::fs::symlink("/dev/full", settings.folder.join(NAME)).unwrap();
        let now = SystemTime::now();
        let mut file = AuditFile::open(&settings, now).unwrap();
        for _ in 0..3 {
            assert!(file.write("a\n", now).is_err());
        }
    }
}
