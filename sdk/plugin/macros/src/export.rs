//! The exports of an implementation.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, ItemImpl, Result, Type};

/// The kinds of plugins.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Transform,
    Partitioner,
    Sink,
}

impl Kind {
    pub(crate) fn trait_name(self) -> &'static str {
        match self {
            Self::Transform => "Transform",
            Self::Partitioner => "Partitioner",
            Self::Sink => "Sink",
        }
    }
}

/// The implementation as it stands, and the exports.
pub(crate) fn expand(kind: Kind, block: &ItemImpl) -> Result<TokenStream> {
    let implemented = block.trait_.as_ref().and_then(|(_, path, _)| path.segments.last());
    if implemented.is_none_or(|segment| segment.ident != kind.trait_name()) {
        let expected = format!("expected `impl {} for …`", kind.trait_name());
        return Err(Error::new(block.self_ty.span(), expected));
    }
    if !block.generics.params.is_empty() {
        return Err(Error::new(block.generics.span(), "a plugin is one type and cannot be generic"));
    }
    let exports = exports(kind, &block.self_ty);
    Ok(quote! {
        #block
        #exports
    })
}

/// The guest's side of the kind's world for the plugin `plugin`.
pub(crate) fn exports(kind: Kind, plugin: &Type) -> TokenStream {
    let internal = quote!(::millrace_plugin::internal);
    let (world, instance, start, call) = match kind {
        Kind::Transform => (
            quote!(transform),
            quote!(TransformInstance),
            quote!(start_transform),
            quote! {
                fn transform(batch: ::std::vec::Vec<u8>)
                    -> ::std::result::Result<(), ::std::string::String>
                {
                    INSTANCE.with(|slot| #internal::transform_batch(slot, batch))
                }
            },
        ),
        Kind::Partitioner => (
            quote!(partitioner),
            quote!(PartitionerInstance),
            quote!(start_partitioner),
            quote! {
                fn partition(batch: ::std::vec::Vec<u8>, partitions: u32)
                    -> ::std::result::Result<::std::vec::Vec<u32>, ::std::string::String>
                {
                    INSTANCE.with(|slot| #internal::partition(slot, &batch, partitions))
                }
            },
        ),
        Kind::Sink => (
            quote!(sink),
            quote!(SinkInstance),
            quote!(start_sink),
            quote! {
                fn deliver(batch: ::std::vec::Vec<u8>, token: ::std::string::String)
                    -> ::std::result::Result<(), #internal::sink::DeliveryError>
                {
                    INSTANCE.with(|slot| #internal::deliver(slot, &batch, &token))
                }
            },
        ),
    };
    quote_spanned! { plugin.span() =>
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
        const _: () = {
            ::std::thread_local! {
                static INSTANCE: #internal::Slot<#internal::#instance<#plugin>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            struct Exports;

            impl #internal::#world::Guest for Exports {
                fn start(context: #internal::#world::Context)
                    -> ::std::result::Result<(), ::std::string::String>
                {
                    INSTANCE.with(|slot| #internal::#start(slot, context))
                }

                #call
            }

            #internal::#world::export!(Exports with_types_in #internal::#world);
        };
    }
}
