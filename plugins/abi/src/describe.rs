//! The tables as data, from which the header is written and compared.

/// A struct of the border.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// Name in C.
    pub name: &'static str,
    /// Remarks, a line each.
    pub doc: &'static [&'static str],
    /// Bytes.
    pub size: usize,
    /// Members that are data; they come first.
    pub fields: &'static [Field],
    /// Members that are functions.
    pub calls: &'static [Call],
}

/// A member that is data.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Name.
    pub name: &'static str,
    /// Remarks, a line each.
    pub doc: &'static [&'static str],
    /// Type, as in the source.
    pub ty: &'static str,
    /// Place in the struct.
    pub offset: usize,
}

/// A member that is a pointer to a function.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Name.
    pub name: &'static str,
    /// Remarks, a line each.
    pub doc: &'static [&'static str],
    /// Names and types of the arguments.
    pub arguments: &'static [(&'static str, &'static str)],
    /// Type of the answer; empty for none.
    pub answer: &'static str,
    /// Place in the struct.
    pub offset: usize,
}

/// A number with a name.
#[derive(Debug, Clone, Copy)]
pub struct Constant {
    /// Name without `MKTS_`.
    pub name: &'static str,
    /// Remarks, a line each.
    pub doc: &'static [&'static str],
    /// Its value.
    pub value: i64,
}
