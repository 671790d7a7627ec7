//! A data folder looked at without a running server: [`verify`](Offline::verify) and [`dump`](crate::dump).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data_dir::{DataDirError, Identity, read_identity};
use crate::fs::{Fs, FsLock};
use crate::layout;
use crate::store::{FoundCopy, list};

/// How to look at a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// With the folder's lock: refused while a server runs.
    Exclusive,
    /// Without the lock, so also beside a running server, and nothing is changed. What is being written at the moment may
    /// look torn.
    ReadOnly,
}

/// A folder that is looked at.
#[derive(Debug)]
pub struct Offline {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) root: PathBuf,
    pub(crate) access: Access,
    _lock: Option<Box<dyn FsLock>>,
}

impl Offline {
    /// Opens a data folder. It must be one: `buslane.json`, the journal or `log` is there.
    pub fn open(fs: &Arc<dyn Fs>, root: &Path, access: Access) -> Result<Offline, DataDirError> {
        let io_error = |source| DataDirError::Io { path: root.display().to_string(), source };
        let entries = fs.read_dir(root).map_err(io_error)?;
        let ours = [layout::IDENTITY, layout::JOURNAL, layout::LOG];
        if !entries.iter().any(|e| ours.contains(&e.name.as_str())) {
            let source =
                io::Error::new(io::ErrorKind::NotFound, "this is not a data folder: it has no buslane.json");
            return Err(io_error(source));
        }
        let lock = match access {
            Access::ReadOnly => None,
            Access::Exclusive => {
                let path = root.join(layout::LOCK);
                let lock = fs
                    .try_lock(&path)
                    .map_err(|source| DataDirError::Io { path: path.display().to_string(), source })?;
                let in_use = || DataDirError::InUse {
                    dir: root.display().to_string(),
                    lock: path.display().to_string(),
                };
                Some(lock.ok_or_else(in_use)?)
            }
        };
        Ok(Offline { fs: fs.clone(), root: root.to_owned(), access, _lock: lock })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whose folder it is; `None` when that file is missing.
    pub fn identity(&self) -> Result<Option<Identity>, DataDirError> {
        read_identity(&*self.fs, &self.root.join(layout::IDENTITY))
    }

    /// The copies in it, by their names.
    pub fn copies(&self) -> io::Result<Vec<FoundCopy>> {
        match list(&*self.fs, &self.root) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            result => result,
        }
    }
}

/// The data folder that a segment's file lies in: `<root>/log/<topic>/<partition>/<file>`.
pub fn root_of(file: &Path) -> Option<PathBuf> {
    let log = file.parent()?.parent()?.parent()?;
    if log.file_name()? != layout::LOG {
        return None;
    }
    let root = log.parent()?;
    Some(if root.as_os_str().is_empty() { PathBuf::from(".") } else { root.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::fixtures::*;
    use crate::{DataDir, Wanted};
    use buslane_wire::ids::NodeId;

    #[test]
    fn a_folder_in_use_is_refused_unless_it_is_only_read() {
        let dir = tempfile::tempdir().unwrap();
        let fs: Arc<dyn Fs> = Arc::new(Disk);
        let error = Offline::open(&fs, dir.path(), Access::ReadOnly).unwrap_err().to_string();
        assert!(error.contains("not a data folder"), "{error}");
        let make = || Identity { cluster_id: "c".into(), node_id: NodeId(1) };
        let held = DataDir::open(&fs, dir.path(), &Wanted::default(), make).unwrap();
        let error = Offline::open(&fs, dir.path(), Access::Exclusive).unwrap_err().to_string();
        assert!(error.contains("in use by another process"), "{error}");
        let beside = Offline::open(&fs, dir.path(), Access::ReadOnly).unwrap();
        assert_eq!(beside.identity().unwrap().unwrap().cluster_id, "c");
        assert!(beside.copies().unwrap().is_empty());
        drop(held);
        let alone = Offline::open(&fs, dir.path(), Access::Exclusive).unwrap();
        assert!(
            DataDir::open(&fs, dir.path(), &Wanted::default(), make).is_err(),
            "and a server is refused meanwhile"
        );
        drop(alone);
    }

    #[test]
    fn a_segment_file_knows_its_data_folder() {
        let path = crate::layout::part(Path::new("data"), &segment(3, 7), 0, crate::layout::Part::Log);
        assert_eq!(root_of(&path), Some(PathBuf::from("data")));
        let beside = path.strip_prefix("data").unwrap();
        assert_eq!(root_of(beside), Some(PathBuf::from(".")));
        assert_eq!(root_of(Path::new("somewhere/else.log")), None);
    }
}
