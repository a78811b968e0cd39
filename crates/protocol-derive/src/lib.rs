//! `#[derive(Message)]`: length, encoding and bounded decoding of a Kafka message for every version.
//!
//! A message is a plain struct whose fields stand in wire order; attributes say what differs between versions.
//! The derive macro writes `Default`, `Wire` and `Nullable` for every struct, and `Message`, `Request`, `Response`
//! or `LogRecord` for those that say so. It is used through `rohrpost-protocol`, whose traits it implements.
//!
//! | on the struct | meaning |
//! |---|---|
//! | `versions = "3-13"` | a whole message with these versions; without it the struct is a part of others |
//! | `flexible = "9+"` | the versions with compact lengths and tagged fields; none if absent |
//! | `unstable = "6+"` | versions that the codec knows and that must not be advertised |
//! | `request = Produce, response = ProduceResponse<'r>` | the request of this API, and what answers it |
//! | `response_to = Produce` | the response of this API |
//! | `log_record = 2` | a record of the metadata log, with its type |
//!
//! | on a field | meaning |
//! |---|---|
//! | `versions = "5+"` | the versions that have the field (`"5+"`, `"3-12"`, `"7"`); all if absent |
//! | `nullable = "2+"` | an `Option` may be null in all versions, or only in these |
//! | `tag = 0` | a tagged field; `tag_versions = "12+"` if it is tagged only in those |
//! | `default = -1` | the value when absent; `null` for `None`. If not given: zero, false, empty |
//! | `ignorable` | a value that the version lacks is dropped; without it encoding such a value fails |
//! | `flexible = "none"` | keeps its old, not compact encoding in flexible versions too |
//!
//! A field named `unknown_tags` holds the tagged fields that the version does not know, if the decoder keeps them.

mod generate;
mod parse;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements a Kafka message or a part of one; see the crate's documentation for the attributes.
#[proc_macro_derive(Message, attributes(kafka))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    parse::Container::parse(&input)
        .map(|container| generate::implementations(&container))
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
