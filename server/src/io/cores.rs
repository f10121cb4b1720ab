//! Which core a thread stays on.

use server::config::Threads;

use super::error::RunError;

/// Checks that the process may use the cores that the configuration names.
pub fn check(threads: &Threads) -> Result<(), RunError> {
    let Some(cores) = system::cores() else { return Ok(()) };
    let named = threads.zone_core.iter().map(|core| ("threads.zone_core", core));
    let named = named.chain(threads.worker_cores.iter().map(|core| ("threads.worker_cores", core)));
    for (key, core) in named {
        if !cores.contains(core) {
            let allowed = cores.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            return Err(RunError::Core { key, core: *core, allowed });
        }
    }
    Ok(())
}

/// The core of a worker, if it has one.
pub fn of_worker(threads: &Threads, worker: u8) -> Option<u32> {
    threads.worker_cores.iter().cycle().nth(worker.into()).copied()
}

/// Keeps the calling thread on a core.
pub fn stay_on(core: Option<u32>) -> Result<(), RunError> {
    core.map_or(Ok(()), |core| system::stay_on(core).map_err(RunError::system("keep a thread on its core")))
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// The cores that this process may use, if the system tells.
    pub fn cores() -> Option<Vec<u32>> {
        let allowed = sched_getaffinity(None).ok()?;
        Some((0..CpuSet::MAX_CPU as u32).filter(|core| allowed.is_set(*core as usize)).collect())
    }

    pub fn stay_on(core: u32) -> std::io::Result<()> {
        let mut cores = CpuSet::new();
        cores.set(core as usize);
        Ok(sched_setaffinity(None, &cores)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub fn cores() -> Option<Vec<u32>> {
        None
    }

    pub fn stay_on(_: u32) -> std::io::Result<()> {
        Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "threads.* need Linux"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_the_cores_in_turn() {
        let threads = Threads { zone_core: None, worker_cores: vec![3, 1] };
        assert_eq!([0, 1, 2, 3].map(|worker| of_worker(&threads, worker)), [Some(3), Some(1), Some(3), Some(1)]);
        assert_eq!(of_worker(&Threads::default(), 0), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_core_that_is_not_there_is_refused_by_its_key() {
        let threads = Threads { zone_core: None, worker_cores: vec![1023] };
        let text = check(&threads).unwrap_err().to_string();
        assert!(text.contains("threads.worker_cores = 1023 is not allowed") && text.contains("core"), "{text}");
        assert_eq!(check(&threads).unwrap_err().exit_code(), 2);
        check(&Threads::default()).unwrap();
    }
}
