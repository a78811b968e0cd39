//! Writes the source again, with the mutants of its sites in it.

use std::ops::Range;

use crate::find::{Kind, Site};
use crate::{Region, RegionKind};

/// The new text, and where in it the mutants are. `sites` come with outer ones before those within them.
pub(crate) fn render(source: &str, sites: &[Site]) -> (String, Vec<Region>) {
    let mut order: Vec<&Site> = sites.iter().collect();
    // Of two with the same range the outer one was found first; the sort is stable.
    order.sort_by_key(|site| (site.range.start, std::cmp::Reverse(site.range.end)));
    let mut writer = Writer { source, text: String::with_capacity(source.len() * 4), regions: Vec::new() };
    writer.stretch(0..source.len(), &order);
    (writer.text, writer.regions)
}

struct Writer<'a> {
    source: &'a str,
    text: String,
    regions: Vec<Region>,
}

impl Writer<'_> {
    /// A stretch of the source with the mutants of the sites in it, which are sorted.
    fn stretch(&mut self, range: Range<usize>, mut sites: &[&Site]) {
        let mut at = range.start;
        while let Some((site, rest)) = sites.split_first() {
            self.text.push_str(&self.source[at..site.range.start]);
            let (within, behind) =
                rest.split_at(rest.iter().take_while(|inner| inner.range.end <= site.range.end).count());
            self.site(site, within);
            at = site.range.end;
            sites = behind;
        }
        self.text.push_str(&self.source[at..range.end]);
    }

    fn site(&mut self, site: &Site, within: &[&Site]) {
        let start = self.text.len();
        let kind = match &site.kind {
            Kind::Function { .. } => RegionKind::Function,
            _ => RegionKind::Site,
        };
        let mutants = match &site.kind {
            Kind::Function { first, returned } => {
                self.text.push_str(&self.source[site.range.start..*first]);
                for (number, value) in returned {
                    self.text.push_str(&format!("if {} {{ ", on(*number)));
                    self.change(*number, &format!("return {value};"));
                    self.text.push_str(" } ");
                }
                self.stretch(*first..site.range.end, within);
                Vec::new()
            }
            Kind::Binary { left, right, operators } => {
                let (left, right) = (&self.source[left.clone()], &self.source[right.clone()]);
                let changes = operators
                    .iter()
                    .map(|(number, operator)| (*number, format!("({left}) {operator} ({right})")));
                self.choice(changes.collect(), site, within)
            }
            Kind::Unary { operand, numbers } => {
                let operand = &self.source[operand.clone()];
                self.choice(
                    numbers.iter().map(|number| (*number, operand.to_owned())).collect(),
                    site,
                    within,
                )
            }
            Kind::Struct { fields } => {
                let without = |field: &Range<usize>| {
                    let (before, behind) = (site.range.start..field.start, field.end..site.range.end);
                    format!("{}{}", &self.source[before], &self.source[behind])
                };
                let changes = fields.iter().map(|(number, field)| (*number, without(field))).collect();
                self.choice(changes, site, within)
            }
            Kind::Guard { to_true, to_false } => {
                self.text.push('(');
                for number in to_true {
                    self.text.push_str(&format!("{} || ", on(*number)));
                }
                self.text.push('(');
                self.stretch(site.range.clone(), within);
                self.text.push_str("))");
                for number in to_false {
                    self.text.push_str(&format!(" && !{}", on(*number)));
                }
                [to_true.as_slice(), to_false.as_slice()].concat()
            }
            Kind::Arm { numbers } => {
                self.stretch(site.range.clone(), within);
                let conditions: Vec<_> = numbers.iter().map(|number| format!("!{}", on(*number))).collect();
                self.text.push_str(&format!(" if {}", conditions.join(" && ")));
                numbers.clone()
            }
        };
        self.regions.push(Region { start, end: self.text.len(), kind, mutants });
    }

    /// `(if on(1) { change } else if on(2) { change } else { what was there })`. Returns the numbers.
    fn choice(&mut self, changes: Vec<(u32, String)>, site: &Site, within: &[&Site]) -> Vec<u32> {
        self.text.push('(');
        for (number, change) in &changes {
            self.text.push_str(&format!("if {} {{ ", on(*number)));
            self.change(*number, change);
            self.text.push_str(" } else ");
        }
        self.text.push_str("{ ");
        self.stretch(site.range.clone(), within);
        self.text.push_str(" })");
        changes.into_iter().map(|(number, _)| number).collect()
    }

    /// Code that runs with this mutant alone.
    fn change(&mut self, number: u32, change: &str) {
        let start = self.text.len();
        self.text.push_str(change);
        self.regions.push(Region {
            start,
            end: self.text.len(),
            kind: RegionKind::Change,
            mutants: vec![number],
        });
    }
}

fn on(number: u32) -> String {
    format!("::mutation_switch::on({number})")
}
