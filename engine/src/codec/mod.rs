//! Codecs of pages: pure functions over slices, one file each. Lossless to the bit; garbage gives
//! `None`, never a panic, and no more memory than the rows of the page take.

pub(crate) mod bitpack;
pub(crate) mod decimal;
mod delta;
mod frame;
pub(crate) mod grid;
pub(crate) mod integer;
pub(crate) mod raw;

/// How the bytes of a page are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Raw,
    Grid,
    /// `for` in the documents.
    Frame,
    Delta,
    Decimal,
}

impl Codec {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Grid => 1,
            Self::Frame => 2,
            Self::Delta => 3,
            Self::Decimal => 4,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Raw),
            1 => Some(Self::Grid),
            2 => Some(Self::Frame),
            3 => Some(Self::Delta),
            4 => Some(Self::Decimal),
            _ => None,
        }
    }
}
