//! Writes the implementations.
//!
//! The generated code stays thin: what a type looks like on the wire is said by its `Wire` implementation in
//! `rohrpost_protocol::wire`, and here only which field is there in which version. One `put` serves both the
//! length and the encoding (it is generic over where the bytes go), so the two cannot disagree.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Lifetime, spanned::Spanned};

use crate::parse::{Container, Field, Role, Versions, WholeMessage, is_null};

/// All implementations for one struct.
pub(crate) fn implementations(container: &Container) -> TokenStream {
    let default = default_impl(container);
    let wire = wire_impl(container);
    let message = container.message.as_ref().map(|message| message_impl(container, message));
    quote! { #default #wire #message }
}

fn default_impl(container: &Container) -> TokenStream {
    let name = &container.name;
    let (generics, ty_generics, _) = container.generics.split_for_impl();
    let fields = container.fields.iter().map(|field| {
        let (name, value) = (&field.name, default_of(field));
        quote!(#name: #value)
    });
    let unknown = unknown_tags(container, quote!(::core::default::Default::default()));
    quote! {
        #[automatically_derived]
        impl #generics ::core::default::Default for #name #ty_generics {
            fn default() -> Self {
                Self { #(#fields,)* #unknown }
            }
        }
    }
}

fn wire_impl(container: &Container) -> TokenStream {
    let name = &container.name;
    let (lifetime, generics) = input_lifetime(container);
    let (_, ty_generics, _) = container.generics.split_for_impl();
    let (min_len, put, take) = (min_len_body(container), put_body(container), take_body(container));
    quote! {
        #[automatically_derived]
        #[allow(unused_variables)]
        impl #generics ::rohrpost_protocol::wire::Wire<#lifetime> for #name #ty_generics {
            fn min_len(cx: ::rohrpost_protocol::wire::Context) -> usize {
                #min_len
            }
            fn put<S: ::rohrpost_protocol::wire::Sink>(
                &self,
                out: &mut S,
                cx: ::rohrpost_protocol::wire::Context,
            ) -> ::core::result::Result<(), ::rohrpost_protocol::EncodeError> {
                #put
            }
            fn take(
                input: &mut ::rohrpost_protocol::Decoder<#lifetime>,
                cx: ::rohrpost_protocol::wire::Context,
            ) -> ::core::result::Result<Self, ::rohrpost_protocol::DecodeError> {
                #take
            }
        }
        #[automatically_derived]
        impl #generics ::rohrpost_protocol::wire::Nullable<#lifetime> for #name #ty_generics {}
    }
}

fn message_impl(container: &Container, message: &WholeMessage) -> TokenStream {
    let name = &container.name;
    let text = name.to_string();
    let (lifetime, generics) = input_lifetime(container);
    let (_, ty_generics, _) = container.generics.split_for_impl();
    let versions = range(message.versions);
    let flexible = message.flexible.map_or(quote!(::rohrpost_protocol::VersionRange::NONE), range);
    let stable = range(Versions {
        min: message.versions.min,
        max: message
            .unstable
            .map_or(message.versions.max, |unstable| message.versions.max.min(unstable.min - 1)),
    });
    let role = match &message.role {
        Role::Plain => quote!(),
        Role::Request { api, response } => quote! {
            #[automatically_derived]
            impl #generics ::rohrpost_protocol::Request<#lifetime> for #name #ty_generics {
                const API_KEY: ::rohrpost_protocol::ApiKey = ::rohrpost_protocol::ApiKey::#api;
                type Response<'r> = #response;
            }
        },
        Role::Response { api } => quote! {
            #[automatically_derived]
            impl #generics ::rohrpost_protocol::Response<#lifetime> for #name #ty_generics {
                const API_KEY: ::rohrpost_protocol::ApiKey = ::rohrpost_protocol::ApiKey::#api;
            }
        },
        Role::LogRecord { number } => quote! {
            #[automatically_derived]
            impl #generics ::rohrpost_protocol::metadata_log::LogRecord<#lifetime> for #name #ty_generics {
                const RECORD_TYPE: u16 = #number;
            }
        },
    };
    quote! {
        #[automatically_derived]
        impl #generics ::rohrpost_protocol::Message<#lifetime> for #name #ty_generics {
            const NAME: &'static str = #text;
            const VERSIONS: ::rohrpost_protocol::VersionRange = #versions;
            const STABLE_VERSIONS: ::rohrpost_protocol::VersionRange = #stable;
            const FLEXIBLE_VERSIONS: ::rohrpost_protocol::VersionRange = #flexible;
        }
        #role
    }
}

/// The fewest bytes that a value takes: what bounds a declared count before anything is allocated.
fn min_len_body(container: &Container) -> TokenStream {
    let parts = container.fields.iter().map(|field| {
        let (ty, cx) = (&field.ty, context_of(field));
        let there = untagged_when(field);
        let len = quote_spanned! { ty.span() => <#ty as ::rohrpost_protocol::wire::Wire<'_>>::min_len(#cx) };
        quote! { if #there { len += #len; } }
    });
    quote! {
        let mut len = usize::from(cx.flexible);
        #(#parts)*
        len
    }
}

fn put_body(container: &Container) -> TokenStream {
    let message = container.name.to_string();
    let fields = container.fields.iter().map(|field| put_field(&message, field));
    let tagged = tagged_fields(container);
    let flags: Vec<_> = tagged.iter().map(|(_, field)| format_ident!("has_{}", field.name)).collect();
    let tests = tagged.iter().map(|(_, field)| {
        let (name, there, default) = (&field.name, tagged_when(field), default_of(field));
        quote!(#there && ::rohrpost_protocol::wire::differs(&self.#name, &#default))
    });
    let puts = tagged.iter().zip(&flags).map(|((number, field), flag)| {
        let (there, put, text) = (tagged_when(field), put_value(field), field.name.to_string());
        quote! {
            if #there {
                unknown.put_below(#number, out, #message)?;
                if #flag {
                    let mut length = ::rohrpost_protocol::wire::Length::default();
                    {
                        let out = &mut length;
                        #put.map_err(|e| e.within(#message, #text))?;
                    }
                    ::rohrpost_protocol::wire::put_tag(out, #number, length)?;
                    #put.map_err(|e| e.within(#message, #text))?;
                }
            }
        }
    });
    let kept = if container.keeps_unknown_tags {
        quote!(self.unknown_tags.writer())
    } else {
        quote!(::rohrpost_protocol::UnknownTags::NONE.writer())
    };
    let refuse = container.keeps_unknown_tags.then(|| {
        quote! { else { self.unknown_tags.refuse_if_any(#message, cx.version)?; } }
    });
    quote! {
        #(#fields)*
        if cx.flexible {
            #(let #flags = #tests;)*
            let mut unknown = #kept;
            let count = unknown.len() #(+ usize::from(#flags))*;
            ::rohrpost_protocol::wire::put_count(out, count)?;
            #(#puts)*
            unknown.put_rest(out);
        } #refuse
        ::core::result::Result::Ok(())
    }
}

/// Writes an untagged field where the version has it, and refuses a value that would be lost where it has not.
fn put_field(message: &str, field: &Field) -> TokenStream {
    let (name, text, default) = (&field.name, field.name.to_string(), default_of(field));
    let put = put_value(field);
    let (untagged, exists) = (untagged_when(field), contains(field.versions));
    let refuse = (!field.ignorable && field.versions != Versions::ALL).then(|| {
        quote! {
            if !(#exists) && ::rohrpost_protocol::wire::differs(&self.#name, &#default) {
                return ::core::result::Result::Err(
                    ::rohrpost_protocol::EncodeError::not_in_version(#message, #text, cx.version));
            }
        }
    });
    let never_untagged = field.tag.is_some_and(|(_, versions)| covers(versions, field.versions));
    let write = (!never_untagged).then(|| {
        quote! { if #untagged { #put.map_err(|e| e.within(#message, #text))?; } }
    });
    quote! { #write #refuse }
}

fn take_body(container: &Container) -> TokenStream {
    let message = container.name.to_string();
    let locals: Vec<_> = container.fields.iter().map(|field| format_ident!("field_{}", field.name)).collect();
    let takes = container.fields.iter().zip(&locals).map(|(field, local)| {
        let (ty, text, default, take) =
            (&field.ty, field.name.to_string(), default_of(field), take_value(field));
        let untagged = untagged_when(field);
        let (sometimes_tagged, always_tagged) =
            field.tag.map_or((false, false), |(_, versions)| (true, covers(versions, field.versions)));
        let mutable = sometimes_tagged.then(|| quote!(mut));
        if always_tagged {
            quote! { let mut #local: #ty = #default; }
        } else {
            quote! {
                let #mutable #local: #ty = if #untagged {
                    #take.map_err(|e| e.within(#message, #text))?
                } else {
                    #default
                };
            }
        }
    });
    let arms = tagged_fields(container).into_iter().map(|(number, field)| {
        let (local, text, take) =
            (format_ident!("field_{}", field.name), field.name.to_string(), take_value(field));
        let there = tagged_when(field);
        quote! { #number if #there => #local = #take.map_err(|e| e.within(#message, #text))?, }
    });
    let (unknown, keep) = if container.keeps_unknown_tags {
        (
            quote!(let mut unknown_tags = ::rohrpost_protocol::UnknownTags::NONE;),
            quote!(tags.keep(input, &mut unknown_tags)?),
        )
    } else {
        (quote!(), quote!(tags.skip(input)))
    };
    let names = container.fields.iter().map(|field| &field.name);
    let unknown_field = container.keeps_unknown_tags.then(|| quote!(unknown_tags));
    quote! {
        #(#takes)*
        #unknown
        if cx.flexible {
            let mut tags = ::rohrpost_protocol::wire::TagReader::start(input)?;
            while let ::core::option::Option::Some(tag) = tags.open(input).map_err(|e| e.within(#message, "tagged fields"))? {
                match tag {
                    #(#arms)*
                    _ => #keep,
                }
                tags.close(input).map_err(|e| e.within(#message, "tagged fields"))?;
            }
        }
        ::core::result::Result::Ok(Self { #(#names: #locals,)* #unknown_field })
    }
}

fn put_value(field: &Field) -> TokenStream {
    let (name, cx) = (&field.name, context_of(field));
    if field.is_option && field.nullable != Versions::ALL {
        let nullable = contains(field.nullable);
        quote_spanned! { field.ty.span() => ::rohrpost_protocol::wire::put_option(&self.#name, out, #cx, #nullable) }
    } else {
        quote_spanned! { field.ty.span() => ::rohrpost_protocol::wire::Wire::put(&self.#name, out, #cx) }
    }
}

fn take_value(field: &Field) -> TokenStream {
    let (ty, cx) = (&field.ty, context_of(field));
    if field.is_option && field.nullable != Versions::ALL {
        let nullable = contains(field.nullable);
        quote_spanned! { ty.span() => ::rohrpost_protocol::wire::take_option(input, #cx, #nullable) }
    } else {
        quote_spanned! { ty.span() => <#ty as ::rohrpost_protocol::wire::Wire<'_>>::take(input, #cx) }
    }
}

fn default_of(field: &Field) -> TokenStream {
    match &field.default {
        None if field.is_option => quote!(::core::option::Option::Some(::core::default::Default::default())),
        None => quote!(::core::default::Default::default()),
        default if is_null(default.as_ref()) => quote!(::core::option::Option::None),
        Some(value) if field.is_option => quote!(::core::option::Option::Some(#value)),
        Some(value) => quote!(#value),
    }
}

/// Tagged fields with their tags, in the order in which they must be written.
fn tagged_fields(container: &Container) -> Vec<(u32, &Field)> {
    let mut tagged: Vec<_> =
        container.fields.iter().filter_map(|field| Some((field.tag?.0, field))).collect();
    tagged.sort_by_key(|(number, _)| *number);
    tagged
}

fn unknown_tags(container: &Container, value: TokenStream) -> Option<TokenStream> {
    container.keeps_unknown_tags.then(|| quote!(unknown_tags: #value))
}

fn context_of(field: &Field) -> TokenStream {
    if field.never_compact { quote!(cx.not_flexible()) } else { quote!(cx) }
}

fn untagged_when(field: &Field) -> TokenStream {
    let exists = contains(field.versions);
    match field.tag {
        None => exists,
        Some((_, versions)) if covers(versions, field.versions) => quote!(false),
        Some((_, versions)) => {
            let tagged = contains(versions);
            quote!((#exists && !(#tagged)))
        }
    }
}

fn tagged_when(field: &Field) -> TokenStream {
    field.tag.map_or(quote!(false), |(_, versions)| contains(versions))
}

/// A test of the version at hand; bounds that always hold are left out.
fn contains(versions: Versions) -> TokenStream {
    let Versions { min, max } = versions;
    match (min, max) {
        (0, i16::MAX) => quote!(true),
        (_, i16::MAX) => quote!((cx.version >= #min)),
        (0, _) => quote!((cx.version <= #max)),
        _ => quote!((cx.version >= #min && cx.version <= #max)),
    }
}

fn covers(outer: Versions, inner: Versions) -> bool {
    outer.min <= inner.min && outer.max >= inner.max
}

fn range(versions: Versions) -> TokenStream {
    let Versions { min, max } = versions;
    quote!(::rohrpost_protocol::VersionRange::new(#min, #max))
}

/// The lifetime of the decoder's input: the struct's own, or a fresh one for a struct that borrows nothing.
fn input_lifetime(container: &Container) -> (Lifetime, TokenStream) {
    let lifetime = match container.generics.lifetimes().next() {
        Some(own) => own.lifetime.clone(),
        None => Lifetime::new("'input", Span::call_site()),
    };
    (lifetime.clone(), quote!(<#lifetime>))
}
