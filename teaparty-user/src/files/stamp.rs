//! The stamp of a file, by which a change is noticed without reading it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The metadata that changes when a file is written, or when another file takes its name.
///
/// Size and modification time alone would miss a swap for a file with the same ones, which tools that preserve times make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    octets: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// The kernel's own time of the last change, which nobody can set.
    changed: (i64, i64),
}

impl FileStamp {
    /// Returns the stamp of the file that `path` leads to; `None` if there is none, or it cannot be looked at.
    ///
    /// Blocks as long as the file system does.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            octets: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::{Duration, Instant};

    use super::*;

    /// Writes a file with the modification time of another one.
    fn write_like(path: &Path, text: &str, other: &Path) {
        let modified = fs::metadata(other).unwrap().modified().unwrap();
        fs::write(path, text).unwrap();
        File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    }

    #[test]
    fn a_swap_for_a_file_of_the_same_size_and_time_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let [path, newer] = ["a", "b"].map(|name| folder.path().join(name));
        fs::write(&path, "port = 1862\n").unwrap();
        let before = FileStamp::of(&path).unwrap();
        assert_eq!(FileStamp::of(&path), Some(before));
        write_like(&newer, "port = 1863\n", &path);
        fs::rename(&newer, &path).unwrap();
        let after = FileStamp::of(&path).unwrap();
        assert_eq!((after.octets, after.modified), (before.octets, before.modified));
        assert_ne!(after.inode, before.inode);
        assert_ne!(after, before);
    }

    #[test]
    fn a_rewrite_in_place_with_the_same_size_and_time_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "port = 1862\n").unwrap();
        let before = FileStamp::of(&path).unwrap();
        // The kernel's clock for files moves a few hundred times a second.
        let until = Instant::now() + Duration::from_secs(5);
        while FileStamp::of(&path) == Some(before) && Instant::now() < until {
            write_like(&path, "port = 1863\n", &path);
        }
        let after = FileStamp::of(&path).unwrap();
        assert_eq!((after.inode, after.octets, after.modified), (before.inode, before.octets, before.modified));
        assert_ne!(after, before);
    }

    #[test]
    fn a_file_that_is_gone_has_no_stamp() {
        assert_eq!(FileStamp::of(Path::new("/nonexistent/file")), None);
    }
}
