//! A function as a plugin: a type of its name with the trait's implementation around it.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, Result, parse_quote};

use crate::export::{Kind, exports};

/// The function as it stands, the type, and the exports.
pub(crate) fn expand(kind: Kind, function: &ItemFn) -> Result<TokenStream> {
    let signature = &function.sig;
    let expected = match kind {
        Kind::Transform => "fn(record: &Record<'_>, out: &mut Outputs)",
        Kind::Partitioner => "fn(record: &Record<'_>, partitions: u32) -> u32",
        Kind::Sink => "fn(batch: &Batch<'_>, token: &str) -> Result<(), DeliveryError>",
    };
    let plain = signature.generics.params.is_empty() && signature.asyncness.is_none();
    if signature.inputs.len() != 2 || !plain {
        return Err(Error::new_spanned(signature, format!("expected `{expected}`")));
    }
    let (name, visibility) = (&signature.ident, &function.vis);
    let sdk = quote!(::millrace_plugin);
    let implementation = match kind {
        Kind::Transform => quote! {
            impl #sdk::Transform for #name {
                fn start(_: &#sdk::Context) -> #sdk::Result<Self> {
                    ::std::result::Result::Ok(Self {})
                }
                #[inline(always)]
                fn transform(&mut self, record: &#sdk::Record<'_>, out: &mut #sdk::Outputs) -> #sdk::Result<()> {
                    #sdk::internal::outcome(#name(record, out))
                }
            }
        },
        Kind::Partitioner => quote! {
            impl #sdk::Partitioner for #name {
                fn start(_: &#sdk::Context) -> #sdk::Result<Self> {
                    ::std::result::Result::Ok(Self {})
                }
                #[inline(always)]
                fn partition(&self, record: &#sdk::Record<'_>, partitions: u32) -> #sdk::Result<u32> {
                    #sdk::internal::Choice::into_choice(#name(record, partitions))
                }
            }
        },
        Kind::Sink => quote! {
            impl #sdk::Sink for #name {
                fn start(_: &#sdk::Context) -> #sdk::Result<Self> {
                    ::std::result::Result::Ok(Self {})
                }
                fn deliver(&mut self, batch: &#sdk::Batch<'_>, token: &str)
                    -> #sdk::Result<(), #sdk::DeliveryError>
                {
                    #sdk::internal::delivered(#name(batch, token))
                }
            }
        },
    };
    let exports = exports(kind, &parse_quote!(#name));
    // A braced struct lives among the types only, so that function and type can share the name.
    Ok(quote! {
        #function

        #[doc(hidden)]
        #[allow(non_camel_case_types)]
        #[derive(Debug)]
        #visibility struct #name {}

        #implementation
        #exports
    })
}
