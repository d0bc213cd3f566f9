//! Modules to measure with, made of one that is there: many that differ, and large ones.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

/// Begins every core module: the magic number and the version.
const PREAMBLE: [u8; 8] = *b"\0asm\x01\0\0\0";
const CUSTOM_SECTION: u8 = 0;
const FUNCTION_SECTION: u8 = 3;
const CODE_SECTION: u8 = 10;

/// Reads a module; the error says how the default one is made.
pub fn read(path: &Path) -> Result<Bytes> {
    let read = std::fs::read(path);
    let read =
        read.with_context(|| format!("read {}: plugins/build.sh makes the default module", path.display()));
    Ok(read?.into())
}

/// The same module with another digest: a custom section that holds `number`.
pub fn distinct(module: &[u8], number: u32) -> Bytes {
    let mut bytes = module.to_vec();
    bytes.extend([CUSTOM_SECTION, 6, 1, b'n']);
    bytes.extend(number.to_le_bytes());
    bytes.into()
}

/// The module with its own functions once more, and once more, until it has at least `len` bytes. All of the
/// code is there to be compiled, and the copies are never called.
pub fn padded(module: &[u8], len: usize) -> Result<Bytes> {
    let sections = sections(module)?;
    let of = |id| sections.iter().find(|section| section.id == id).context("the module has no functions");
    let (types, bodies) = (functions(of(FUNCTION_SECTION)?.body)?, code(of(CODE_SECTION)?.body)?);
    ensure!(
        types.len() == bodies.len() && !bodies.is_empty(),
        "the module's functions and their code differ"
    );
    // A function is its body, and the number of its type elsewhere.
    let each = bodies.iter().map(|body| body.len() + 1).sum();
    let copies = 1 + len.saturating_sub(module.len()).div_ceil(each);
    let mut padded = PREAMBLE.to_vec();
    for section in &sections {
        let body = match section.id {
            FUNCTION_SECTION => {
                let mut body = vector_of(types.len() * copies)?;
                (0..copies).flat_map(|_| &types).for_each(|index| put(&mut body, *index));
                body
            }
            CODE_SECTION => {
                let mut body = vector_of(bodies.len() * copies)?;
                (0..copies).flat_map(|_| &bodies).for_each(|function| body.extend_from_slice(function));
                body
            }
            _ => section.body.to_vec(),
        };
        padded.push(section.id);
        put(&mut padded, u32::try_from(body.len())?);
        padded.extend(body);
    }
    Ok(padded.into())
}

struct Section<'m> {
    id: u8,
    body: &'m [u8],
}

fn sections(module: &[u8]) -> Result<Vec<Section<'_>>> {
    let rest = module.strip_prefix(&PREAMBLE);
    let mut rest = rest.context("not a core module, whose sections could be read")?;
    let mut sections = Vec::new();
    while let Some((&id, after)) = rest.split_first() {
        rest = after;
        sections.push(Section { id, body: sized(&mut rest)? });
    }
    Ok(sections)
}

/// The functions' types, by their indexes.
fn functions(mut body: &[u8]) -> Result<Vec<u32>> {
    (0..take(&mut body)?).map(|_| take(&mut body)).collect()
}

/// The functions' bodies, each with its length before it.
fn code(mut body: &[u8]) -> Result<Vec<&[u8]>> {
    let count = take(&mut body)?;
    let function = |_| {
        let from = body;
        sized(&mut body)?;
        Ok(&from[..from.len() - body.len()])
    };
    (0..count).map(function).collect()
}

fn vector_of(len: usize) -> Result<Vec<u8>> {
    let mut vector = Vec::new();
    put(&mut vector, u32::try_from(len)?);
    Ok(vector)
}

/// A length and as many bytes.
fn sized<'m>(bytes: &mut &'m [u8]) -> Result<&'m [u8]> {
    let len = take(bytes)? as usize;
    let (sized, after) = bytes.split_at_checked(len).context("the module is cut off")?;
    *bytes = after;
    Ok(sized)
}

/// An unsigned LEB128 number.
fn take(bytes: &mut &[u8]) -> Result<u32> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let (&byte, after) = bytes.split_first().context("the module is cut off")?;
        *bytes = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(u32::try_from(value)?);
        }
    }
    anyhow::bail!("a number in the module is too long")
}

fn put(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two functions without parameters that do nothing, the second exported as `f`.
    const MODULE: &[u8] = b"\0asm\x01\0\0\0\
        \x01\x04\x01\x60\0\0\
        \x03\x03\x02\0\0\
        \x07\x05\x01\x01f\0\x01\
        \x0a\x07\x02\x02\0\x0b\x02\0\x0b";

    #[test]
    fn numbers_survive() {
        for value in [0, 1, 127, 128, 300, u32::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            let mut rest = &bytes[..];
            assert_eq!(take(&mut rest).unwrap(), value);
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn modules_differ_by_their_numbers_alone() {
        let (one, other) = (distinct(MODULE, 1), distinct(MODULE, 2));
        assert_ne!(one, other);
        for module in [one, other] {
            let sections = sections(&module).unwrap();
            assert_eq!(sections.last().unwrap().id, CUSTOM_SECTION);
            assert_eq!(sections.len(), 5);
            assert!(module.starts_with(MODULE));
        }
    }

    #[test]
    fn a_padded_module_has_its_functions_many_times_and_all_else_once() {
        let padded = padded(MODULE, 10_000).unwrap();
        assert!((10_000..10_200).contains(&padded.len()), "{}", padded.len());
        let (before, after) = (sections(MODULE).unwrap(), sections(&padded).unwrap());
        let ids: Vec<u8> = after.iter().map(|section| section.id).collect();
        assert_eq!(ids, [1, FUNCTION_SECTION, 7, CODE_SECTION]);
        assert_eq!((after[0].body, after[2].body), (before[0].body, before[2].body));
        let bodies = code(after[3].body).unwrap();
        assert_eq!(functions(after[1].body).unwrap().len(), bodies.len());
        assert!(bodies.iter().all(|body| *body == b"\x02\0\x0b"));
    }

    #[test]
    fn what_is_no_module_is_refused() {
        assert!(padded(b"\0asm\x0d\0\x01\0", 10).is_err());
        assert!(padded(&MODULE[..MODULE.len() - 1], 10).is_err());
        assert!(padded(&PREAMBLE, 10).unwrap_err().to_string().contains("no functions"));
    }
}
