//! A store that nobody has open, by its path: what an operator's commands work on.

use std::path::Path;

use disk::OsDisk;

use crate::{
    CheckProgress, CheckReport, Error, LogFrame, LogReport, Repaired, Restored, Summary, check,
    log_frames, repair, restore, summary,
};

/// A directory of the real file system. Every call takes the store's lock for its time.
#[derive(Debug)]
pub struct Directory {
    disk: OsDisk,
}

impl Directory {
    /// The directory, made if it is missing; no file of it is touched.
    ///
    /// # Errors
    /// If it cannot be opened or made.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let disk = OsDisk::open(root)?;
        Ok(Self { disk })
    }

    /// See [`check`].
    ///
    /// # Errors
    /// As [`check`].
    pub fn check(&self, progress: &mut dyn FnMut(CheckProgress<'_>)) -> Result<CheckReport, Error> {
        check(&self.disk, progress)
    }

    /// See [`repair`].
    ///
    /// # Errors
    /// As [`repair`].
    pub fn repair(&self, report: &CheckReport) -> Result<Repaired, Error> {
        repair(&self.disk, report)
    }

    /// See [`log_frames`].
    ///
    /// # Errors
    /// As [`log_frames`].
    pub fn log_frames(
        &self,
        visit: &mut dyn FnMut(LogFrame) -> Result<(), Error>,
    ) -> Result<LogReport, Error> {
        log_frames(&self.disk, visit)
    }

    /// See [`summary`].
    ///
    /// # Errors
    /// As [`summary`].
    pub fn summary(&self) -> Result<Summary, Error> {
        summary(&self.disk)
    }

    /// Copies this store into an empty directory, see [`restore`].
    ///
    /// # Errors
    /// As [`restore`].
    pub fn restore_to(
        &self,
        target: &Self,
        progress: &mut dyn FnMut(&str, u64),
    ) -> Result<Restored, Error> {
        restore(&self.disk, &target.disk, progress)
    }
}
