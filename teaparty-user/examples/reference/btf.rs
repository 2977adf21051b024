//! Reads BTF: the types by which a BPF object describes its maps.

use anyhow::{Context, Result, ensure};

const MAGIC: u16 = 0xeb9f;

/// A type, as far as maps need it.
#[derive(Debug)]
pub(crate) enum Type {
    /// An integer of this size in bytes.
    Int { size: u32, is_signed: bool },
    /// A pointer.
    Pointer(usize),
    /// So many of one type.
    Array { of: usize, count: u32 },
    /// A structure or a union.
    Struct { name: String, members: Vec<Member> },
    /// Another name, or another qualification, of a type.
    Other(usize),
    /// Variables of a section.
    Section { name: String, variables: Vec<usize> },
    /// A variable.
    Variable { name: String, of: usize },
    /// Anything else.
    Unknown,
}

/// A member of a structure.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) of: usize,
    /// Its place in bytes.
    pub(crate) offset: u32,
}

/// Reads little-endian words, one after the other.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn next(&mut self) -> Result<u32> {
        let (word, rest) = self.0.split_first_chunk::<4>().context("BTF ends early")?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*word))
    }
}

/// Returns all types by their numbers; 0 is void.
pub(crate) fn parse(data: &[u8]) -> Result<Vec<Type>> {
    ensure!(data.len() > 24 && u16::from_le_bytes([data[0], data[1]]) == MAGIC, "this is no BTF");
    let mut head = Words(&data[4..24]);
    let [header, types_at, types_len, strings_at, strings_len] =
        [head.next()?, head.next()?, head.next()?, head.next()?, head.next()?].map(|word| word as usize);
    let part = |at: usize, len: usize| data.get(header + at..header + at + len).context("BTF ends early");
    let strings = part(strings_at, strings_len)?;
    let name = |at: u32| {
        let rest = strings.get(at as usize..).unwrap_or_default();
        String::from_utf8_lossy(rest.split(|octet| *octet == 0).next().unwrap_or_default()).into_owned()
    };
    let mut words = Words(part(types_at, types_len)?);
    let mut types = vec![Type::Unknown];
    while !words.0.is_empty() {
        types.push(next(&mut words, &name)?);
    }
    Ok(types)
}

/// Reads one type.
fn next(words: &mut Words<'_>, name: &impl Fn(u32) -> String) -> Result<Type> {
    let (own, info, size_or_type) = (name(words.next()?), words.next()?, words.next()?);
    let (kind, count) = ((info >> 24) & 0x1f, info & 0xffff);
    let of = size_or_type as usize;
    let skip = |words: &mut Words<'_>, each: u32| (0..count * each).try_for_each(|_| words.next().map(drop));
    Ok(match kind {
        1 => {
            let is_signed = (words.next()? >> 24) & 1 == 1;
            Type::Int { size: size_or_type, is_signed }
        }
        2 => Type::Pointer(of),
        3 => {
            let [of, _, count] = [words.next()?, words.next()?, words.next()?];
            Type::Array { of: of as usize, count }
        }
        4 | 5 => {
            let mut members = Vec::new();
            for _ in 0..count {
                let [own, of, offset] = [words.next()?, words.next()?, words.next()?];
                // With bit fields, their size is above.
                let bits = if info >> 31 == 1 { offset & 0xff_ffff } else { offset };
                members.push(Member { name: name(own), of: of as usize, offset: bits / 8 });
            }
            Type::Struct { name: own, members }
        }
        8..=11 | 18 => Type::Other(of),
        14 => {
            words.next()?;
            Type::Variable { name: own, of }
        }
        15 => {
            let mut variables = Vec::new();
            for _ in 0..count {
                let [of, _, _] = [words.next()?, words.next()?, words.next()?];
                variables.push(of as usize);
            }
            Type::Section { name: own, variables }
        }
        6 | 13 => {
            skip(words, 2)?;
            Type::Unknown
        }
        19 => {
            skip(words, 3)?;
            Type::Unknown
        }
        17 => {
            words.next()?;
            Type::Unknown
        }
        _ => Type::Unknown,
    })
}
