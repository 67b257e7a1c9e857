//! One value of a column, for the few places that look at single rows.

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// 32-bit float.
    F32(f32),
    /// 32-bit signed integer.
    I32(i32),
    /// 64-bit float.
    F64(f64),
    /// 64-bit signed integer.
    I64(i64),
    /// 8-bit signed integer.
    I8(i8),
    /// 16-bit signed integer.
    I16(i16),
    /// 8-bit unsigned integer.
    U8(u8),
    /// 16-bit unsigned integer.
    U16(u16),
    /// 32-bit unsigned integer.
    U32(u32),
    /// 64-bit unsigned integer.
    U64(u64),
    /// The 16 code points of a text, zeros included.
    Str16([u32; 16]),
}
