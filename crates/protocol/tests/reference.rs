//! The structs and the API keys against the reference: `docs/reference/messages` and `docs/reference/apis.tsv`.
//!
//! The vectors show that bytes come out right; nullability, defaults and what is ignorable hardly show there. So each
//! struct's attributes are read from its source and held against Kafka's table, field by field. A new API is checked as
//! soon as it stands in the list of `messages/mod.rs`.

use std::{collections::BTreeMap, fs, path::Path};

use rohrpost_protocol::{ApiKey, VersionRange, metadata_log::MetadataRecord};
use syn::{Attribute, Expr, Item, ItemStruct, Type, ext::IdentExt};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/");

#[test]
fn api_keys_names_and_versions_are_those_of_the_reference() {
    // VER-5 for what is advertised
    let text =
        fs::read_to_string(format!("{ROOT}apis.tsv")).expect("the reference is part of the repository");
    let rows: Vec<Vec<_>> =
        text.lines().filter(|l| !l.starts_with('#')).skip(1).map(|l| l.split('\t').collect()).collect();
    assert_eq!(rows.len(), ApiKey::ALL.len());
    for (row, api) in rows.iter().zip(ApiKey::ALL) {
        let [key, name, versions, flexible_from, ..] = row[..] else { panic!("too few columns: {row:?}") };
        assert_eq!((*api as i16).to_string(), key);
        assert_eq!(api.name(), name);
        assert_eq!(ApiKey::from_i16(*api as i16), Some(*api));
        if api.versions().is_empty() {
            continue;
        }
        let (min, max) = versions.split_once('-').expect("a range");
        let range = VersionRange::new(min.parse().expect("a number"), max.parse().expect("a number"));
        assert_eq!(api.versions(), range, "{api}");
        let advertised = if *api == ApiKey::Produce { VersionRange::new(0, range.max) } else { range };
        assert_eq!(api.advertised_versions(), advertised, "{api}");
        for version in range.iter() {
            let flexible = flexible_from.parse::<i16>().is_ok_and(|from| version >= from);
            assert_eq!(api.is_flexible(version), flexible, "{api} {version}");
            assert_eq!(api.request_header_version(version), if flexible { 2 } else { 1 }, "{api} {version}");
            let response_header = i16::from(flexible && *api != ApiKey::ApiVersions);
            assert_eq!(api.response_header_version(version), response_header, "{api} {version}");
        }
    }
    assert_eq!(ApiKey::from_i16(-1), None);
    assert_eq!(ApiKey::from_i16(93), None);
}

#[test]
fn every_struct_is_what_its_table_says() {
    let structs = Structs::read(&["src/messages", "src/metadata_log"]);
    let mut apis = 0;
    for (file, table) in tables("messages/api") {
        let key = file[..2].parse().ok().and_then(ApiKey::from_i16).expect("a file name begins with the key");
        if key.all_versions().is_empty() {
            continue;
        }
        let name = table.name.clone();
        assert_eq!(name, key.name());
        for part in &table.parts {
            let suffix = if part.kind == "request" { "Request" } else { "Response" };
            structs.check_part(part, &format!("{name}{suffix}"));
        }
        apis += 1;
    }
    assert_eq!(apis, ApiKey::ALL.iter().filter(|api| !api.all_versions().is_empty()).count());
    let mut records = 0;
    for (file, table) in tables("messages/metadata-log") {
        let number = file[..2].parse().expect("a file name begins with the record type");
        assert_eq!(MetadataRecord::of_type(number).map(|(name, _)| name), Some(&*table.name));
        structs.check_part(&table.parts[0], &table.name);
        records += 1;
    }
    assert_eq!(records, 26);
}

/// One file of the reference.
struct Table {
    name: String,
    parts: Vec<Part>,
}

/// A block of a table: a request, a response, a record.
struct Part {
    kind: String,
    versions: String,
    flexible: String,
    newest_unstable: Option<String>,
    fields: Vec<Row>,
    /// Structs that several fields have in common: `struct X` at the end of the block.
    shared: Vec<(String, Vec<Row>)>,
}

/// A line of a table, with the lines that are indented below it.
struct Row {
    name: String,
    wire_type: String,
    versions: String,
    attributes: Vec<String>,
    fields: Vec<Row>,
}

fn tables(folder: &str) -> Vec<(String, Table)> {
    let mut files: Vec<_> = fs::read_dir(format!("{ROOT}{folder}"))
        .expect("the reference is part of the repository")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let table = |path: &Path| {
        let file = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(path).expect("a readable file");
        let table = Table { name: file[3..].to_owned(), parts: parse_parts(&text) };
        (file, table)
    };
    files.iter().map(|path| table(path)).collect()
}

fn parse_parts(text: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for line in text.lines().skip(1).filter(|line| !line.trim().is_empty() && !line.contains("(no fields)")) {
        let words: Vec<_> = line.split_whitespace().collect();
        if !line.starts_with(' ') {
            if words[0] == "struct" {
                parts.last_mut().expect("a part comes first").shared.push((words[1].to_owned(), Vec::new()));
                continue;
            }
            let after = |word: &str| words.iter().position(|w| *w == word).map(|i| words[i + 1].to_owned());
            parts.push(Part {
                kind: words[0].to_owned(),
                versions: after("versions").expect("versions"),
                flexible: after("flexible").expect("flexible"),
                newest_unstable: after("newest-unstable"),
                fields: Vec::new(),
                shared: Vec::new(),
            });
            continue;
        }
        let depth = (line.len() - line.trim_start().len()) / 2;
        let attributes = words[3..].join(" ");
        let row = Row {
            name: words[0].to_owned(),
            wire_type: words[1].to_owned(),
            versions: words[2].to_owned(),
            attributes: attributes.split(", ").filter(|a| !a.is_empty()).map(str::to_owned).collect(),
            fields: Vec::new(),
        };
        let part = parts.last_mut().expect("a block line comes first");
        let mut fields = part.shared.last_mut().map_or(&mut part.fields, |(_, fields)| fields);
        for _ in 1..depth {
            fields = &mut fields.last_mut().expect("indented below a field").fields;
        }
        fields.push(row);
    }
    parts
}

/// The structs of some source folders, by file and name.
struct Structs(Vec<(String, ItemStruct)>);

impl Structs {
    fn read(folders: &[&str]) -> Self {
        let mut structs = Vec::new();
        for folder in folders {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            for entry in fs::read_dir(folder).expect("a source folder") {
                let path = entry.expect("a file").path();
                let text = fs::read_to_string(&path).expect("a readable file");
                let source = syn::parse_file(&text).expect("Rust");
                let file = path.file_stem().expect("a name").to_string_lossy().into_owned();
                structs.extend(source.items.into_iter().filter_map(|item| match item {
                    Item::Struct(item) => Some((file.clone(), item)),
                    _ => None,
                }));
            }
        }
        Self(structs)
    }

    fn check_part(&self, part: &Part, name: &str) {
        let (file, item) =
            self.0.iter().find(|(_, item)| item.ident == name).unwrap_or_else(|| panic!("no struct {name}"));
        let attributes = kafka_attributes(&item.attrs);
        let text = |key: &str| attributes.get(key).map(String::as_str);
        assert_eq!(text("versions"), Some(&*part.versions), "{name}");
        assert_eq!(text("flexible").unwrap_or("never"), part.flexible, "{name}");
        assert_eq!(text("unstable"), part.newest_unstable.as_deref(), "{name}");
        self.check_fields(file, item, part, &part.fields, &part.versions);
    }

    /// A field's own versions need not be said where the struct is only there in fewer.
    fn check_fields(&self, file: &str, item: &ItemStruct, part: &Part, rows: &[Row], outer_versions: &str) {
        let name = &item.ident;
        let own: Vec<_> =
            item.fields.iter().filter(|f| f.ident.as_ref().is_some_and(|i| i != "unknown_tags")).collect();
        assert_eq!(own.len() + 1, item.fields.len(), "{name}: keeps unknown tags");
        assert_eq!(own.len(), rows.len(), "{name}: number of fields");
        for (field, row) in own.iter().zip(rows) {
            let ident = field.ident.as_ref().expect("a named field").unraw().to_string();
            let place = format!("{name}.{ident}");
            assert!(
                ident.replace('_', "").eq_ignore_ascii_case(&row.name),
                "{place} instead of {}",
                row.name
            );
            let attributes = kafka_attributes(&field.attrs);
            check_type(&field.ty, row, &place);
            check_attributes(&attributes, row, outer_versions, &place);
            let inner = row.wire_type.trim_start_matches("[]");
            let shared = part.shared.iter().find(|(name, _)| name == inner).map(|(_, rows)| rows);
            let rows = shared.unwrap_or(&row.fields);
            if !rows.is_empty() {
                let find = |wanted: &str| self.0.iter().find(|(f, item)| f == wanted && item.ident == inner);
                let (_, item) = find(file)
                    .or_else(|| find("common"))
                    .unwrap_or_else(|| panic!("{place}: no such struct"));
                let versions = if row.versions == "all" { outer_versions } else { &row.versions };
                self.check_fields(file, item, part, rows, versions);
            }
        }
    }
}

fn check_type(ty: &Type, row: &Row, place: &str) {
    let text = text_of(ty).replace("<'a>", "").replace("'a", "");
    let nullable = row.attributes.iter().any(|a| a.starts_with("nullable"));
    let element = match row.wire_type.trim_start_matches("[]") {
        "int16" if row.name.ends_with("ErrorCode") => "ErrorCode",
        "bool" => "bool",
        "int8" => "i8",
        "int16" => "i16",
        "int32" => "i32",
        "int64" => "i64",
        "uint16" => "u16",
        "float64" => "f64",
        "uuid" => "Uuid",
        "string" => "&str",
        "bytes" => "&[u8]",
        "records" => "Records",
        structure => structure,
    };
    let accepted = if row.wire_type.starts_with("[]") {
        vec![format!("Vec<{element}>"), format!("Box<[{element}]>")]
    } else {
        vec![element.to_owned()]
    };
    let accepted: Vec<_> =
        accepted.into_iter().map(|t| if nullable { format!("Option<{t}>") } else { t }).collect();
    assert!(accepted.contains(&text), "{place}: {text} instead of {accepted:?}");
}

fn check_attributes(attributes: &BTreeMap<String, String>, row: &Row, outer_versions: &str, place: &str) {
    let text = |key: &str| attributes.get(key).map(String::as_str);
    let stated = |prefix: &str| row.attributes.iter().find_map(|a| a.strip_prefix(prefix));
    match text("versions") {
        Some(versions) => assert_eq!(versions, row.versions, "{place}: versions"),
        None => assert!(covers(&row.versions, outer_versions), "{place}: has versions {}", row.versions),
    }
    let nullable = stated("nullable(").map(|versions| versions.trim_end_matches(')'));
    assert_eq!(text("nullable"), nullable, "{place}: nullable");
    assert_eq!(text("tag"), stated("tag ").and_then(|t| t.split('(').next()), "{place}: tag");
    let tag_versions =
        stated("tag ").and_then(|t| t.split_once('(')).map(|(_, versions)| versions.trim_end_matches(')'));
    assert_eq!(text("tag_versions"), tag_versions, "{place}: versions of the tag");
    assert_eq!(
        text("ignorable").is_some(),
        row.attributes.iter().any(|a| a == "ignorable"),
        "{place}: ignorable"
    );
    assert_eq!(text("flexible"), stated("flexible="), "{place}: flexible");
    let default = text("default").map(|default| match default {
        "i32::MAX" => i32::MAX.to_string(),
        "i32::MIN" => i32::MIN.to_string(),
        "i64::MAX" => i64::MAX.to_string(),
        other => other.replace('_', ""),
    });
    assert_eq!(default.as_deref(), stated("default="), "{place}: default");
}

/// Whether all versions of `inner` are among those of `outer`.
fn covers(outer: &str, inner: &str) -> bool {
    let range = |text: &str| {
        let number = |digits: &str| digits.parse::<i16>().expect("a number");
        match text.split_once('-') {
            _ if text == "all" => (0, i16::MAX),
            Some((min, max)) => (number(min), number(max)),
            None => text
                .strip_suffix('+')
                .map_or_else(|| (number(text), number(text)), |min| (number(min), i16::MAX)),
        }
    };
    let (outer, inner) = (range(outer), range(inner));
    outer.0 <= inner.0 && outer.1 >= inner.1
}

fn kafka_attributes(attributes: &[Attribute]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for attribute in attributes.iter().filter(|a| a.path().is_ident("kafka")) {
        attribute
            .parse_nested_meta(|meta| {
                let key = meta.path.get_ident().expect("a word").to_string();
                let value = match meta.value() {
                    Err(_) => String::new(),
                    // the type of a response may have a lifetime, which no expression has
                    Ok(value) if key == "response" => text_of(&value.parse::<Type>()?),
                    Ok(value) => match value.parse::<Expr>()? {
                        Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => text.value(),
                        other => text_of(&other),
                    },
                };
                found.insert(key, value);
                Ok(())
            })
            .expect("attributes that the derive macro has accepted");
    }
    found
}

fn text_of(tokens: &impl quote::ToTokens) -> String {
    tokens.to_token_stream().to_string().replace(' ', "")
}
