//! The contract as `sdk/wit/plugin.wit` states it, and how a module's interface is compared with it.
//!
//! Comparing types by their text, with every name resolved, lets a message show what is there and what is
//! required; the engine checks the same again when it links.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use wit_parser::{Function, Handle, Resolve, Type, TypeDefKind, WorldId, WorldItem, WorldKey};

use super::Kind;

const CONTRACT: &str = include_str!("../../../../sdk/wit/plugin.wit");

/// Namespace and name of the contract's package.
pub(super) const PACKAGE: &str = "millrace:plugin";

/// One kind's world.
#[derive(Debug)]
pub(super) struct World {
    /// Type of each function that must be exported.
    pub exports: BTreeMap<String, String>,
    /// Interfaces of the contract that may be imported, without their version.
    pub imports: Vec<String>,
}

/// The contract that this host implements.
#[derive(Debug)]
pub(super) struct Contract {
    pub version: semver::Version,
    worlds: [World; 3],
}

impl Contract {
    pub fn world(&self, kind: Kind) -> &World {
        &self.worlds[kind as usize]
    }
}

pub(super) static OURS: LazyLock<Contract> = LazyLock::new(|| {
    // The text is part of this program, and a test reads it.
    let mut resolve = Resolve::default();
    let package = resolve.push_str("plugin.wit", CONTRACT).expect("the contract is well-formed");
    let version = resolve.packages[package].name.version.clone().expect("the contract has a version");
    let worlds = Kind::ALL.map(|kind| {
        let world = resolve.packages[package].worlds.get(kind.world()).expect("every kind has a world");
        World { exports: functions(&resolve, *world), imports: imports(&resolve, *world) }
    });
    Contract { version, worlds }
});

/// The contract's version, as the imports of modules name it.
pub(crate) fn version() -> String {
    OURS.version.to_string()
}

/// The functions that `world` exports itself, not in an interface, with their types.
pub(super) fn functions(resolve: &Resolve, world: WorldId) -> BTreeMap<String, String> {
    let exports = resolve.worlds[world].exports.values();
    exports
        .filter_map(|item| match item {
            WorldItem::Function(function) => Some((function.name.clone(), function_type(resolve, function))),
            _ => None,
        })
        .collect()
}

fn imports(resolve: &Resolve, world: WorldId) -> Vec<String> {
    let names = names(resolve, resolve.worlds[world].imports.iter());
    names.iter().map(|name| without_version(name).to_owned()).collect()
}

/// Names of imports or exports as the binary has them. Types, which a world's `use` adds, are not asked for.
pub(super) fn names<'a>(
    resolve: &Resolve,
    items: impl Iterator<Item = (&'a WorldKey, &'a WorldItem)>,
) -> Vec<String> {
    let items = items.filter(|(_, item)| !matches!(item, WorldItem::Type { .. }));
    items.map(|(key, _)| resolve.name_world_key(key)).collect()
}

pub(super) fn without_version(name: &str) -> &str {
    name.split_once('@').map_or(name, |(name, _)| name)
}

fn function_type(resolve: &Resolve, function: &Function) -> String {
    let params = function.params.iter();
    let params: Vec<_> =
        params.map(|param| format!("{}: {}", param.name, type_text(resolve, &param.ty))).collect();
    let result =
        function.result.as_ref().map_or(String::new(), |ty| format!(" -> {}", type_text(resolve, ty)));
    format!("func({}){result}", params.join(", "))
}

fn type_text(resolve: &Resolve, ty: &Type) -> String {
    let Type::Id(id) = ty else { return primitive(ty).to_owned() };
    let text = |ty: &Type| type_text(resolve, ty);
    let optional = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".to_owned(), text);
    let list = |types: Vec<String>| types.join(", ");
    match &resolve.types[*id].kind {
        TypeDefKind::Type(ty) => text(ty),
        TypeDefKind::List(ty) => format!("list<{}>", text(ty)),
        TypeDefKind::Option(ty) => format!("option<{}>", text(ty)),
        TypeDefKind::Result(result) => match (&result.ok, &result.err) {
            (None, None) => "result".to_owned(),
            (ok, None) => format!("result<{}>", optional(ok)),
            (ok, err) => format!("result<{}, {}>", optional(ok), optional(err)),
        },
        TypeDefKind::Tuple(tuple) => format!("tuple<{}>", list(tuple.types.iter().map(text).collect())),
        TypeDefKind::Record(record) => {
            let fields = record.fields.iter().map(|field| format!("{}: {}", field.name, text(&field.ty)));
            format!("record {{ {} }}", list(fields.collect()))
        }
        TypeDefKind::Variant(variant) => {
            let cases = variant.cases.iter().map(|case| match &case.ty {
                Some(ty) => format!("{}({})", case.name, text(ty)),
                None => case.name.clone(),
            });
            format!("variant {{ {} }}", list(cases.collect()))
        }
        TypeDefKind::Enum(cases) => {
            let cases = cases.cases.iter().map(|case| case.name.clone());
            format!("enum {{ {} }}", list(cases.collect()))
        }
        TypeDefKind::Flags(flags) => {
            let flags = flags.flags.iter().map(|flag| flag.name.clone());
            format!("flags {{ {} }}", list(flags.collect()))
        }
        TypeDefKind::Handle(Handle::Own(id)) => format!("own<{}>", text(&Type::Id(*id))),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", text(&Type::Id(*id))),
        other => other.as_str().to_owned(),
    }
}

const fn primitive(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::U8 => "u8",
        Type::U16 => "u16",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::S8 => "s8",
        Type::S16 => "s16",
        Type::S32 => "s32",
        Type::S64 => "s64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::ErrorContext => "error-context",
        Type::Id(_) => "a type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_reads_as_it_is_meant() {
        let transform = OURS.world(Kind::Transform);
        assert_eq!(transform.exports["transform"], "func(batch: list<u8>) -> result<_, string>");
        assert!(transform.exports["start"].starts_with("func(context: record { deployment: string, "));
        assert!(transform.imports.contains(&"millrace:plugin/output".to_owned()));
        let sink = OURS.world(Kind::Sink);
        assert_eq!(
            sink.exports["deliver"],
            "func(batch: list<u8>, token: string) -> result<_, record { fault: enum { retryable, record, \
             target }, delivered: u32, retry-after-ms: option<u64>, message: string }>"
        );
        assert!(!sink.imports.contains(&"millrace:plugin/output".to_owned()));
        for kind in Kind::ALL {
            assert!(OURS.world(kind).exports.contains_key(kind.export()), "{kind}");
        }
    }
}
