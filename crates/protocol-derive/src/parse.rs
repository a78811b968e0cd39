//! Reads the struct and its attributes, and refuses what cannot be meant, at the place where it stands.

use syn::{
    Attribute, Data, DeriveInput, Expr, Fields, GenericArgument, Generics, Ident, LitInt, LitStr,
    PathArguments, Result, Type, meta::ParseNestedMeta, spanned::Spanned,
};

/// A range of versions; `max` is `i16::MAX` when it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) min: i16,
    pub(crate) max: i16,
}

/// A struct to implement.
pub(crate) struct Container {
    pub(crate) name: Ident,
    pub(crate) generics: Generics,
    /// Present if the struct is a whole message.
    pub(crate) message: Option<WholeMessage>,
    /// In wire order, without `unknown_tags`.
    pub(crate) fields: Vec<Field>,
    pub(crate) keeps_unknown_tags: bool,
}

/// What only a whole message has.
pub(crate) struct WholeMessage {
    pub(crate) versions: Versions,
    pub(crate) flexible: Option<Versions>,
    pub(crate) unstable: Option<Versions>,
    pub(crate) role: Role,
}

/// What a whole message is used as.
pub(crate) enum Role {
    /// A header, or a structure with a version of its own.
    Plain,
    Request {
        api: Ident,
        response: Box<Type>,
    },
    Response {
        api: Ident,
    },
    LogRecord {
        number: LitInt,
    },
}

/// A field of the wire format.
pub(crate) struct Field {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) is_option: bool,
    pub(crate) versions: Versions,
    pub(crate) nullable: Versions,
    /// The tag, and the versions in which the field is tagged.
    pub(crate) tag: Option<(u32, Versions)>,
    pub(crate) default: Option<Expr>,
    pub(crate) ignorable: bool,
    pub(crate) never_compact: bool,
}

impl Versions {
    pub(crate) const ALL: Self = Self { min: 0, max: i16::MAX };

    fn parse(text: &LitStr) -> Result<Self> {
        let value = text.value();
        let bad = || {
            syn::Error::new(
                text.span(),
                format!("`{value}` is no version range: write \"3-12\", \"5+\", \"7\" or \"all\""),
            )
        };
        let number =
            |digits: &str| digits.parse::<u16>().ok().and_then(|n| i16::try_from(n).ok()).ok_or_else(bad);
        if value == "all" {
            return Ok(Self::ALL);
        }
        if let Some(min) = value.strip_suffix('+') {
            return Ok(Self { min: number(min)?, max: i16::MAX });
        }
        let (min, max) = value.split_once('-').unwrap_or((&value, &value));
        let range = Self { min: number(min)?, max: number(max)? };
        if range.min > range.max {
            return Err(bad());
        }
        Ok(range)
    }
}

impl Container {
    pub(crate) fn parse(input: &DeriveInput) -> Result<Self> {
        let Data::Struct(data) = &input.data else {
            return Err(syn::Error::new(input.ident.span(), "a Kafka message is a struct with named fields"));
        };
        let fields = match &data.fields {
            Fields::Named(fields) => fields.named.iter().collect(),
            Fields::Unit => Vec::new(),
            Fields::Unnamed(_) => {
                return Err(syn::Error::new(
                    input.ident.span(),
                    "a Kafka message is a struct with named fields",
                ));
            }
        };
        if let Some(param) =
            input.generics.params.iter().find(|p| !matches!(p, syn::GenericParam::Lifetime(_)))
        {
            return Err(syn::Error::new(param.span(), "a Kafka message has no type parameters"));
        }
        if input.generics.lifetimes().count() > 1 {
            return Err(syn::Error::new(
                input.generics.span(),
                "a Kafka message borrows from one input: one lifetime",
            ));
        }
        let message = WholeMessage::parse(&input.attrs)?;
        let keeps_unknown_tags = fields.iter().any(|f| is_unknown_tags(f));
        let fields: Vec<Field> =
            fields.into_iter().filter(|f| !is_unknown_tags(f)).map(Field::parse).collect::<Result<_>>()?;
        let container = Self {
            name: input.ident.clone(),
            generics: input.generics.clone(),
            message,
            fields,
            keeps_unknown_tags,
        };
        container.check_tags()?;
        container.check_ranges()?;
        Ok(container)
    }

    fn check_tags(&self) -> Result<()> {
        for (i, field) in self.fields.iter().enumerate() {
            let Some((tag, _)) = field.tag else { continue };
            if self.fields[..i].iter().any(|other| other.tag.is_some_and(|(number, _)| number == tag)) {
                return Err(syn::Error::new(
                    field.name.span(),
                    format!("tag {tag} is taken by a field above"),
                ));
            }
        }
        Ok(())
    }

    fn check_ranges(&self) -> Result<()> {
        let Some(message) = &self.message else { return Ok(()) };
        for field in &self.fields {
            if field.versions.min > message.versions.max || field.versions.max < message.versions.min {
                return Err(syn::Error::new(field.name.span(), "no version of the message has this field"));
            }
            if field.tag.is_some() && message.flexible.is_none() {
                return Err(syn::Error::new(
                    field.name.span(),
                    "a message without flexible versions has no tagged fields",
                ));
            }
        }
        Ok(())
    }
}

impl WholeMessage {
    fn parse(attrs: &[Attribute]) -> Result<Option<Self>> {
        let (mut versions, mut flexible, mut unstable) = (None, None, None);
        let (mut request, mut response, mut response_to, mut log_record) = (None, None, None, None);
        let mut first = None;
        for attr in attrs.iter().filter(|a| a.path().is_ident("kafka")) {
            attr.parse_nested_meta(|meta| {
                first.get_or_insert(meta.path.span());
                match name_of(&meta)?.as_str() {
                    "versions" => versions = Some(Versions::parse(&meta.value()?.parse()?)?),
                    "flexible" => flexible = Some(Versions::parse(&meta.value()?.parse()?)?),
                    "unstable" => unstable = Some(Versions::parse(&meta.value()?.parse()?)?),
                    "request" => request = Some(meta.value()?.parse::<Ident>()?),
                    "response" => response = Some(meta.value()?.parse::<Type>()?),
                    "response_to" => response_to = Some(meta.value()?.parse::<Ident>()?),
                    "log_record" => log_record = Some(meta.value()?.parse::<LitInt>()?),
                    other => {
                        return Err(meta.error(format!(
                            "`{other}` is no attribute of a message: versions, flexible, unstable, request, response, \
                             response_to, log_record"
                        )));
                    }
                }
                Ok(())
            })?;
        }
        let Some(span) = first else { return Ok(None) };
        let Some(versions) = versions else {
            return Err(syn::Error::new(span, "a whole message says its versions: versions = \"0-4\""));
        };
        let role = match (request, response, response_to, log_record) {
            (None, None, None, None) => Role::Plain,
            (Some(api), Some(response), None, None) => Role::Request { api, response: Box::new(response) },
            (None, None, Some(api), None) => Role::Response { api },
            (None, None, None, Some(number)) => Role::LogRecord { number },
            _ => {
                return Err(syn::Error::new(
                    span,
                    "a message is a request (`request` and `response`), a response (`response_to`), a log record \
                     (`log_record`), or none of them",
                ));
            }
        };
        Ok(Some(Self { versions, flexible, unstable, role }))
    }
}

impl Field {
    fn parse(field: &syn::Field) -> Result<Self> {
        let name = field.ident.clone().expect("fields are named: checked by the caller");
        let is_option = is_option(&field.ty);
        let (mut versions, mut nullable, mut tag, mut tag_versions) = (Versions::ALL, None, None, None);
        let (mut default, mut ignorable, mut never_compact) = (None, false, false);
        for attr in field.attrs.iter().filter(|a| a.path().is_ident("kafka")) {
            attr.parse_nested_meta(|meta| {
                match name_of(&meta)?.as_str() {
                    "versions" => versions = Versions::parse(&meta.value()?.parse()?)?,
                    "nullable" if !is_option => return Err(meta.error("a nullable field is an Option")),
                    "nullable" => nullable = Some(Versions::parse(&meta.value()?.parse()?)?),
                    "tag" => tag = Some(meta.value()?.parse::<LitInt>()?.base10_parse::<u32>()?),
                    "tag_versions" => tag_versions = Some(Versions::parse(&meta.value()?.parse()?)?),
                    "default" => default = Some(meta.value()?.parse::<Expr>()?),
                    "ignorable" => ignorable = true,
                    "flexible" => {
                        let value: LitStr = meta.value()?.parse()?;
                        if value.value() != "none" {
                            return Err(syn::Error::new(value.span(), "a field can only say flexible = \"none\""));
                        }
                        never_compact = true;
                    }
                    other => {
                        return Err(meta.error(format!(
                            "`{other}` is no attribute of a field: versions, nullable, tag, tag_versions, default, \
                             ignorable, flexible"
                        )));
                    }
                }
                Ok(())
            })?;
        }
        if is_null(default.as_ref()) && !is_option {
            return Err(syn::Error::new(name.span(), "only an Option can be null by default"));
        }
        if tag.is_none() && tag_versions.is_some() {
            return Err(syn::Error::new(name.span(), "tag_versions needs a tag"));
        }
        if tag_versions.is_some_and(|tagged| tagged.min < versions.min || tagged.max > versions.max) {
            return Err(syn::Error::new(name.span(), "the field is tagged in versions that do not have it"));
        }
        Ok(Self {
            name,
            ty: field.ty.clone(),
            is_option,
            versions,
            nullable: nullable.unwrap_or(Versions::ALL),
            tag: tag.map(|number| (number, tag_versions.unwrap_or(versions))),
            default,
            ignorable,
            never_compact,
        })
    }
}

/// Whether a default is written as `null`.
pub(crate) fn is_null(default: Option<&Expr>) -> bool {
    matches!(default, Some(Expr::Path(path)) if path.path.is_ident("null"))
}

fn name_of(meta: &ParseNestedMeta<'_>) -> Result<String> {
    meta.path.get_ident().map(Ident::to_string).ok_or_else(|| meta.error("expected a single word"))
}

fn is_unknown_tags(field: &syn::Field) -> bool {
    field.ident.as_ref().is_some_and(|name| name == "unknown_tags")
}

fn is_option(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|last| {
        last.ident == "Option"
            && matches!(&last.arguments, PathArguments::AngleBracketed(args)
                if matches!(args.args.first(), Some(GenericArgument::Type(_))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(source: &str) -> String {
        let input: DeriveInput = syn::parse_str(source).expect("the test's source parses");
        match Container::parse(&input) {
            Ok(_) => panic!("accepted: {source}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn version_ranges_have_four_spellings() {
        let range = |text: &str| Versions::parse(&LitStr::new(text, proc_macro2::Span::call_site())).ok();
        assert_eq!(range("3-12"), Some(Versions { min: 3, max: 12 }));
        assert_eq!(range("5+"), Some(Versions { min: 5, max: i16::MAX }));
        assert_eq!(range("7"), Some(Versions { min: 7, max: 7 }));
        assert_eq!(range("all"), Some(Versions::ALL));
        for bad in ["", "+", "-", "9-3", "-1", "1-", "40000", "a-b", "1-2-3"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert!(error_of("enum A {}").contains("struct with named fields"));
        assert!(error_of("struct A(i32);").contains("struct with named fields"));
        assert!(error_of("struct A<T> { a: T }").contains("no type parameters"));
        assert!(error_of("#[kafka(flexible = \"1+\")] struct A { a: i32 }").contains("says its versions"));
        assert!(
            error_of("#[kafka(version = \"1+\")] struct A { a: i32 }").contains("`version` is no attribute")
        );
        assert!(error_of("struct A { #[kafka(since = \"1\")] a: i32 }").contains("`since` is no attribute"));
        assert!(error_of("struct A { #[kafka(nullable = \"1+\")] a: i32 }").contains("is an Option"));
        assert!(error_of("struct A { #[kafka(default = null)] a: i32 }").contains("only an Option"));
        assert!(
            error_of("struct A { #[kafka(tag = 0)] a: i32, #[kafka(tag = 0)] b: i32 }")
                .contains("tag 0 is taken")
        );
        assert!(error_of("struct A { #[kafka(tag_versions = \"1+\")] a: i32 }").contains("needs a tag"));
        assert!(
            error_of("struct A { #[kafka(versions = \"3+\", tag = 0, tag_versions = \"2+\")] a: i32 }")
                .contains("versions that do not have it")
        );
        assert!(error_of("struct A { #[kafka(versions = \"2-1\")] a: i32 }").contains("no version range"));
        assert!(
            error_of("#[kafka(versions = \"0-2\")] struct A { #[kafka(versions = \"3+\")] a: i32 }")
                .contains("no version of the message")
        );
        assert!(
            error_of("#[kafka(versions = \"0-2\")] struct A { #[kafka(tag = 3)] a: i32 }")
                .contains("without flexible versions")
        );
        assert!(
            error_of("#[kafka(versions = \"0\", request = Fetch)] struct A { a: i32 }")
                .contains("`request` and `response`")
        );
    }
}
