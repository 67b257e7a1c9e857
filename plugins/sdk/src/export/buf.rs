//! Texts and bytes on their way across.

use std::ffi::c_void;
use std::mem::{size_of, zeroed};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use plugin_abi::{Buf, Str};

/// Buffers given and not yet released, of this side of the border.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// How many buffers this side has given that are not released: 0 when no call is under way.
pub fn live_bufs() -> usize {
    LIVE.load(Relaxed)
}

/// Hands bytes over; the receiver releases them.
pub fn give(bytes: impl Into<Vec<u8>>) -> Buf {
    let bytes: Vec<u8> = bytes.into();
    let (ptr, len) = (bytes.as_ptr(), bytes.len() as u64);
    LIVE.fetch_add(1, Relaxed);
    Buf {
        ptr,
        len,
        owner: Box::into_raw(Box::new(bytes)).cast::<c_void>(),
        release: Some(release),
    }
}

unsafe extern "C" fn release(buf: *mut Buf) {
    // SAFETY: called with a buffer of `give`. One that is released twice has no owner any more, as
    // long as it is the same `Buf`.
    unsafe {
        let owner = std::mem::replace(&mut (*buf).owner, std::ptr::null_mut());
        (*buf).ptr = std::ptr::null();
        (*buf).len = 0;
        if !owner.is_null() {
            drop(Box::from_raw(owner.cast::<Vec<u8>>()));
            LIVE.fetch_sub(1, Relaxed);
        }
    }
}

/// Copies what was handed over and releases it.
///
/// # Safety
/// `buf` is as a function of the other side left it; it is not used again.
pub unsafe fn take(mut buf: Buf) -> Vec<u8> {
    // SAFETY: pointer and length are those of the other side.
    let bytes = unsafe { bytes(&raw_str(&buf)) }.to_vec();
    if let Some(release) = buf.release {
        // SAFETY: once, as `buf` was given to this function.
        unsafe { release(&mut buf) };
    }
    bytes
}

fn raw_str(buf: &Buf) -> Str {
    Str {
        ptr: buf.ptr,
        len: buf.len,
    }
}

/// What was lent, for as long as the caller says.
///
/// # Safety
/// `of` is what the other side lent, and it lives for `'a`.
pub unsafe fn bytes<'a>(of: &Str) -> &'a [u8] {
    let len = usize::try_from(of.len).unwrap_or(0);
    if of.ptr.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts(of.ptr, len) }
}

/// Text that was lent; `None` if it is no UTF-8.
///
/// # Safety
/// As [`bytes()`].
pub unsafe fn text<'a>(of: &Str) -> Option<&'a str> {
    // SAFETY: promised by the caller.
    std::str::from_utf8(unsafe { bytes(of) }).ok()
}

/// Lends bytes for a call.
pub fn lent(bytes: &[u8]) -> Str {
    Str::of(bytes)
}

/// Reads a struct that begins with its size: what the other side does not have is zero, what we do
/// not know is left out.
///
/// # Safety
/// `of` is NULL or points to a struct of the border, which begins with a `u32` that says how many
/// bytes of it there are; all zeros must be a value of `T`.
pub unsafe fn read_sized<T: Copy>(of: *const T) -> Option<T> {
    if of.is_null() {
        return None;
    }
    // SAFETY: promised by the caller; only bytes that are there are copied.
    unsafe {
        let size = of.cast::<u32>().read() as usize;
        let mut value: T = zeroed();
        // Members behind the head are words: half a pointer is none.
        let size = size.min(size_of::<T>()) / 8 * 8;
        std::ptr::copy_nonoverlapping(of.cast::<u8>(), (&raw mut value).cast::<u8>(), size);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_released_once() {
        let before = live_bufs();
        let mut buf = give("text");
        assert_eq!(live_bufs(), before + 1);
        let release = buf.release.unwrap();
        // SAFETY: a buffer of `give`, the second time without an owner.
        unsafe {
            release(&mut buf);
            release(&mut buf);
        }
        assert_eq!(live_bufs(), before);
        // SAFETY: as given.
        assert_eq!(unsafe { take(give("text")) }, b"text");
        assert_eq!(live_bufs(), before);
    }

    #[test]
    fn a_smaller_struct_is_read_as_far_as_it_goes() {
        #[derive(Clone, Copy, PartialEq, Debug)]
        #[repr(C)]
        struct Two {
            size: u32,
            a: u32,
            b: u64,
        }
        let of = Two {
            size: 12,
            a: 7,
            b: 9,
        };
        // SAFETY: a struct that begins with its size.
        let read = unsafe { read_sized(&raw const of) }.unwrap();
        assert_eq!(read, Two { b: 0, ..of });
    }
}
