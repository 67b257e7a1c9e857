//! Values into a column of another type, if that loses nothing.

use model::{Column, ColumnType, Scalar};

/// Casts a column; `lossy` casts as C does.
///
/// # Errors
/// The first row whose value would change, or that there is no cast.
pub(super) fn cast(
    column: &Column,
    to: ColumnType,
    lossy: bool,
) -> Result<Column, (usize, String)> {
    let from = column.ty();
    if from == to {
        return Ok(column.clone());
    }
    let cast = column.cast(to).map_err(|error| (0, error.to_string()))?;
    if lossy {
        return Ok(cast);
    }
    for row in 0..column.len() {
        let (old, new) = (column.scalar(row), cast.scalar(row));
        if !same(number(&old), number(&new)) {
            let what = format!(
                "{} is no {}; --lossy takes {}",
                show(&old),
                to.name(),
                show(&new)
            );
            return Err((row, what));
        }
    }
    Ok(cast)
}

/// A value in a width that holds it exactly.
#[derive(Debug, Clone, Copy)]
enum Number {
    Whole(i128),
    Float(f64),
    Text,
}

fn number(value: &Scalar) -> Number {
    match *value {
        Scalar::F32(v) => Number::Float(f64::from(v)),
        Scalar::F64(v) => Number::Float(v),
        Scalar::I8(v) => Number::Whole(v.into()),
        Scalar::I16(v) => Number::Whole(v.into()),
        Scalar::I32(v) => Number::Whole(v.into()),
        Scalar::I64(v) => Number::Whole(v.into()),
        Scalar::U8(v) => Number::Whole(v.into()),
        Scalar::U16(v) => Number::Whole(v.into()),
        Scalar::U32(v) => Number::Whole(v.into()),
        Scalar::U64(v) => Number::Whole(v.into()),
        Scalar::Str16(_) => Number::Text,
    }
}

fn same(old: Number, new: Number) -> bool {
    match (old, new) {
        (Number::Whole(a), Number::Whole(b)) => a == b,
        (Number::Float(a), Number::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
        // Floats of at most 2^64 are exact as i128, and `as` saturates far above.
        (Number::Whole(whole), Number::Float(float))
        | (Number::Float(float), Number::Whole(whole)) => {
            float.fract() == 0.0 && float as i128 == whole
        }
        _ => false,
    }
}

fn show(value: &Scalar) -> String {
    match number(value) {
        Number::Whole(v) => v.to_string(),
        Number::Float(v) => format!("{v:?}"),
        Number::Text => "text".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_fit_are_cast() {
        let floats = Column::from_values(vec![1.5_f64, f64::NAN, f64::INFINITY, -0.0]);
        let cast32 = cast(&floats, ColumnType::F32, false).unwrap();
        assert_eq!(cast32.values::<f32>().unwrap()[0], 1.5);
        let wholes = Column::from_values(vec![1_i64, -128, 127]);
        assert!(cast(&wholes, ColumnType::I8, false).is_ok());
        assert!(cast(&wholes, ColumnType::F32, false).is_ok());
    }

    #[test]
    fn values_that_would_change_are_named() {
        let refused = |column: Column, to, row: usize| {
            let (at, what) = cast(&column, to, false).unwrap_err();
            assert_eq!(at, row, "{what}");
            assert!(cast(&column, to, true).is_ok());
            what
        };
        let what = refused(Column::from_values(vec![1_i64, 128]), ColumnType::I8, 1);
        assert_eq!(what, "128 is no BYTE; --lossy takes -128");
        refused(Column::from_values(vec![0.1_f64]), ColumnType::F32, 0);
        refused(Column::from_values(vec![f64::NAN]), ColumnType::I32, 0);
        refused(Column::from_values(vec![1.0, 1.5]), ColumnType::I64, 1);
        refused(Column::from_values(vec![i64::MAX]), ColumnType::F64, 0);
        refused(
            Column::from_values(vec![2_f64.powi(63)]),
            ColumnType::I64,
            0,
        );
        refused(Column::from_values(vec![u64::MAX]), ColumnType::F64, 0);
        refused(Column::from_values(vec![-1_i8]), ColumnType::U64, 0);
        let text = Column::from_values(vec![[0_u32; 16]]);
        assert!(cast(&text, ColumnType::F64, true).is_err());
    }
}
