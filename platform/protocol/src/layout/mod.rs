//! Checks the lengths in a message before `kafka-protocol` decodes it.
//!
//! That crate allocates an array for as many elements as the wire announces, so five bytes could ask for
//! gigabytes. Here each message's wire layout stands as a table; a walk over the bytes adds up what the
//! decoder will allocate and refuses a message beyond [`memory_budget`]. The walk copies nothing and
//! consumes exactly what the decoder consumes, which tests and the fuzzer check.

mod consumer_groups;
mod groups;
mod requests;
mod responses;
#[cfg(test)]
mod tests;
mod transactions;
mod walk;

use kafka_protocol::protocol::{Decodable, Message};

pub(crate) use walk::check;

/// A message (or a part of one) whose wire layout is known, so that it can be decoded from strangers' bytes.
pub trait Guarded: Decodable + Message {
    const LAYOUT: &'static Layout;
}

/// Memory that decoding `frame` bytes may take: honest messages need up to seven times their size (a Fetch
/// response of many empty partitions), and small ones with short strings somewhat more.
pub const fn memory_budget(frame: usize) -> usize {
    8 * frame + 1024 * 1024
}

/// The wire layout of one struct in all its versions.
#[derive(Debug)]
pub struct Layout {
    /// The first version with compact lengths and tagged fields (KIP-482).
    flexible_since: i16,
    /// Size of the decoded struct, without what it points to.
    memory: usize,
    fields: &'static [Field],
    tagged: &'static [(u32, Field)],
}

/// One field, and the versions that have it.
#[derive(Debug)]
struct Field {
    name: &'static str,
    since: i16,
    until: i16,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// So many bytes.
    Fixed(usize),
    String,
    Bytes,
    /// An array of numbers of so many bytes.
    Numbers(usize),
    Strings,
    Array(&'static Layout),
    Struct(&'static Layout),
    /// A struct behind a byte that says whether it is there.
    Optional(&'static Layout),
}

const I8: Kind = Kind::Fixed(1);
const I16: Kind = Kind::Fixed(2);
const I32: Kind = Kind::Fixed(4);
const I64: Kind = Kind::Fixed(8);
const BOOL: Kind = Kind::Fixed(1);
const UUID: Kind = Kind::Fixed(16);
const STRING: Kind = Kind::String;
const BYTES: Kind = Kind::Bytes;
const I32_ARRAY: Kind = Kind::Numbers(4);
const STRING_ARRAY: Kind = Kind::Strings;

const fn array<T: Guarded>() -> Kind {
    Kind::Array(T::LAYOUT)
}

const fn nested<T: Guarded>() -> Kind {
    Kind::Struct(T::LAYOUT)
}

const fn optional<T: Guarded>() -> Kind {
    Kind::Optional(T::LAYOUT)
}

/// The first of the given versions, or the default.
macro_rules! version_or {
    ($default:expr) => {
        $default
    };
    ($default:expr, $version:literal) => {
        $version
    };
}

/// Implements [`Guarded`]: fields in wire order, `since` and `until` the versions that have them (all, if
/// left out), then the known tagged fields by tag.
macro_rules! layouts {
    ($(
        $module:ident :: $message:ident, flexible $flexible:literal {
            $($field:ident : $kind:expr_2021 $(, since $since:literal)? $(, until $until:literal)? ;)*
        } $(, tagged {
            $($tag:literal => $tagged:ident : $tagged_kind:expr_2021 $(, since $tagged_since:literal)? ;)*
        })?
    )*) => {$(
        impl crate::layout::Guarded for $module::$message {
            const LAYOUT: &'static crate::layout::Layout = &crate::layout::Layout {
                flexible_since: $flexible,
                memory: size_of::<Self>(),
                fields: &[$(crate::layout::Field {
                    name: stringify!($field),
                    since: version_or!(0 $(, $since)?),
                    until: version_or!(i16::MAX $(, $until)?),
                    kind: $kind,
                }),*],
                tagged: &[$($(($tag, crate::layout::Field {
                    name: stringify!($tagged),
                    since: version_or!($flexible $(, $tagged_since)?),
                    until: i16::MAX,
                    kind: $tagged_kind,
                })),*)?],
            };
        }

        // Every field named above is one of the message's.
        const _: fn(&$module::$message) = |message| {
            $(let _ = &message.$field;)*
            $($(let _ = &message.$tagged;)*)?
        };
    )*};
}
pub(crate) use layouts;
pub(crate) use version_or;
