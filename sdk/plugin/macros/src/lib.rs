//! The attributes of `millrace-plugin`: each makes a function or an implementation the plugin of its crate.
//!
//! What they add is the state's place and the exports of the kind's world, for WebAssembly only; natively a
//! plugin is its trait's implementation and nothing else, so that tests can run it.

mod export;
mod function;

use proc_macro::TokenStream;
use syn::{Item, parse_macro_input};

/// Makes a function, or an implementation of `Transform`, the plugin.
///
/// The function takes a record and the outputs and returns nothing or a `Result<()>`. For tests a type of its
/// name implements the trait.
#[proc_macro_attribute]
pub fn transform(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(export::Kind::Transform, arguments, item)
}

/// Makes a function, or an implementation of `Partitioner`, the plugin.
///
/// The function takes a record and the number of partitions and returns a `u32` or a `Result<u32>`. For tests
/// a type of its name implements the trait.
#[proc_macro_attribute]
pub fn partitioner(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(export::Kind::Partitioner, arguments, item)
}

/// Makes a function, or an implementation of `Sink`, the plugin.
///
/// The function takes a batch and its token and returns a `Result<(), DeliveryError>`. For tests a type of
/// its name implements the trait.
#[proc_macro_attribute]
pub fn sink(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(export::Kind::Sink, arguments, item)
}

fn expand(kind: export::Kind, arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = proc_macro2::TokenStream::from(arguments);
    if !arguments.is_empty() {
        return syn::Error::new_spanned(arguments, "this attribute takes no arguments")
            .to_compile_error()
            .into();
    }
    let expanded = match parse_macro_input!(item as Item) {
        Item::Fn(function) => function::expand(kind, &function),
        Item::Impl(block) => export::expand(kind, &block),
        other => Err(syn::Error::new_spanned(
            other,
            format!("this attribute goes on a function or on an `impl {} for …`", kind.trait_name()),
        )),
    };
    expanded.unwrap_or_else(|error| error.to_compile_error()).into()
}
