//! The few `bpf(2)` commands that capture needs, on pinned objects.
//!
//! aya's maps want to be borrowed mutably to be written, and its links cannot be replaced; the data plane shares one set of maps between its
//! workers without a lock, because the kernel needs none. Nothing here needs a privilege beyond permission on the pin: since Linux 5.19
//! `kernel.unprivileged_bpf_disabled` bars only the making of maps and programs (commit c8644cd0efe7).

use std::{
    ffi::CString,
    io,
    marker::PhantomData,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use gateway_common::Plain;

/// The commands in use, linux/bpf.h.
#[derive(Clone, Copy)]
#[repr(i32)]
enum Command {
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    Pin = 6,
    Get = 7,
    Info = 15,
    MapTake = 21,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

/// Calls `bpf(2)`.
///
/// # Safety
///
/// `attr` is the part of `union bpf_attr` that `command` reads, and the addresses in it are good for it.
unsafe fn bpf<T>(command: Command, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the caller's promise; the kernel takes what lies beyond the size as zero.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_int, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The number that stands for a descriptor in a `bpf_attr`.
fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn address<T>(value: *const T) -> u64 {
    value.expose_provenance() as u64
}

/// Takes over the descriptor that a command returned.
fn own(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

#[repr(C)]
struct PathAttr {
    pathname: u64,
    fd: u32,
    flags: u32,
}

/// Opens a pinned object.
///
/// # Errors
///
/// `ENOENT` if nothing is pinned there, `EACCES` if the pin is not for this user.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = PathAttr { pathname: address(path.as_ptr()), fd: 0, flags: 0 };
    // SAFETY: the path lives until the call returns.
    own(unsafe { bpf(Command::Get, &mut attr) }?)
}

/// Pins an object, so that it outlives this process.
///
/// # Errors
///
/// `EEXIST` if something is pinned there, `EPERM` if the directory is not on a bpffs.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = PathAttr { pathname: address(path.as_ptr()), fd: number(object), flags: 0 };
    // SAFETY: the path lives until the call returns.
    unsafe { bpf(Command::Pin, &mut attr) }.map(drop)
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}

fn info<T: Plain>(object: BorrowedFd<'_>) -> io::Result<T> {
    let mut out = MaybeUninit::<T>::zeroed();
    let mut attr =
        InfoAttr { fd: number(object), len: u32::try_from(size_of::<T>()).map_err(io::Error::other)?, info: address(out.as_mut_ptr()) };
    // SAFETY: the kernel writes no more than `len` bytes to `info`.
    unsafe { bpf(Command::Info, &mut attr) }?;
    // SAFETY: zeroed before the call, and any bits are good.
    Ok(unsafe { out.assume_init() })
}

/// The beginning of `struct bpf_map_info`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct MapInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

// SAFETY: six integers without a gap.
unsafe impl Plain for MapInfo {}

/// What the kernel says of a map.
///
/// # Errors
///
/// What `BPF_OBJ_GET_INFO_BY_FD` answers.
pub(crate) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    info(map)
}

/// The beginning of `struct bpf_link_info`, for a link to a cgroup.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct LinkInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) program_id: u32,
    pad: u32,
    pub(crate) cgroup_id: u64,
    pub(crate) attach_type: u32,
    tail: u32,
}

// SAFETY: integers without a gap.
unsafe impl Plain for LinkInfo {}

/// What the kernel says of a link.
///
/// # Errors
///
/// What `BPF_OBJ_GET_INFO_BY_FD` answers.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    info(link)
}

#[repr(C)]
struct LinkAttr {
    program_or_link: u32,
    target_or_program: u32,
    attach_type_or_flags: u32,
    flags_or_old: u32,
}

/// Attaches a program to a cgroup. Linux 5.7.
///
/// The flags stay zero: links to cgroups always stand beside others, and `BPF_F_ALLOW_MULTI` is refused with `EINVAL`.
///
/// # Errors
///
/// What `BPF_LINK_CREATE` answers.
pub(crate) fn link_create(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<OwnedFd> {
    let mut attr = LinkAttr {
        program_or_link: number(program),
        target_or_program: number(cgroup),
        attach_type_or_flags: attach_type,
        flags_or_old: 0,
    };
    // SAFETY: integers only.
    own(unsafe { bpf(Command::LinkCreate, &mut attr) }?)
}

/// Puts another program in the place of a link's, between two events: no event goes unseen. Linux 5.7.
///
/// # Errors
///
/// What `BPF_LINK_UPDATE` answers.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkAttr { program_or_link: number(link), target_or_program: number(program), attach_type_or_flags: 0, flags_or_old: 0 };
    // SAFETY: integers only.
    unsafe { bpf(Command::LinkUpdate, &mut attr) }.map(drop)
}

/// Detaches a program at once, whoever else still holds the link. Linux 5.9.
///
/// # Errors
///
/// What `BPF_LINK_DETACH` answers.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = number(link);
    // SAFETY: an integer only.
    unsafe { bpf(Command::LinkDetach, &mut attr) }.map(drop)
}

#[repr(C)]
struct ElementAttr {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// A pinned map with keys `K` and values `V`. All of its operations are atomic in the kernel, so it is shared freely.
#[derive(Debug)]
pub(crate) struct Map<K, V> {
    fd: OwnedFd,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> AsFd for Map<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<K: Plain, V: Plain> Map<K, V> {
    /// Opens a pinned map.
    ///
    /// # Errors
    ///
    /// As [`open_pin`]; `InvalidData` if the map has other keys or values, because another version of the guard made it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let fd = open_pin(path)?;
        let info = map_info(fd.as_fd())?;
        let (key, value) = (size_of::<K>(), size_of::<V>());
        let found = (usize::try_from(info.key_size), usize::try_from(info.value_size));
        if found != (Ok(key), Ok(value)) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it holds keys of {} and values of {} bytes, this version {key} and {value}", info.key_size, info.value_size),
            ));
        }
        Ok(Self { fd, types: PhantomData })
    }

    /// The same map, by a descriptor of its own.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, types: PhantomData })
    }

    fn attr(&self, key: *const K, value: u64, flags: u64) -> ElementAttr {
        ElementAttr { map: number(self.fd.as_fd()), pad: 0, key: address(key), value, flags }
    }

    fn read(&self, command: Command, key: &K) -> io::Result<Option<V>> {
        let mut out = MaybeUninit::<V>::zeroed();
        let mut attr = self.attr(key, address(out.as_mut_ptr()), 0);
        // SAFETY: the map's key and value are as large as `K` and `V`: `open` has compared them.
        match unsafe { bpf(command, &mut attr) } {
            // SAFETY: zeroed before the call, and any bits are good.
            Ok(_) => Ok(Some(unsafe { out.assume_init() })),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The value of a key. In a hash map the copy may be torn if the entry is removed meanwhile; [`Map::take`] never is.
    pub(crate) fn get(&self, key: &K) -> io::Result<Option<V>> {
        self.read(Command::MapLookup, key)
    }

    /// Removes a key and returns its value, in one step. Hash maps only; Linux 5.14.
    pub(crate) fn take(&self, key: &K) -> io::Result<Option<V>> {
        self.read(Command::MapTake, key)
    }

    /// Sets the value of a key.
    pub(crate) fn set(&self, key: &K, value: &V) -> io::Result<()> {
        let mut attr = self.attr(key, address(std::ptr::from_ref(value)), 0);
        // SAFETY: as in `read`.
        unsafe { bpf(Command::MapUpdate, &mut attr) }.map(drop)
    }

    /// Removes a key; false if it was not there.
    pub(crate) fn remove(&self, key: &K) -> io::Result<bool> {
        let mut attr = self.attr(key, 0, 0);
        // SAFETY: as in `read`.
        match unsafe { bpf(Command::MapDelete, &mut attr) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn next_key(&self, after: Option<&K>) -> io::Result<Option<K>> {
        let mut out = MaybeUninit::<K>::zeroed();
        let after = after.map_or(std::ptr::null(), std::ptr::from_ref);
        let mut attr = self.attr(after, address(out.as_mut_ptr()), 0);
        // SAFETY: as in `read`; a null key asks for the first.
        match unsafe { bpf(Command::MapNextKey, &mut attr) } {
            // SAFETY: zeroed before the call, and any bits are good.
            Ok(_) => Ok(Some(unsafe { out.assume_init() })),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every key there is now. No more than `limit`: a map that changes while it is walked may lead back to its beginning.
    pub(crate) fn keys(&self, limit: usize) -> io::Result<Vec<K>> {
        let mut keys: Vec<K> = Vec::new();
        while keys.len() < limit {
            match self.next_key(keys.last())? {
                Some(key) => keys.push(key),
                None => break,
            }
        }
        Ok(keys)
    }
}

/// A pinned array of one number a CPU.
#[derive(Debug)]
pub(crate) struct PerCpu {
    fd: OwnedFd,
    cpus: usize,
}

impl PerCpu {
    /// Opens a pinned array.
    ///
    /// # Errors
    ///
    /// As [`open_pin`]; or the number of possible CPUs cannot be read from /sys.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let fd = open_pin(path)?;
        Ok(Self { fd, cpus })
    }

    /// The sum over all CPUs.
    pub(crate) fn sum(&self, index: u32) -> io::Result<u64> {
        let mut values = vec![0_u64; self.cpus];
        let mut attr = ElementAttr {
            map: number(self.fd.as_fd()),
            pad: 0,
            key: address(&raw const index),
            value: address(values.as_mut_ptr()),
            flags: 0,
        };
        // SAFETY: the kernel writes eight bytes for each possible CPU.
        unsafe { bpf(Command::MapLookup, &mut attr) }?;
        Ok(values.iter().sum())
    }
}
