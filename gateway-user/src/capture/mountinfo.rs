//! Where things are mounted, from /proc/self/mountinfo (proc_pid_mountinfo(5)).
//!
//! cgroup version 2 is at /sys/fs/cgroup on most hosts and at /sys/fs/cgroup/unified on hybrid ones; so it is looked up.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Which directory of the file system is mounted; `/` for the whole.
    root: PathBuf,
    /// Where.
    pub(crate) point: PathBuf,
    /// The type of the file system.
    kind: String,
}

/// Reads the lines of mountinfo. A line that cannot be read is no mount.
pub(crate) fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|b| *b == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let root = unescape(fields.nth(3)?);
    let point = unescape(fields.next()?);
    // Optional fields end at a lone dash.
    fields.find(|field| *field == b"-")?;
    let kind = String::from_utf8(fields.next()?.to_vec()).ok()?;
    Some(Mount { root, point, kind })
}

/// Undoes `\040` and the like, which stand for blanks, tabs, newlines and backslashes.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after
            .first_chunk::<3>()
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

/// Where the root of cgroup version 2 is mounted. A mount of a part of it (as containers have) is taken only if there is no other.
pub(crate) fn cgroup2(mounts: &[Mount]) -> Option<&Mount> {
    let all = || mounts.iter().filter(|m| m.kind == "cgroup2");
    all().find(|m| m.root == Path::new("/")).or_else(|| all().next())
}

/// Whether a bpffs is mounted exactly there. Of several mounts on one point the last counts.
pub(crate) fn is_bpffs(mounts: &[Mount], point: &Path) -> bool {
    mounts.iter().rfind(|m| m.point == point).is_some_and(|m| m.kind == "bpf")
}

#[cfg(test)]
mod tests {
    use super::{cgroup2, is_bpffs, parse};
    use std::path::Path;

    const PURE: &[u8] = b"\
30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n\
31 23 0:27 / /sys/fs/bpf rw,nosuid,nodev,noexec,relatime shared:5 master:1 - bpf bpf rw,mode=700\n";

    const HYBRID: &[u8] = b"\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer\n\
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_root_is_found_on_pure_and_hybrid_hosts() {
        let pure = parse(PURE);
        let point = cgroup2(&pure).map(|m| m.point.as_path());
        assert_eq!(point, Some(Path::new("/sys/fs/cgroup")));
        let hybrid = parse(HYBRID);
        let point = cgroup2(&hybrid).map(|m| m.point.as_path());
        assert_eq!(point, Some(Path::new("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn a_host_with_version_1_only_has_none() {
        let mounts = parse(&HYBRID[..HYBRID.len() - 70]);
        assert_eq!(cgroup2(&mounts), None);
    }

    #[test]
    fn a_mount_of_a_part_is_second_choice() {
        let text = b"1 0 0:1 /docker/x /a rw - cgroup2 c rw\n2 0 0:1 / /b rw - cgroup2 c rw\n";
        let mounts = parse(text);
        assert_eq!(cgroup2(&mounts).map(|m| m.point.as_path()), Some(Path::new("/b")));
        let part = parse(&text[..39]);
        assert_eq!(cgroup2(&part).map(|m| m.point.as_path()), Some(Path::new("/a")));
    }

    #[test]
    fn escapes_are_undone() {
        let mounts = parse(br"1 0 0:1 / /mnt/a\040b\134c\011\9 rw - cgroup2 c rw");
        assert_eq!(cgroup2(&mounts).map(|m| m.point.as_path()), Some(Path::new("/mnt/a b\\c\t\\9")));
    }

    #[test]
    fn optional_fields_may_be_many_and_broken_lines_are_none() {
        assert!(is_bpffs(&parse(PURE), Path::new("/sys/fs/bpf")));
        assert!(!is_bpffs(&parse(HYBRID), Path::new("/sys/fs/bpf")));
        assert!(parse(b"1 2 3\n\n- - -\n41 31 0:38 / /x rw cgroup2").is_empty());
    }

    #[test]
    fn what_is_mounted_over_a_bpffs_hides_it() {
        let text = b"1 0 0:1 / /b rw - bpf b rw\n2 0 0:1 / /b rw - tmpfs t rw\n";
        assert!(!is_bpffs(&parse(text), Path::new("/b")));
    }
}
