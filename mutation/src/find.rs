//! Finds the places of mutants in a file's syntax tree.
//!
//! A mutant is known by its genre and by where its span starts, exactly as cargo-mutants computed it from the same tree. What the compiler
//! evaluates itself (constants, lengths of arrays, patterns) is passed over: a switch cannot be asked there.

use std::collections::BTreeMap;
use std::ops::Range;

use proc_macro2::LineColumn;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, BinOp, Block, Expr, ExprLit, Lit, MetaNameValue, Pat, ReturnType, Signature, Type};

use crate::{Genre, Mutant, Options, Place};

/// An expression or a function that has mutants, by byte ranges of the source. Sites nest, and never overlap otherwise.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) range: Range<usize>,
    pub(crate) kind: Kind,
}

/// What is at a site, and its mutants by number.
#[derive(Debug)]
pub(crate) enum Kind {
    /// The block of a function; its first statement starts at `first`. Each mutant comes with what is returned.
    Function { first: usize, returned: Vec<(u32, String)> },
    /// Each mutant comes with its operator.
    Binary { left: Range<usize>, right: Range<usize>, operators: Vec<(u32, String)> },
    /// The operand without the operator.
    Unary { operand: Range<usize>, numbers: Vec<u32> },
    /// A guard that becomes `true` with one mutant and `false` with another.
    Guard { to_true: Vec<u32>, to_false: Vec<u32> },
    /// The pattern of an arm without a guard.
    Arm { numbers: Vec<u32> },
    /// A struct expression; each mutant comes with the field it is without, comma included.
    Struct { fields: Vec<(u32, Range<usize>)> },
}

/// What was found in a file.
#[derive(Debug)]
pub(crate) struct Found {
    /// Outer ones before those within them.
    pub(crate) sites: Vec<Site>,
    /// Mutants that have no site.
    pub(crate) unwoven: Vec<u32>,
    /// Mutants in code that is not built.
    pub(crate) absent: Vec<u32>,
}

pub(crate) fn find_sites(file: &syn::File, mutants: &[(u32, &Mutant)], options: &Options) -> Found {
    let mut wanted = BTreeMap::<_, Vec<_>>::new();
    for (number, mutant) in mutants {
        let key = (mutant.genre, mutant.span.start);
        wanted.entry(key).or_default().push((*number, mutant.replacement.clone()));
    }
    let mut finder = Finder { wanted, options, sites: Vec::new(), absent: Vec::new() };
    finder.visit_file(file);
    let mut unwoven = numbers(finder.wanted.into_values().flatten().collect());
    unwoven.sort_unstable();
    finder.absent.sort_unstable();
    Found { sites: finder.sites, unwoven, absent: finder.absent }
}

struct Finder<'a> {
    wanted: BTreeMap<(Genre, Place), Vec<(u32, String)>>,
    options: &'a Options,
    sites: Vec<Site>,
    absent: Vec<u32>,
}

impl Finder<'_> {
    /// The mutants of this genre that start here; each is given once.
    fn take(&mut self, genre: Genre, start: LineColumn) -> Vec<(u32, String)> {
        self.wanted.remove(&(genre, place(start))).unwrap_or_default()
    }

    /// Passes over what is not built: its mutants are absent.
    fn is_absent(&mut self, item: &impl Spanned, attributes: &[Attribute]) -> bool {
        let is_absent = attributes.iter().any(|attribute| self.needs_feature_off(attribute));
        if is_absent {
            let all = place(item.span().start())..place(item.span().end());
            let absent = &mut self.absent;
            self.wanted.retain(|(_, start), found| {
                let is_within = all.contains(start);
                if is_within {
                    absent.extend(numbers(std::mem::take(found)));
                }
                !is_within
            });
        }
        is_absent
    }

    fn needs_feature_off(&self, attribute: &Attribute) -> bool {
        let Ok(MetaNameValue { path, value: Expr::Lit(ExprLit { lit: Lit::Str(feature), .. }), .. }) =
            attribute.parse_args::<MetaNameValue>()
        else {
            return false;
        };
        attribute.path().is_ident("cfg")
            && path.is_ident("feature")
            && self.options.features_off.contains(&feature.value())
    }

    fn function(&mut self, signature: &Signature, block: &Block) {
        // A `const fn` may be called by the compiler, which has no environment.
        if signature.constness.is_some() && !self.options.const_functions {
            return;
        }
        if let Some(first) = block.stmts.first() {
            // `impl Trait` stands for one type, and what a mutant returns would be a second one.
            let returned = match &signature.output {
                ReturnType::Type(_, returned) if matches!(**returned, Type::ImplTrait(_)) => Vec::new(),
                _ => self.take(Genre::FnValue, first.span().start()),
            };
            let first = first.span().byte_range().start;
            self.sites
                .push(Site { range: block.span().byte_range(), kind: Kind::Function { first, returned } });
        }
        self.visit_block(block);
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !self.is_absent(item, &item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !self.is_absent(item, &item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !self.is_absent(item, &item.attrs) {
            self.function(&item.sig, &item.block);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !self.is_absent(item, &item.attrs) {
            self.function(&item.sig, &item.block);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
    }

    fn visit_expr_binary(&mut self, expression: &'ast syn::ExprBinary) {
        let (left, right) = (expression.left.span().byte_range(), expression.right.span().byte_range());
        // A condition with `let` is no expression: neither parentheses nor `if` can be put around a part of it that has one.
        if !(matches!(expression.op, BinOp::And(_))
            && (has_let(&expression.left) || has_let(&expression.right)))
        {
            let operators = self.take(Genre::BinaryOperator, expression.op.span().start());
            if !operators.is_empty() {
                let range = left.start..right.end;
                self.sites.push(Site { range, kind: Kind::Binary { left, right, operators } });
            }
        }
        visit::visit_expr_binary(self, expression);
    }

    fn visit_expr_unary(&mut self, expression: &'ast syn::ExprUnary) {
        let numbers = numbers(self.take(Genre::UnaryOperator, expression.op.span().start()));
        if !numbers.is_empty() {
            let operand = expression.expr.span().byte_range();
            let range = expression.op.span().byte_range().start..operand.end;
            self.sites.push(Site { range, kind: Kind::Unary { operand, numbers } });
        }
        visit::visit_expr_unary(self, expression);
    }

    fn visit_expr_match(&mut self, expression: &'ast syn::ExprMatch) {
        // With a guard in its place an arm counts for nothing when the compiler asks whether every value has one.
        let has_rest =
            expression.arms.iter().any(|arm| matches!(arm.pat, Pat::Wild(_)) && arm.guard.is_none());
        for arm in &expression.arms {
            match &arm.guard {
                Some((_, guard)) => {
                    let (to_true, to_false): (Vec<_>, Vec<_>) = self
                        .take(Genre::MatchArmGuard, guard.span().start())
                        .into_iter()
                        .partition(|(_, replacement)| replacement == "true");
                    if !(to_true.is_empty() && to_false.is_empty()) {
                        let kind = Kind::Guard { to_true: numbers(to_true), to_false: numbers(to_false) };
                        self.sites.push(Site { range: guard.span().byte_range(), kind });
                    }
                }
                None if has_rest => {
                    let numbers = numbers(self.take(Genre::MatchArm, arm.span().start()));
                    if !numbers.is_empty() {
                        self.sites
                            .push(Site { range: arm.pat.span().byte_range(), kind: Kind::Arm { numbers } });
                    }
                }
                None => {}
            }
        }
        visit::visit_expr_match(self, expression);
    }

    fn visit_expr_struct(&mut self, expression: &'ast syn::ExprStruct) {
        if expression.rest.is_some() {
            let mut fields = Vec::new();
            for pair in expression.fields.pairs() {
                let field = pair.value().span();
                let end = pair.punct().map_or(field.byte_range().end, |comma| comma.span().byte_range().end);
                let found = self.take(Genre::StructField, field.start());
                fields.extend(found.into_iter().map(|(number, _)| (number, field.byte_range().start..end)));
            }
            if !fields.is_empty() {
                let start = expression.path.span().byte_range().start;
                let end = expression.brace_token.span.close().byte_range().end;
                self.sites.push(Site { range: start..end, kind: Kind::Struct { fields } });
            }
        }
        visit::visit_expr_struct(self, expression);
    }

    fn visit_expr_repeat(&mut self, expression: &'ast syn::ExprRepeat) {
        self.visit_expr(&expression.expr);
    }

    // What the compiler evaluates itself, and what has no expressions that run.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_item_enum(&mut self, _: &'ast syn::ItemEnum) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}
    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_path_arguments(&mut self, _: &'ast syn::PathArguments) {}
    fn visit_angle_bracketed_generic_arguments(&mut self, _: &'ast syn::AngleBracketedGenericArguments) {}
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

fn place(at: LineColumn) -> Place {
    Place { line: at.line, column: at.column + 1 }
}

fn numbers(found: Vec<(u32, String)>) -> Vec<u32> {
    found.into_iter().map(|(number, _)| number).collect()
}

/// Whether a condition holds a `let` that is bound to what follows it: `let … && …`.
fn has_let(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) => {
            matches!(binary.op, BinOp::And(_)) && (has_let(&binary.left) || has_let(&binary.right))
        }
        _ => false,
    }
}
