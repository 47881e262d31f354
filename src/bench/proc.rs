//! What processes cost: CPU time and peak memory, from /proc.
//!
//! Where there is no /proc, or a server runs elsewhere, a figure is absent rather than wrong.

use std::time::Duration;

/// Ticks a second in /proc: USER_HZ, which Linux fixes at 100 for programs.
const TICKS_A_SECOND: u64 = 100;

/// A line of `/proc/<pid>/stat`, as far as it is needed (proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// User and system time.
    own: u64,
    /// User and system time of children that ended and were waited for.
    ended: u64,
}

fn parse(line: &str) -> Option<Stat> {
    // The name stands in parentheses and may hold anything, parentheses too.
    let fields: Vec<&str> = line.get(line.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat { parent: number(1)? as u32, own: number(11)? + number(12)?, ended: number(13)? + number(14)? })
}

fn read(pid: u32) -> Option<Stat> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1_000 / TICKS_A_SECOND)
}

/// CPU time that a process used so far.
pub(super) fn cpu(pid: u32) -> Option<Duration> {
    Some(duration(read(pid)?.own))
}

/// CPU time that a process and its children used so far, those that ended too.
///
/// A child that ends between two calls is counted once: its time passes over to its parent.
pub(super) fn cpu_with_children(pid: u32) -> Option<Duration> {
    let parent = read(pid)?;
    let pids = std::fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let children = pids.filter_map(read).filter(|stat| stat.parent == pid).map(|stat| stat.own);
    Some(duration(parent.own + parent.ended + children.sum::<u64>()))
}

/// The parent of a process whose command line holds `mark`: proof that the id is of this machine.
pub(super) fn parent_of(pid: u32, mark: &str) -> Option<u32> {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    String::from_utf8_lossy(&command).contains(mark).then(|| read(pid))?.map(|stat| stat.parent)
}

/// The most memory that a process ever had resident, in bytes.
pub(super) fn peak_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whatever_the_name_holds() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194304 1 2 3 4 100 20 3 4 20 0 8 0 5 6 7";
        assert_eq!(parse(line), Some(Stat { parent: 7, own: 120, ended: 7 }));
        assert_eq!(parse("42 (a"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_cost_memory() {
        let pid = std::process::id();
        assert!(peak_memory(pid).unwrap() > 1024 * 1024);
        let own = cpu(pid).unwrap();
        assert!(cpu_with_children(pid).unwrap() >= own);
        assert_eq!(parent_of(pid, "no command line holds this"), None);
    }
}
