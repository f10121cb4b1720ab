//! SIGINT and SIGTERM, for whoever computes and waits for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use super::error::RunError;

/// Whether this process is to end.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// From now on signals are noted instead of ending the process.
    pub fn watch() -> Result<Self, RunError> {
        let signal_came = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_usize(signal, Arc::clone(&signal_came), signal as usize)
                .map_err(RunError::system("handle signals"))?;
        }
        Ok(Self(signal_came))
    }

    /// Whether a signal came.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// What a run ends with that would have ended so: that it was interrupted, if a signal came and nothing failed before.
    pub fn outcome(&self, fine: bool) -> Result<bool, RunError> {
        match u8::try_from(self.0.load(Ordering::Relaxed)) {
            Ok(signal) if signal != 0 && fine => Err(RunError::Interrupted { signal }),
            _ => Ok(fine),
        }
    }
}
