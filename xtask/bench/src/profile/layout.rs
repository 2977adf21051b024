//! Which line of source each address of a loaded program's machine code comes from, as the kernel tells it.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use aya_obj::generated::{bpf_attr, bpf_btf_info, bpf_cmd, bpf_line_info, bpf_prog_info};
use serde::{Deserialize, Serialize};

/// The machine code of some programs and their functions.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Layout {
    /// Starts of the functions, and their octets.
    functions: Vec<(u64, u64)>,
    /// From this address on, up to the next one, code comes from this file (a number in `files`) and line.
    lines: Vec<(u64, usize, u32)>,
    files: Vec<String>,
}

impl Layout {
    /// This and that of another loaded program.
    pub(super) fn and(mut self, program: BorrowedFd<'_>) -> Result<Self> {
        let counts: bpf_prog_info = info(program, |_| {})?;
        let (mut starts, mut lens) =
            (vec![0u64; counts.nr_jited_ksyms as usize], vec![0u32; counts.nr_jited_func_lens as usize]);
        let mut jited = vec![0u64; counts.nr_jited_line_info as usize];
        let mut lines = vec![
            bpf_line_info { insn_off: 0, file_name_off: 0, line_off: 0, line_col: 0 };
            counts.nr_line_info as usize
        ];
        ensure!(!starts.is_empty() && jited.len() == lines.len(), "the kernel does not say which line code comes from");
        let told: bpf_prog_info = info(program, |info: &mut bpf_prog_info| {
            (info.jited_ksyms, info.nr_jited_ksyms) = (starts.as_mut_ptr() as u64, starts.len() as u32);
            (info.jited_func_lens, info.nr_jited_func_lens) = (lens.as_mut_ptr() as u64, lens.len() as u32);
            (info.jited_line_info, info.nr_jited_line_info) = (jited.as_mut_ptr() as u64, jited.len() as u32);
            (info.line_info, info.nr_line_info) = (lines.as_mut_ptr() as u64, lines.len() as u32);
            info.jited_line_info_rec_size = size_of::<u64>() as u32;
            info.line_info_rec_size = size_of::<bpf_line_info>() as u32;
        })?;
        ensure!(starts.iter().all(|start| *start != 0), "the kernel hides addresses (kernel.kptr_restrict)");
        let strings = Strings::of(told.btf_id)?;
        for (address, line) in jited.iter().zip(&lines) {
            let name = strings.at(line.file_name_off);
            let file = self.files.iter().position(|file| *file == name).unwrap_or_else(|| {
                self.files.push(name);
                self.files.len() - 1
            });
            // The upper 22 bits are the line, the others the column.
            self.lines.push((*address, file, line.line_col >> 10));
        }
        self.lines.sort_unstable();
        self.functions.extend(starts.into_iter().zip(lens.into_iter().map(u64::from)));
        Ok(self)
    }

    /// Returns true if an address is in the program.
    pub(super) fn contains(&self, address: u64) -> bool {
        self.functions.iter().any(|(start, len)| (*start..start + len).contains(&address))
    }

    /// Files and lines that the code at an address, and in front of it in the same function, comes from: nearest first.
    pub(super) fn lines_before(&self, address: u64) -> impl Iterator<Item = (&str, u32)> {
        let function = self.functions.iter().find(|(start, len)| (*start..start + len).contains(&address));
        let start = function.map_or(address, |(start, _)| *start);
        let end = self.lines.partition_point(|(at, ..)| *at <= address);
        let lines = self.lines[..end].iter().rev().take_while(move |(at, ..)| *at >= start);
        lines.map(|(_, file, line)| (self.files[*file].as_str(), *line))
    }
}

/// The names in a program's BTF.
struct Strings(Vec<u8>);

impl Strings {
    fn of(btf_id: u32) -> Result<Self> {
        // SAFETY: all-zero is a valid value; the number of the BTF object is all that the command reads.
        let mut attr: bpf_attr = unsafe { zeroed() };
        attr.__bindgen_anon_6.__bindgen_anon_1.btf_id = btf_id;
        let fd = bpf(bpf_cmd::BPF_BTF_GET_FD_BY_ID, &mut attr)?;
        // SAFETY: a new descriptor, ours alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let size = info::<bpf_btf_info>(fd.as_fd(), |_| {})?.btf_size;
        let mut octets = vec![0u8; size as usize];
        info(fd.as_fd(), |info: &mut bpf_btf_info| (info.btf, info.btf_size) = (octets.as_mut_ptr() as u64, size))?;
        // struct btf_header: magic, version, flags, its own length, then offset and length of types and of strings.
        let word = |at: usize| Some(u32::from_ne_bytes(octets.get(at..at + 4)?.try_into().ok()?) as usize);
        let range = || Some((word(4)? + word(16)?, word(20)?));
        let (start, len) = range().context("the program's BTF has no header")?;
        Ok(Self(octets.get(start..start + len).context("the program's BTF has no strings")?.to_vec()))
    }

    fn at(&self, offset: u32) -> String {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        String::from_utf8_lossy(rest.split(|octet| *octet == 0).next().unwrap_or_default()).into_owned()
    }
}

/// Returns the kernel's data on an object; `ask` sets where parts of variable length go.
fn info<T>(object: BorrowedFd<'_>, ask: impl FnOnce(&mut T)) -> Result<T> {
    // SAFETY: all fields of both kinds of info are numbers.
    let (mut info, mut attr): (T, bpf_attr) = unsafe { (zeroed(), zeroed()) };
    ask(&mut info);
    attr.info.bpf_fd = object.as_raw_fd() as u32;
    attr.info.info_len = size_of::<T>() as u32;
    attr.info.info = &raw mut info as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> Result<i32> {
    // SAFETY: the attributes are of this size and outlive the call; what they point at does too, and has the room that
    // they state.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command as u32, std::ptr::from_mut(attr), size_of::<bpf_attr>()) };
    ensure!(result >= 0, "bpf(2) command {}: {}", command as u32, io::Error::last_os_error());
    Ok(result as i32)
}
