//! The grammar of calls: `name(argument, 'literal', parameter::column, ...)`.
//!
//! Names are case-insensitive, text behind the closing parenthesis is ignored, as in MarketStore.
//! Literals are for the function itself; every other argument is a column. Columns named with their
//! parameter are bound first, the others fill the required parameters that are left, in order.

use super::adjust::Adjust;
use super::aggregate::{Aggregate, Reduce};
use super::candler::Candler;
use super::gap::Gap;
use crate::batch::BatchError;

/// Why a call cannot be carried out, in one line for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FunctionError(pub String);

impl FunctionError {
    pub(super) fn of(error: BatchError) -> Self {
        Self(error.to_string())
    }
}

/// A call that was understood; its columns are looked up when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FunctionCall {
    /// `count`, `min`, `max`, `avg`.
    Aggregate(Aggregate),
    /// `candlecandler`, `tickcandler`.
    Candler(Candler),
    /// `gap`.
    Gap(Gap),
    /// `adjust`.
    Adjust(Adjust),
}

/// One argument of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// `'5Min'`
    Literal(String),
    /// `Close` or `Sum::Volume`; `*` is a column, too.
    Column {
        /// The parameter it is bound to by name.
        parameter: Option<String>,
        /// The column.
        column: String,
    },
}

/// Understands one call.
///
/// # Errors
/// If it is no call, there is no such function, or arguments are missing or too many.
pub fn parse(text: &str) -> Result<FunctionCall, FunctionError> {
    let (name, arguments) = split(text)?;
    FunctionCall::new(&name, arguments)
}

impl FunctionCall {
    /// A call from its parts.
    ///
    /// # Errors
    /// If there is no such function, or arguments are missing or too many.
    pub fn new(name: &str, arguments: Vec<Argument>) -> Result<Self, FunctionError> {
        let reduce = |how| {
            let given = Given::bind(name, arguments.clone(), &["*"], &[])?;
            given.no_literals()?;
            let column = given.single(0)?;
            Ok(Self::Aggregate(Aggregate { how, column }))
        };
        match name.to_ascii_lowercase().as_str() {
            "count" => reduce(Reduce::Count),
            "min" => reduce(Reduce::Min),
            "max" => reduce(Reduce::Max),
            "avg" => reduce(Reduce::Avg),
            "candlecandler" => {
                let required = ["Open", "High", "Low", "Close"];
                let given = Given::bind(name, arguments, &required, &["Sum", "Avg"])?;
                Candler::of_candles(given).map(Self::Candler)
            }
            "tickcandler" => {
                let given = Given::bind(name, arguments, &["CandlePrice"], &["Sum", "Avg"])?;
                Candler::of_ticks(given).map(Self::Candler)
            }
            "gap" => Gap::new(Given::bind(name, arguments, &[], &[])?).map(Self::Gap),
            "adjust" => Adjust::new(Given::bind(name, arguments, &[], &[])?).map(Self::Adjust),
            _ => Err(FunctionError(format!(
                "no function in the UDA Registry named \"{}\", there are adjust, avg, candlecandler, \
                 count, gap, max, min and tickcandler",
                shown(name)
            ))),
        }
    }

    /// Whether a name is that of a function here.
    pub fn is_name(name: &str) -> bool {
        let names = [
            "count",
            "min",
            "max",
            "avg",
            "candlecandler",
            "tickcandler",
            "gap",
            "adjust",
        ];
        names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// The columns it reads, each once; `None` if all.
    pub fn columns(&self) -> Option<Vec<&str>> {
        let mut columns: Vec<&str> = match self {
            Self::Aggregate(aggregate) => vec![aggregate.column.as_str()],
            Self::Candler(candler) => candler.columns(),
            Self::Gap(_) => Vec::new(),
            Self::Adjust(_) => return None,
        };
        let mut seen = std::collections::HashSet::new();
        columns.retain(|column| seen.insert(*column));
        Some(columns)
    }

    /// Whether it reads corporate actions, see [`super::Site::actions`].
    pub fn needs_actions(&self) -> bool {
        matches!(self, Self::Adjust(_))
    }

    /// Whether MarketStore refuses it on no rows.
    pub fn needs_rows(&self) -> bool {
        matches!(self, Self::Candler(_))
    }
}

/// Arguments bound to parameters.
#[derive(Debug)]
pub(super) struct Given {
    pub name: String,
    pub literals: Vec<String>,
    /// The columns of each parameter, required ones first.
    columns: Vec<Vec<String>>,
}

impl Given {
    fn bind(
        name: &str,
        arguments: Vec<Argument>,
        required: &[&str],
        optional: &[&str],
    ) -> Result<Self, FunctionError> {
        let have: Vec<String> = arguments.iter().filter_map(Argument::column_text).collect();
        let error = |what: &str| {
            let (have, need) = (have.join(" "), required.join(" "));
            FunctionError(format!(
                "Argument mapping error for {name}: {what}have [{}], need [{need}]",
                shown(&have)
            ))
        };
        let parameters = [required, optional].concat();
        let mut columns = vec![Vec::new(); parameters.len()];
        let (mut literals, mut positional) = (Vec::new(), Vec::new());
        for argument in arguments {
            match argument {
                Argument::Literal(text) => literals.push(text),
                Argument::Column {
                    parameter: None,
                    column,
                } => positional.push(column),
                Argument::Column {
                    parameter: Some(parameter),
                    column,
                } => {
                    let mut known = parameters.iter();
                    let at = known
                        .position(|p| p.eq_ignore_ascii_case(&parameter))
                        .ok_or_else(|| {
                            let known = parameters.join(", ");
                            error(&format!(
                                "no parameter \"{}\" among {known}; ",
                                shown(&parameter)
                            ))
                        })?;
                    columns[at].push(column);
                }
            }
        }
        let mut positional = positional.into_iter();
        for bound in &mut columns[..required.len()] {
            if bound.is_empty() {
                bound.push(positional.next().ok_or_else(|| error(""))?);
            }
        }
        if positional.next().is_some() {
            let hint = match optional.is_empty() {
                true => "extra args used; ",
                false => "extra args used, name their parameter like Sum::Volume; ",
            };
            return Err(error(hint));
        }
        Ok(Self {
            name: name.to_owned(),
            literals,
            columns,
        })
    }

    /// Takes the columns of a parameter.
    pub(super) fn take(&mut self, parameter: usize) -> Vec<String> {
        std::mem::take(&mut self.columns[parameter])
    }

    fn single(&self, parameter: usize) -> Result<String, FunctionError> {
        match &self.columns[parameter][..] {
            [column] => Ok(column.clone()),
            several => Err(FunctionError(format!(
                "{} takes one column, not {}",
                self.name,
                several.len()
            ))),
        }
    }

    fn no_literals(&self) -> Result<(), FunctionError> {
        match self.literals.first() {
            None => Ok(()),
            Some(literal) => Err(FunctionError(format!(
                "{} takes no literal, \"{}\" was given",
                self.name,
                shown(literal)
            ))),
        }
    }

    /// The one literal that must be there.
    pub(super) fn literal(&self) -> Result<&str, FunctionError> {
        match &self.literals[..] {
            [literal] => Ok(literal),
            [] => Err(FunctionError(format!(
                "not enough init arguments for {}, need 1 have 0: a timeframe like '5Min'",
                self.name
            ))),
            several => Err(FunctionError(format!(
                "too many init arguments for {}, need 1 have {}",
                self.name,
                several.len()
            ))),
        }
    }
}

impl Argument {
    fn column_text(&self) -> Option<String> {
        match self {
            Self::Literal(_) => None,
            Self::Column {
                parameter: None,
                column,
            } => Some(column.clone()),
            Self::Column {
                parameter: Some(parameter),
                column,
            } => Some(format!("{parameter}::{column}")),
        }
    }
}

/// A text of the caller's as it may appear in a message.
pub(super) fn shown(text: &str) -> String {
    let printable = |c: char| if c.is_control() { '?' } else { c };
    text.chars().take(80).map(printable).collect()
}

/// The name and the arguments of a call.
fn split(text: &str) -> Result<(String, Vec<Argument>), FunctionError> {
    let wrong = |why: &str| {
        let text = shown(text);
        FunctionError(format!("unable to parse function call {text}{why}"))
    };
    let (name, mut rest) = text.split_once('(').ok_or_else(|| wrong(""))?;
    let name = name.trim();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(wrong(""));
    }
    let mut arguments = Vec::new();
    rest = rest.trim_start();
    if rest.starts_with(')') {
        return Ok((name.to_owned(), arguments));
    }
    loop {
        let (argument, after) = argument(rest).map_err(&wrong)?;
        arguments.push(argument);
        rest = after.trim_start();
        if let Some(next) = rest.strip_prefix(',') {
            rest = next.trim_start();
        } else if rest.starts_with(')') {
            return Ok((name.to_owned(), arguments));
        } else {
            return Err(wrong(""));
        }
    }
}

/// One argument from the start of a text, and the text behind it.
fn argument(text: &str) -> Result<(Argument, &str), &'static str> {
    if let Some(inner) = text.strip_prefix('\'') {
        let (literal, rest) = quoted(inner, '\'').ok_or(": unclosed literal")?;
        return Ok((Argument::Literal(literal), rest));
    }
    let (first, rest) = word(text)?;
    let Some(rest) = rest.trim_start().strip_prefix("::") else {
        let column = first;
        return Ok((
            Argument::Column {
                parameter: None,
                column,
            },
            rest,
        ));
    };
    let (column, rest) = word(rest.trim_start())?;
    let parameter = Some(first);
    Ok((Argument::Column { parameter, column }, rest))
}

/// A name, bare or in back quotes or double quotes.
fn word(text: &str) -> Result<(String, &str), &'static str> {
    for quote in ['`', '"'] {
        if let Some(inner) = text.strip_prefix(quote) {
            return quoted(inner, quote).ok_or(": unclosed name");
        }
    }
    let end = text
        .find([',', '(', ')', ':', '\'', '`', '"'])
        .unwrap_or(text.len());
    let word = text[..end].trim_end();
    if word.is_empty() {
        return Err("");
    }
    if word.parse::<f64>().is_ok() {
        return Err(": arguments are columns or 'literals', a number is neither");
    }
    Ok((word.to_owned(), &text[end..]))
}

/// The text up to the closing quote (doubled, it stands for itself), and what is behind.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut rest = text;
    loop {
        let (inner, after) = rest.split_once(quote)?;
        out.push_str(inner);
        match after.strip_prefix(quote) {
            Some(after) => {
                out.push(quote);
                rest = after;
            }
            None => return Some((out, after)),
        }
    }
}
