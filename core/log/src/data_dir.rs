//! The data folder: whose it is, and that one process uses it.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buslane_wire::ids::NodeId;
use serde::{Deserialize, Serialize};

use crate::fs::{Fs, FsLock, OpenMode, read_exact_at};
use crate::layout;
use crate::sync_site::{SyncSite, Syncs};

/// Version of the folder's layout.
const FORMAT: u64 = 1;

/// Greatest size of `buslane.json` that is read.
const MAX_IDENTITY_BYTES: u64 = 64 * 1024;

/// Whose folder it is. Stable for ever: clients check both (KIP-1242).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: String,
    /// The node in it.
    pub node_id: NodeId,
}

/// What the caller insists on. `None`: whatever the folder says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// The cluster.
    pub cluster_id: Option<String>,
    /// The node in it.
    pub node_id: Option<NodeId>,
}

/// `buslane.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityFile {
    format: u64,
    cluster_id: String,
    node_id: i32,
}

/// Why a data folder cannot be used. Each sentence names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error(
        "{dir} is in use by another process (it holds {lock}); stop it, or give this one another data folder"
    )]
    InUse {
        /// The folder.
        dir: String,
        /// The lock file.
        lock: String,
    },
    /// Made by a newer program.
    #[error(
        "{file}: format {found} is newer than this program's {FORMAT}; use the newer program, or an older copy of the \
         folder"
    )]
    Newer {
        /// The identity file.
        file: String,
        /// Its format.
        found: u64,
    },
    /// It belongs to somebody else.
    #[error(
        "{file}: the folder belongs to {what} {found}, not {wanted}; correct the configuration, or give this node a \
         folder of its own"
    )]
    Foreign {
        /// The identity file.
        file: String,
        /// "cluster" or "node".
        what: &'static str,
        /// What the folder says.
        found: String,
        /// What the caller insists on.
        wanted: String,
    },
    /// Not readable as what it should be.
    #[error(
        "{file}: {reason}; it should read {{\"format\":1,\"cluster_id\":\"…\",\"node_id\":…}}: bring it back from a copy of the folder"
    )]
    Corrupt {
        /// The identity file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is data without an identity.
    #[error(
        "{file} is missing, but {found} is there: bring it back from a copy of the folder, or give this node an empty folder"
    )]
    Missing {
        /// The identity file.
        file: String,
        /// What was found instead.
        found: String,
    },
    /// The disk failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A folder in use. Dropping it frees the lock.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Identity,
    /// The folder was new.
    created: bool,
    _lock: Box<dyn FsLock>,
}

impl DataDir {
    /// Locks the folder and reads whose it is; a new one gets the identity that `make` gives, durably.
    pub fn open(
        fs: &Arc<dyn Fs>,
        path: &Path,
        wanted: &Wanted,
        make: impl FnOnce() -> Identity,
    ) -> Result<DataDir, DataDirError> {
        DataDir::open_skipping(fs, path, wanted, make, None)
    }

    /// As [`DataDir::open`], without one of its syncs: for the power-cut simulation.
    #[doc(hidden)]
    pub fn open_skipping(
        fs: &Arc<dyn Fs>,
        path: &Path,
        wanted: &Wanted,
        make: impl FnOnce() -> Identity,
        skip: Option<SyncSite>,
    ) -> Result<DataDir, DataDirError> {
        let syncs = Syncs::new(fs.clone(), path, skip);
        let io_error = |at: &Path| {
            let path = at.display().to_string();
            move |source| DataDirError::Io { path, source }
        };
        fs.create_dir_all(path).map_err(io_error(path))?;
        let lock_path = path.join(layout::LOCK);
        let Some(lock) = fs.try_lock(&lock_path).map_err(io_error(&lock_path))? else {
            return Err(DataDirError::InUse {
                dir: path.display().to_string(),
                lock: lock_path.display().to_string(),
            });
        };
        let file_path = path.join(layout::IDENTITY);
        let (identity, created) = match read_identity(&**fs, &file_path)? {
            Some(identity) => {
                // Survives the power cut: the file's entry, which the run that made it may not have got to sync.
                syncs.dir(SyncSite::DataDirEntry, path).map_err(io_error(path))?;
                (identity, false)
            }
            None => {
                refuse_data_without_identity(&**fs, path)?;
                // Survives the power cut: the folder itself and all above it. Which of them are new nobody knows: an
                // earlier run may have made some and stopped.
                for parent in parents_of(path) {
                    match syncs.dir(SyncSite::DataDirParent, parent) {
                        // Not ours to open, so not made for this folder either.
                        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
                        result => result.map_err(io_error(parent))?,
                    }
                }
                let identity = make();
                write_identity(&syncs, &file_path, &identity).map_err(io_error(&file_path))?;
                (identity, true)
            }
        };
        let file = file_path.display().to_string();
        if let Some(cluster) = wanted.cluster_id.as_ref().filter(|c| **c != identity.cluster_id) {
            let (found, wanted) = (identity.cluster_id, cluster.clone());
            return Err(DataDirError::Foreign { file, what: "cluster", found, wanted });
        }
        if let Some(node) = wanted.node_id.filter(|n| *n != identity.node_id) {
            let (found, wanted) = (identity.node_id.to_string(), node.to_string());
            return Err(DataDirError::Foreign { file, what: "node", found, wanted });
        }
        Ok(DataDir { path: path.to_owned(), identity, created, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// True when this call gave it its identity.
    pub fn created(&self) -> bool {
        self.created
    }
}

/// The folders above `path`, nearest first. For a relative one they end with the working folder.
fn parents_of(path: &Path) -> impl Iterator<Item = &Path> {
    path.ancestors().skip(1).map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

pub(crate) fn read_identity(fs: &dyn Fs, path: &Path) -> Result<Option<Identity>, DataDirError> {
    let name = path.display().to_string();
    let corrupt = |reason: String| DataDirError::Corrupt { file: name.clone(), reason };
    let io_error = |source| DataDirError::Io { path: name.clone(), source };
    let file = match fs.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error(e)),
    };
    let len = file.len().map_err(io_error)?;
    if len > MAX_IDENTITY_BYTES {
        return Err(corrupt(format!("{len} bytes are too many for an identity")));
    }
    let mut bytes = vec![0; len as usize];
    read_exact_at(&*file, &mut bytes, 0).map_err(io_error)?;
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|e| corrupt(format!("it is not JSON: {e}")))?;
    // Before anything else: a newer format may have other fields.
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(found) if found > FORMAT => return Err(DataDirError::Newer { file: name, found }),
        Some(_) => {}
        None => return Err(corrupt("it has no format number".to_owned())),
    }
    let file: IdentityFile = serde_json::from_value(value).map_err(|e| corrupt(e.to_string()))?;
    if file.cluster_id.is_empty() || file.node_id < 0 {
        return Err(corrupt("the cluster id is empty or the node id negative".to_owned()));
    }
    Ok(Some(Identity { cluster_id: file.cluster_id, node_id: NodeId(file.node_id) }))
}

fn refuse_data_without_identity(fs: &dyn Fs, path: &Path) -> Result<(), DataDirError> {
    let entries =
        fs.read_dir(path).map_err(|source| DataDirError::Io { path: path.display().to_string(), source })?;
    let data = [layout::JOURNAL, layout::LOG, "meta"];
    match entries.iter().find(|e| data.contains(&e.name.as_str())) {
        None => Ok(()),
        Some(entry) => Err(DataDirError::Missing {
            file: path.join(layout::IDENTITY).display().to_string(),
            found: path.join(&entry.name).display().to_string(),
        }),
    }
}

/// Puts the file in place, whole or not at all. Durable when it returns.
fn write_identity(syncs: &Syncs, path: &Path, identity: &Identity) -> io::Result<()> {
    let new = path.with_extension("json.new");
    match syncs.fs.remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let content =
        IdentityFile { format: FORMAT, cluster_id: identity.cluster_id.clone(), node_id: identity.node_id.0 };
    let mut bytes = serde_json::to_vec_pretty(&content)?;
    bytes.push(b'\n');
    let file = syncs.fs.open(&new, OpenMode::CreateNew)?;
    file.write_all_at(&mut [IoSlice::new(&bytes)], 0)?;
    // Survives the power cut: the content, before the name points to it.
    syncs.file(SyncSite::DataDirFile, &*file)?;
    syncs.fs.rename(&new, path)?;
    // Survives the power cut: the name, before any data follows.
    syncs.dir(SyncSite::DataDirEntry, &syncs.root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;

    fn identity() -> Identity {
        Identity { cluster_id: "cluster-1".into(), node_id: NodeId(3) }
    }

    fn open(path: &Path, wanted: &Wanted) -> Result<DataDir, DataDirError> {
        let fs: Arc<dyn Fs> = Arc::new(Disk);
        DataDir::open(&fs, path, wanted, identity)
    }

    fn error(path: &Path, wanted: &Wanted) -> String {
        open(path, wanted).unwrap_err().to_string()
    }

    #[test]
    fn a_new_folder_gets_its_identity_and_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/data");
        let first = open(&path, &Wanted::default()).unwrap();
        assert!(first.created());
        drop(first);
        let fs: Arc<dyn Fs> = Arc::new(Disk);
        let again = DataDir::open(&fs, &path, &Wanted::default(), || panic!("it has one")).unwrap();
        assert_eq!(*again.identity(), identity());
        assert!(!again.created());
    }

    #[test]
    fn a_second_process_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let held = open(dir.path(), &Wanted::default()).unwrap();
        let error = error(dir.path(), &Wanted::default());
        assert!(error.contains("in use by another process") && error.contains("buslane.lock"), "{error}");
        drop(held);
        open(dir.path(), &Wanted::default()).unwrap();
    }

    #[test]
    fn a_foreign_newer_or_broken_identity_is_refused_with_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), &Wanted::default()).unwrap());
        let other = Wanted { cluster_id: Some("cluster-2".into()), node_id: None };
        let text = error(dir.path(), &other);
        assert!(text.contains("belongs to cluster cluster-1, not cluster-2"), "{text}");
        let other = Wanted { cluster_id: None, node_id: Some(NodeId(4)) };
        let text = error(dir.path(), &other);
        assert!(text.contains("belongs to node 3, not 4"), "{text}");
        let file = dir.path().join("buslane.json");
        for (content, expected) in [
            (r#"{"format":2,"whatever":1}"#, "newer than this program's 1"),
            (r#"{"format":1,"cluster_id":"c"}"#, "missing field `node_id`"),
            (r#"{"format":1,"cluster_id":"c","node_id":1,"x":0}"#, "unknown field `x`"),
            (r#"{"format":1,"cluster_id":"","node_id":1}"#, "cluster id is empty"),
            (r#"{}"#, "no format number"),
            ("", "not JSON"),
            ("\0\0\0", "not JSON"),
        ] {
            std::fs::write(&file, content).unwrap();
            let text = error(dir.path(), &Wanted::default());
            assert!(text.contains(expected) && text.contains("buslane.json"), "{content}: {text}");
        }
        std::fs::remove_file(&file).unwrap();
        std::fs::write(dir.path().join("store.journal"), b"").unwrap();
        let text = error(dir.path(), &Wanted::default());
        assert!(text.contains("is missing, but"), "{text}");
    }
}
