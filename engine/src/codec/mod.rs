//! Codecs of pages: pure functions over bytes, one file each. Lossless to the bit; garbage gives
//! `None`, never a panic.

pub(crate) mod grid;
pub(crate) mod raw;

/// How the bytes of a page are to be read. Numbers 2 (`for`), 3 (`delta`) and 4 (`decimal`) are
/// taken by codecs to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Raw,
    Grid,
}

impl Codec {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Grid => 1,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Raw),
            1 => Some(Self::Grid),
            _ => None,
        }
    }
}
