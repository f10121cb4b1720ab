//! What Linux counts about a process, its threads, a core and its UDP sockets.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;

/// What the threads of a process have used.
#[derive(Clone, Debug, Default)]
pub struct Usage(BTreeMap<u32, Thread>);

/// What one thread has used.
#[derive(Clone, Debug, Default)]
struct Thread {
    name: String,
    /// Nanoseconds on a core.
    run_ns: u64,
    /// Nanoseconds ready to run, while somebody else did.
    wait_ns: u64,
    /// Ticks of the system's clock, as sampled: good for the ratio of the two.
    user: u64,
    system: u64,
    voluntary: u64,
    involuntary: u64,
}

/// What threads used between two looks, in microseconds and context switches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Used {
    /// Of a core, in all.
    pub cpu_us: f64,
    /// Of these, outside of the kernel.
    pub user_us: f64,
    /// Times that a thread waited.
    pub voluntary: u64,
    /// Times that a thread had to give way.
    pub involuntary: u64,
    /// The longest that one thread was not asleep: on a core, or waiting for one.
    pub awake_us: f64,
    /// `cpu_us` by the thread's name.
    pub by_thread: BTreeMap<String, f64>,
}

impl Usage {
    /// Looks at every thread of that process.
    pub fn of(pid: u32) -> io::Result<Self> {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let path = entry?.path();
            let tid = path.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0);
            // A thread may end meanwhile.
            if let (Ok(stat), Ok(sched), Ok(status)) = (
                fs::read_to_string(path.join("stat")),
                fs::read_to_string(path.join("schedstat")),
                fs::read_to_string(path.join("status")),
            ) {
                threads.insert(tid, Thread::parse(&stat, &sched, &status));
            }
        }
        Ok(Self(threads))
    }

    /// What was used since `before`; threads that are gone count up to then only.
    pub fn since(&self, before: &Self) -> Used {
        let mut used = Used::default();
        for (tid, thread) in &self.0 {
            let none = Thread::default();
            let old = before.0.get(tid).unwrap_or(&none);
            let cpu_us = thread.run_ns.saturating_sub(old.run_ns) as f64 / 1000.0;
            let (user, system) = (thread.user.saturating_sub(old.user), thread.system.saturating_sub(old.system));
            let share = if user + system == 0 { 0.0 } else { user as f64 / (user + system) as f64 };
            used.cpu_us += cpu_us;
            let awake_us = cpu_us + thread.wait_ns.saturating_sub(old.wait_ns) as f64 / 1000.0;
            used.awake_us = used.awake_us.max(awake_us);
            used.user_us += cpu_us * share;
            used.voluntary += thread.voluntary.saturating_sub(old.voluntary);
            used.involuntary += thread.involuntary.saturating_sub(old.involuntary);
            *used.by_thread.entry(thread.name.clone()).or_default() += cpu_us;
        }
        used
    }
}

impl Thread {
    /// From the files `stat`, `schedstat` and `status` of proc(5).
    fn parse(stat: &str, sched: &str, status: &str) -> Self {
        // The name is in parentheses and may have any character but the last ')'.
        let (head, rest) = stat.rsplit_once(')').unwrap_or(("", ""));
        let field = |at: usize| rest.split_whitespace().nth(at).and_then(|field| field.parse().ok()).unwrap_or(0);
        let sched_ns = |at: usize| sched.split_whitespace().nth(at).and_then(|field| field.parse().ok()).unwrap_or(0);
        let line = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        Self {
            name: head.split_once('(').map_or("", |(_, name)| name).to_owned(),
            run_ns: sched_ns(0),
            wait_ns: sched_ns(1),
            // Fields 14 and 15; the first one after the name is field 3.
            user: field(11),
            system: field(12),
            voluntary: line("voluntary_ctxt_switches:"),
            involuntary: line("nonvoluntary_ctxt_switches:"),
        }
    }
}

/// Resident memory of a process, in KiB.
pub fn rss_kb(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    Ok(line.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0))
}

/// A core's time so far, in ticks of the system's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Core {
    idle: u64,
    stolen: u64,
    all: u64,
}

impl Core {
    /// Looks at those cores, which count as one.
    pub fn look(cores: &[usize]) -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let add = |sum: Self, core: Self| Self {
            idle: sum.idle + core.idle,
            stolen: sum.stolen + core.stolen,
            all: sum.all + core.all,
        };
        Ok(cores.iter().map(|core| Self::parse(&stat, *core)).fold(Self::default(), add))
    }

    /// How much of the time since `before` it did something, 0 to 1.
    pub fn busy_since(&self, before: &Self) -> f64 {
        let all = self.all.saturating_sub(before.all);
        let idle = self.idle.saturating_sub(before.idle);
        if all == 0 { 0.0 } else { 1.0 - idle as f64 / all as f64 }
    }

    /// How much of the time since `before` a virtual core was not there, because its host did something else, 0 to 1.
    pub fn stolen_since(&self, before: &Self) -> f64 {
        let all = self.all.saturating_sub(before.all);
        if all == 0 { 0.0 } else { self.stolen.saturating_sub(before.stolen) as f64 / all as f64 }
    }

    fn parse(stat: &str, core: usize) -> Self {
        let prefix = format!("cpu{core} ");
        let line = stat.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or("");
        // user nice system idle iowait irq softirq steal; guests are in user already.
        let fields: Vec<u64> = line.split_whitespace().take(8).filter_map(|field| field.parse().ok()).collect();
        let idle = fields.iter().skip(3).take(2).sum();
        Self { idle, stolen: fields.get(7).copied().unwrap_or(0), all: fields.iter().sum() }
    }
}

/// Datagrams that found a socket's buffer full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpDrops {
    /// At sockets bound to the address that was asked for.
    pub here: u64,
    /// At all sockets of the machine, those included, and those closed since.
    pub everywhere: u64,
}

impl UdpDrops {
    /// Looks at the sockets of that IPv4 address.
    pub fn look(addr: SocketAddr) -> io::Result<Self> {
        let here = udp_drops(&fs::read_to_string("/proc/net/udp")?, addr);
        Ok(Self { here, everywhere: buffer_errors(&fs::read_to_string("/proc/net/snmp")?) })
    }

    /// What came since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let (here, everywhere) =
            (self.here.saturating_sub(before.here), self.everywhere.saturating_sub(before.everywhere));
        Self { here, everywhere: everywhere.max(here) }
    }
}

/// The last column of the lines of that address.
fn udp_drops(table: &str, addr: SocketAddr) -> u64 {
    let SocketAddr::V4(v4) = addr else { return 0 };
    let local = format!("{:08X}:{:04X}", u32::from_le_bytes(v4.ip().octets()), v4.port());
    let lines = table.lines().filter(|line| line.split_whitespace().nth(1) == Some(local.as_str()));
    lines.filter_map(|line| line.split_whitespace().next_back()?.parse::<u64>().ok()).sum()
}

/// `RcvbufErrors` of `Udp`: a line of names, then a line of values.
fn buffer_errors(snmp: &str) -> u64 {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Udp:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let at = names.split_whitespace().position(|name| name == "RcvbufErrors");
    at.and_then(|at| values.split_whitespace().nth(at)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_with_a_strange_name_is_read() {
        let stat = "12 (a) b( c) S 1 12 12 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 1 1 1";
        let thread =
            Thread::parse(stat, "5000000 12 3\n", "voluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t2\n");
        assert_eq!((thread.name.as_str(), thread.user, thread.system), ("a) b( c", 250, 50));
        assert_eq!((thread.run_ns, thread.wait_ns), (5_000_000, 12));
        assert_eq!((thread.run_ns, thread.voluntary, thread.involuntary), (5_000_000, 7, 2));
    }

    #[test]
    fn time_since_is_split_as_it_was_sampled() {
        let thread = |run_ns, user, system| Thread { name: "zone".into(), run_ns, user, system, ..Thread::default() };
        let before = Usage([(1, thread(1000, 1, 1))].into());
        let after = Usage([(1, thread(9000, 4, 2)), (2, thread(2000, 0, 0))].into());
        let used = after.since(&before);
        assert!((used.cpu_us - 10.0).abs() < 1e-9 && (used.user_us - 6.0).abs() < 1e-9, "{used:?}");
        assert_eq!(used.by_thread.len(), 1);
    }

    #[test]
    fn a_core_is_busy_when_it_is_not_idle() {
        let before = Core::parse("cpu  1 1\ncpu1 10 0 10 70 10 0 0 0 5 0\n", 1);
        let after = Core::parse("cpu1 40 0 20 115 15 0 10 0 5 0\n", 1);
        assert!((after.busy_since(&before) - 0.5).abs() < 1e-9);
        let after = Core::parse("cpu1 40 0 20 115 15 0 0 10 5 0\n", 1);
        assert!((after.stolen_since(&before) - 0.1).abs() < 1e-9);
        assert!(Core::default().busy_since(&Core::default()).abs() < 1e-9);
    }

    #[test]
    fn drops_of_a_socket_and_of_the_machine_are_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
                     \x20 10: 0100007F:1E61 00000000:0000 07 0:0 00:0 0 0 0 1 2 0 12\n\
                     \x20 11: 0100007F:1E61 00000000:0000 07 0:0 00:0 0 0 0 1 2 0 3\n\
                     \x20 12: 0100007F:1E62 00000000:0000 07 0:0 00:0 0 0 0 1 2 0 99\n";
        assert_eq!(udp_drops(table, "127.0.0.1:7777".parse().unwrap()), 15);
        let snmp = "Udp: InDatagrams NoPorts RcvbufErrors\nUdp: 100 2 33\nUdpLite: 1\n";
        assert_eq!(buffer_errors(snmp), 33);
    }
}
