use arrow_array::builder::{Decimal128Builder, StringDictionaryBuilder};
use arrow_array::types::Int8Type as Key;
use arrow_array::*;
use model::{ColumnDef, Zone};

use super::*;

fn rules() -> ValueRules {
    ValueRules::default()
}

fn time_rules(unit: Option<i64>, zone: &str) -> TimeRules {
    let zone = Zone::parse(zone).unwrap();
    TimeRules { unit, zone }
}

/// Numbers go over and come back without a copy: the very same addresses.
#[test]
fn numbers_are_adopted() {
    let defs = [ColumnType::F64, ColumnType::I8].map(|ty| ColumnDef::new(ty.name(), ty));
    let ours = Schema::new(defs.to_vec()).unwrap();
    let times: Vec<i64> = (0..100).collect();
    let columns = vec![
        Column::from_values((0..100).map(f64::from).collect()),
        Column::from_values((0..100).map(|n| n as i8).collect()),
    ];
    let batch = ColumnBatch::new(ours.clone(), Column::from_values(times), columns).unwrap();
    // A slice begins in the middle of a buffer.
    for batch in [batch.clone(), batch.slice(7..93)] {
        let theirs = record_batch(&schema(&ours, false, HashMap::new()), None, &batch).unwrap();
        let utc = time_rules(None, "");
        let time = super::times(theirs.column(0), &utc).unwrap();
        assert_eq!(time.bytes().as_ptr(), batch.time_column().bytes().as_ptr());
        for (at, old) in batch.columns().iter().enumerate() {
            let new = column(theirs.column(at + 1), rules()).unwrap();
            assert_eq!(&new, old);
            assert_eq!(new.bytes().as_ptr(), old.bytes().as_ptr());
        }
    }
    let empty = ColumnBatch::empty(ours.clone());
    let theirs = record_batch(&schema(&ours, false, HashMap::new()), None, &empty).unwrap();
    assert_eq!(theirs.num_rows(), 0);
}

#[test]
fn missing_values_are_nan_or_refused() {
    let floats = Float64Array::from(vec![Some(1.0), None]);
    let floats = column(&floats, rules()).unwrap();
    let floats = floats.values::<f64>().unwrap();
    assert!(floats[0] == 1.0 && floats[1].is_nan());
    let zero = ValueRules {
        nulls_zero: true,
        ..rules()
    };
    let wholes = Int32Array::from(vec![Some(1), Some(2), None]);
    assert_eq!(column(&wholes, rules()).unwrap_err().row, 2);
    let wholes = column(&wholes, zero).unwrap();
    assert_eq!(wholes.values::<i32>(), Some(&[1, 2, 0][..]));
    let texts = StringArray::from(vec![None, Some("a")]);
    assert_eq!(column(&texts, rules()).unwrap_err().row, 0);
    let texts = column(&texts, zero).unwrap();
    assert_eq!(texts.values::<[u32; 16]>().unwrap()[0], [0; 16]);
    // A slice of an array counts its own rows.
    let sliced = Int32Array::from(vec![None, Some(2), None]).slice(1, 2);
    assert_eq!(column(&sliced, rules()).unwrap_err().row, 1);
}

#[test]
fn texts_of_every_kind_are_read() {
    let wanted = ["P", "", "\u{20ac}uro"];
    let mut dictionary = StringDictionaryBuilder::<Key>::new();
    wanted.iter().for_each(|text| dictionary.append_value(text));
    let arrays: [&dyn Array; 4] = [
        &StringArray::from(wanted.to_vec()),
        &LargeStringArray::from(wanted.to_vec()),
        &StringViewArray::from(wanted.to_vec()),
        &dictionary.finish(),
    ];
    for array in arrays {
        let ty = column_type(array.data_type(), rules());
        assert_eq!(ty, Ok(ColumnType::Str16));
        let read = column(array, rules()).unwrap();
        for (value, wanted) in read.values::<[u32; 16]>().unwrap().iter().zip(wanted) {
            let mut text = String::new();
            push_text(value, &mut text).unwrap();
            assert_eq!(text, wanted);
        }
    }
    let mut missing = StringDictionaryBuilder::<Key>::new();
    missing.append_value("a");
    missing.append_null();
    assert_eq!(column(&missing.finish(), rules()).unwrap_err().row, 1);
    let long = StringArray::from(vec!["1234567890123456", "12345678901234567"]);
    let error = column(&long, rules()).unwrap_err();
    assert_eq!(error.row, 1);
    assert!(error.what.contains("longer than 16"), "{}", error.what);
    assert!(push_text(&[0xd800; 16], &mut String::new()).is_err());
}

#[test]
fn other_types_are_taken_if_told_or_refused_by_name() {
    let mut decimals = Decimal128Builder::new();
    decimals.append_value(12345);
    decimals.append_null();
    let decimals = decimals.finish().with_precision_and_scale(10, 2).unwrap();
    let error = column_type(decimals.data_type(), rules()).unwrap_err();
    assert!(error.contains("--decimals float"), "{error}");
    let taken = ValueRules {
        decimals: true,
        ..rules()
    };
    let read = column(&decimals, taken).unwrap();
    let read = read.values::<f64>().unwrap();
    assert!(read[0] == 123.45 && read[1].is_nan());
    let bits = column(&BooleanArray::from(vec![true, false]), rules()).unwrap();
    assert_eq!(bits.values::<u8>(), Some(&[1, 0][..]));
    for ty in [DataType::Binary, DataType::Null, DataType::Date32] {
        let error = column_type(&ty, rules()).unwrap_err();
        assert!(error.contains(&ty.to_string()), "{error}");
    }
}

#[test]
fn times_of_every_unit_are_the_same_instant() {
    let second = 1_580_482_645_i64;
    let nanos = second * 1_000_000_000;
    let utc = time_rules(None, "");
    let arrays: [&dyn Array; 5] = [
        &TimestampSecondArray::from(vec![second]),
        &TimestampMillisecondArray::from(vec![second * 1000]).with_timezone("+02:00"),
        &TimestampMicrosecondArray::from(vec![second * 1_000_000]),
        &TimestampNanosecondArray::from(vec![nanos]).with_timezone("America/New_York"),
        &Date64Array::from(vec![second * 1000]),
    ];
    for array in arrays {
        let read = times(array, &utc).unwrap();
        assert_eq!(
            read.values::<i64>(),
            Some(&[nanos][..]),
            "{}",
            array.data_type()
        );
    }
    let seconds = Int64Array::from(vec![second]);
    let error = times(&seconds, &utc).unwrap_err();
    assert!(error.what.contains("--time-unit"), "{}", error.what);
    let read = times(&seconds, &time_rules(Some(1_000_000_000), "")).unwrap();
    assert_eq!(read.values::<i64>(), Some(&[nanos][..]));
}

#[test]
fn times_without_a_zone_are_in_the_one_named() {
    let new_york = time_rules(None, "America/New_York");
    let hours = 3_600_000_000_000;
    let wall = TimestampNanosecondArray::from(vec![0]);
    let read = times(&wall, &new_york).unwrap();
    assert_eq!(read.values::<i64>(), Some(&[5 * hours][..]));
    let read = times(&wall.with_timezone("UTC"), &new_york).unwrap();
    assert_eq!(read.values::<i64>(), Some(&[0][..]));
    // 2020-07-01, in summer time.
    let days = Date32Array::from(vec![18_444]);
    let read = times(&days, &new_york).unwrap();
    assert_eq!(
        read.values::<i64>(),
        Some(&[18_444 * 24 * hours + 4 * hours][..])
    );
}

#[test]
fn times_that_are_none_name_their_row() {
    let utc = time_rules(None, "");
    let arrays: [(&dyn Array, usize, &str); 4] = [
        (
            &TimestampSecondArray::from(vec![Some(0), None]),
            1,
            "missing",
        ),
        (
            &TimestampSecondArray::from(vec![0, 0, i64::MAX]),
            2,
            "outside 1678",
        ),
        (
            &TimestampNanosecondArray::from(vec![0, i64::MIN]),
            1,
            "outside 1678",
        ),
        (&Float64Array::from(vec![1.0]), 0, "Float64 is no time"),
    ];
    for (array, row, part) in arrays {
        let error = times(array, &utc).unwrap_err();
        assert_eq!(error.row, row);
        assert!(error.what.contains(part), "{}", error.what);
    }
}
