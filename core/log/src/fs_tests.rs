//! The one conformance suite that every implementation of the file-system seam runs.

use std::io::{ErrorKind, IoSlice};
use std::path::Path;

use crate::fs::{DirEntry, Fs, FsFile, OpenMode, read_exact_at};

fn write(file: &dyn FsFile, bytes: &[u8], position: u64) {
    file.write_all_at(&mut [IoSlice::new(bytes)], position).expect("write");
}

fn content(file: &dyn FsFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().expect("len") as usize];
    read_exact_at(file, &mut bytes, 0).expect("read");
    bytes
}

fn kind<T>(result: std::io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|e| e.kind())
}

/// Checks what the store relies on, apart from what only a power cut can show. `dir` is an existing, empty folder.
///
/// # Panics
/// When the implementation breaks the contract.
pub fn conformance(fs: &dyn Fs, dir: &Path) {
    opening(fs, dir);
    reading_and_writing(fs, dir);
    folders(fs, dir);
    renaming_and_removing(fs, dir);
    syncing(fs, dir);
    locking(fs, dir);
}

fn opening(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("opening");
    assert_eq!(kind(fs.open(&path, OpenMode::Read)), Some(ErrorKind::NotFound));
    assert_eq!(kind(fs.open(&path, OpenMode::ReadWrite)), Some(ErrorKind::NotFound));
    assert_eq!(kind(fs.open(&dir.join("no/such"), OpenMode::CreateNew)), Some(ErrorKind::NotFound));
    let file = fs.open(&path, OpenMode::CreateNew).expect("create");
    assert_eq!(file.len().expect("len"), 0);
    assert!(file.is_empty().expect("is_empty"));
    write(&*file, b"kept", 0);
    assert_eq!(kind(fs.open(&path, OpenMode::CreateNew)), Some(ErrorKind::AlreadyExists));
    let again = fs.open(&path, OpenMode::OpenOrCreate).expect("open");
    assert_eq!(content(&*again), b"kept", "opening must not truncate");
    let reader = fs.open(&path, OpenMode::Read).expect("open to read");
    assert!(
        reader.write_all_at(&mut [IoSlice::new(b"x")], 0).is_err(),
        "a file opened to read must not be written"
    );
    write(&*again, b"seen by all handles", 0);
    assert_eq!(content(&*reader), b"seen by all handles");
    assert!(fs.open(dir, OpenMode::Read).is_err(), "a folder is not a file");
    fs.open(&dir.join("opening-or-creating"), OpenMode::OpenOrCreate).expect("create");
}

fn reading_and_writing(fs: &dyn Fs, dir: &Path) {
    let file = fs.open(&dir.join("bytes"), OpenMode::CreateNew).expect("create");
    file.write_all_at(&mut [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")], 0).expect("write");
    file.write_all_at(&mut [], 0).expect("nothing to write");
    file.write_all_at(&mut [IoSlice::new(b"")], 100).expect("nothing to write");
    assert_eq!(content(&*file), b"abcde");
    write(&*file, b"Z", 7);
    assert_eq!(content(&*file), b"abcde\0\0Z", "a hole reads as zeros");
    let mut buf = [9; 4];
    assert_eq!(file.read_at(&mut buf, 8).expect("read at the end"), 0);
    assert_eq!(file.read_at(&mut buf, 1000).expect("read past the end"), 0);
    assert_eq!(kind(read_exact_at(&*file, &mut buf, 6)), Some(ErrorKind::UnexpectedEof));
    file.set_len(3).expect("cut");
    assert_eq!(content(&*file), b"abc");
    file.set_len(5).expect("extend");
    assert_eq!(content(&*file), b"abc\0\0", "what was cut does not come back");
    let large: Vec<u8> = (0..200_000u32).map(|i| (i * 7) as u8).collect();
    write(&*file, &large, 4093);
    let mut back = vec![0; large.len()];
    read_exact_at(&*file, &mut back, 4093).expect("read");
    assert_eq!(back, large);
}

fn folders(fs: &dyn Fs, dir: &Path) {
    let deep = dir.join("folders/a/b");
    fs.create_dir_all(&deep).expect("create");
    fs.create_dir_all(&deep).expect("there already");
    fs.open(&dir.join("folders/z"), OpenMode::CreateNew).expect("create");
    fs.open(&dir.join("folders/B"), OpenMode::CreateNew).expect("create");
    let entry = |name: &str, is_dir| DirEntry { name: name.into(), is_dir };
    assert_eq!(
        fs.read_dir(&dir.join("folders")).expect("read"),
        [entry("B", false), entry("a", true), entry("z", false)],
        "entries are sorted by name"
    );
    assert_eq!(kind(fs.read_dir(&dir.join("nowhere"))), Some(ErrorKind::NotFound));
    assert!(fs.remove_dir(&dir.join("folders/a")).is_err(), "only an empty folder can be removed");
    fs.remove_dir(&deep).expect("remove");
    assert_eq!(fs.read_dir(&dir.join("folders/a")).expect("read"), []);
}

fn renaming_and_removing(fs: &dyn Fs, dir: &Path) {
    let (from, to) = (dir.join("from"), dir.join("to"));
    let old = fs.open(&to, OpenMode::CreateNew).expect("create");
    write(&*old, b"old", 0);
    let new = fs.open(&from, OpenMode::CreateNew).expect("create");
    write(&*new, b"new!", 0);
    fs.rename(&from, &to).expect("rename");
    assert_eq!(kind(fs.open(&from, OpenMode::Read)), Some(ErrorKind::NotFound));
    assert_eq!(content(&*fs.open(&to, OpenMode::Read).expect("open")), b"new!");
    assert_eq!(content(&*old), b"old", "a replaced file stays readable through its handle");
    write(&*new, b"NEW", 0);
    assert_eq!(content(&*fs.open(&to, OpenMode::Read).expect("open")), b"NEW!", "a handle follows its file");
    assert_eq!(kind(fs.rename(&from, &to)), Some(ErrorKind::NotFound));
    fs.remove_file(&to).expect("remove");
    assert_eq!(kind(fs.remove_file(&to)), Some(ErrorKind::NotFound));
    assert_eq!(content(&*new), b"NEW!", "a removed file stays readable through its handle");
    assert_eq!(kind(fs.open(&to, OpenMode::Read)), Some(ErrorKind::NotFound));
    fs.open(&to, OpenMode::CreateNew).expect("the name is free again");
}

fn syncing(fs: &dyn Fs, dir: &Path) {
    let file = fs.open(&dir.join("synced"), OpenMode::CreateNew).expect("create");
    write(&*file, b"durable", 0);
    file.sync_data().expect("sync the file");
    fs.sync_dir(dir).expect("sync the folder");
    fs.sync_everything(dir).expect("sync everything");
    assert_eq!(kind(fs.sync_dir(&dir.join("nowhere"))), Some(ErrorKind::NotFound));
    let space = fs.space(dir).expect("space");
    assert!(space.available_bytes <= space.total_bytes, "{space:?}");
    assert!(space.total_bytes > 0);
}

fn locking(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("lock");
    let held = fs.try_lock(&path).expect("lock").expect("free");
    assert!(fs.try_lock(&path).expect("lock").is_none(), "a lock has one holder");
    drop(held);
    assert!(fs.try_lock(&path).expect("lock").is_some(), "a dropped lock is free");
}
