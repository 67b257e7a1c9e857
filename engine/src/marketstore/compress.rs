//! Whether the ticks of an interval are compressed. MarketStore's switch is global and stored
//! nowhere, so each data area has to prove it itself: it is compressed if it decodes, to its last
//! byte, to whole rows, and plain if it is whole rows as it stands. Where both would do, the areas
//! of the same bucket that leave no doubt decide; if there is none, nothing is decided.

/// How the data areas of tick buckets are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Each area shows it.
    #[default]
    Auto,
    /// All are compressed: MarketStore's default since version 3.
    On,
    /// None is: version 2, or `disable_variable_compression: true`.
    Off,
}

/// What one area turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Snappy,
}

/// An area, looked at both ways.
#[derive(Debug)]
pub(super) struct Area {
    plain: Option<Vec<u8>>,
    unpacked: Option<Vec<u8>>,
}

impl Area {
    pub(super) fn new(bytes: Vec<u8>, row_bytes: usize) -> Self {
        let whole = |bytes: &Vec<u8>| !bytes.is_empty() && bytes.len().is_multiple_of(row_bytes);
        let unpacked = unpack(&bytes).filter(whole);
        let plain = Some(bytes).filter(whole);
        Self { plain, unpacked }
    }

    /// The form, if the bytes allow only one.
    pub(super) fn proven(&self) -> Option<Form> {
        match (&self.plain, &self.unpacked) {
            (Some(_), None) => Some(Form::Plain),
            (None, Some(_)) => Some(Form::Snappy),
            _ => None,
        }
    }

    /// The rows; `doubt` is asked for the form only if both are possible.
    pub(super) fn rows(
        self,
        compression: Compression,
        doubt: impl FnOnce() -> Option<Form>,
    ) -> Result<Vec<u8>, &'static str> {
        let form = match compression {
            Compression::On => Some(Form::Snappy),
            Compression::Off => Some(Form::Plain),
            Compression::Auto if self.plain.is_none() && self.unpacked.is_none() => {
                return Err("the ticks are neither whole rows nor a snappy block of whole rows");
            }
            Compression::Auto => self.proven().or_else(doubt),
        };
        match form {
            Some(Form::Snappy) => self
                .unpacked
                .ok_or("the ticks are no snappy block of whole rows"),
            Some(Form::Plain) => self.plain.ok_or("the ticks are not whole rows"),
            None => Err(
                "the ticks can be read compressed and uncompressed, and no other area of the \
                 bucket tells which is meant: say --variable-compression on or off",
            ),
        }
    }
}

/// Decodes a snappy block. A block cannot hold more than 64 bytes for 3, so a length that claims
/// more is damage and nothing is allocated for it.
fn unpack(bytes: &[u8]) -> Option<Vec<u8>> {
    let len = snap::raw::decompress_len(bytes).ok()?;
    if len > bytes.len().saturating_mul(22) {
        return None;
    }
    snap::raw::Decoder::new().decompress_vec(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(rows: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(rows).unwrap()
    }

    fn none() -> Option<Form> {
        None
    }

    #[test]
    fn the_bytes_tell_what_they_are() {
        let rows: Vec<u8> = (0..120).collect();
        assert_eq!(Area::new(rows.clone(), 12).proven(), Some(Form::Plain));
        let area = Area::new(packed(&rows), 12);
        assert_eq!(area.proven(), Some(Form::Snappy));
        assert_eq!(area.rows(Compression::Auto, none).unwrap(), rows);
        assert!(
            Area::new(packed(&rows), 12)
                .rows(Compression::Off, none)
                .is_err()
        );
        assert!(
            Area::new(rows.clone(), 12)
                .rows(Compression::On, none)
                .is_err()
        );
        let mut broken = packed(&rows);
        broken.truncate(broken.len() - 1);
        assert!(Area::new(broken, 13).rows(Compression::Auto, none).is_err());
        assert!(
            Area::new(Vec::new(), 12)
                .rows(Compression::Auto, none)
                .is_err()
        );
    }

    #[test]
    fn doubt_is_settled_by_others_or_not_at_all() {
        // Repeated rows pack to a length that is a whole number of rows as well.
        let rows = (1..400)
            .map(|n| vec![7_u8; n * 12])
            .find(|rows| packed(rows).len().is_multiple_of(12))
            .unwrap();
        let area = || Area::new(packed(&rows), 12);
        assert_eq!(area().proven(), None);
        assert!(
            area()
                .rows(Compression::Auto, none)
                .unwrap_err()
                .contains("--variable")
        );
        let told = |form| area().rows(Compression::Auto, || Some(form)).unwrap();
        assert_eq!(told(Form::Snappy), rows);
        assert_eq!(told(Form::Plain), packed(&rows));
    }

    #[test]
    fn a_block_that_claims_gigabytes_is_refused() {
        let claims = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
        assert!(unpack(&claims).is_none());
        // The densest block there is stays allowed.
        let zeros = vec![0; 1 << 20];
        assert_eq!(unpack(&packed(&zeros)).unwrap(), zeros);
    }
}
