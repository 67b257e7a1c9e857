//! Codecs of pages: pure functions over slices, one file each. Lossless to the bit; garbage gives
//! `None`, never a panic, and no more memory than the rows of the page take.

mod bitpack;
mod blocks;
pub(crate) mod decimal;
pub(crate) mod dictionary;
mod entropy;
pub(crate) mod grid;
pub(crate) mod integer;
mod pco;
pub(crate) mod raw;
mod unit;

/// How the bytes of a page are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Raw,
    Grid,
    Blocks,
    Decimal,
    Pco,
    Dictionary,
}

impl Codec {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Grid => 1,
            Self::Blocks => 2,
            Self::Decimal => 3,
            Self::Pco => 4,
            Self::Dictionary => 5,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Raw),
            1 => Some(Self::Grid),
            2 => Some(Self::Blocks),
            3 => Some(Self::Decimal),
            4 => Some(Self::Pco),
            5 => Some(Self::Dictionary),
            _ => None,
        }
    }
}
