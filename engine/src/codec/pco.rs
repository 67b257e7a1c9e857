//! `pco`: integers with an entropy stage (crate pco), for pages where size counts more than speed.
//!
//! ```text
//! 0 u8 bytes of an integer (4, 8), then a standalone pco file (format 1) of i32 or i64
//! ```

use pco::ChunkConfig;
use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress_into};

/// Of 0 to 12. Measured on trades and quotes: a fifth larger than level 8 and up to three times as
/// fast to write.
const LEVEL: usize = 4;

/// The page, if it has at most `bytes_max` bytes.
pub(crate) fn encode(values: &[i64], bytes_max: usize) -> Option<Vec<u8>> {
    let narrow: Option<Vec<i32>> = values.iter().map(|v| i32::try_from(*v).ok()).collect();
    let (width, packed) = match &narrow {
        Some(narrow) => (4, compress(narrow)?),
        None => (8, compress(values)?),
    };
    if packed.len() >= bytes_max {
        return None;
    }
    let mut page = Vec::with_capacity(packed.len() + 1);
    page.push(width);
    page.extend_from_slice(&packed);
    Some(page)
}

fn compress<T: Number>(values: &[T]) -> Option<Vec<u8>> {
    let config = ChunkConfig::default().with_compression_level(LEVEL);
    simple_compress(values, &config).ok()
}

/// The values; `None` if the bytes are not a page of that many.
pub(crate) fn decode(page: &[u8], rows: usize) -> Option<Vec<i64>> {
    let (width, packed) = page.split_first()?;
    match width {
        4 => {
            let narrow: Vec<i32> = decompress(packed, rows)?;
            Some(narrow.into_iter().map(i64::from).collect())
        }
        8 => decompress(packed, rows),
        _ => None,
    }
}

fn decompress<T: Number + Default>(packed: &[u8], rows: usize) -> Option<Vec<T>> {
    let mut values = vec![T::default(); rows];
    let progress = simple_decompress_into(packed, &mut values).ok()?;
    (progress.finished && progress.n_processed == rows).then_some(values)
}
