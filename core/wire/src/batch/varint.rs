//! Zigzag variable-length integers, as records use them: seven bits a byte, the lowest first.

/// Reads from the front of a slice. The errors are for people: what is wrong with "it", the thing that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Input<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or("it is cut off")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        let (byte, rest) = self.bytes.split_first().ok_or("it is cut off")?;
        self.bytes = rest;
        Ok(*byte)
    }

    /// At most `bits` bits: five bytes for 32, ten for 64.
    fn unsigned(&mut self, bits: u32) -> Result<u64, &'static str> {
        let first = self.byte()?;
        let mut value = u64::from(first & 0x7f);
        let mut more = first & 0x80 != 0;
        let mut shift = 7;
        while more {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift >= bits || (bits - shift < 7 && part >> (bits - shift) != 0) {
                return Err("a number does not fit");
            }
            value |= part << shift;
            more = byte & 0x80 != 0;
            shift += 7;
        }
        Ok(value)
    }

    pub(super) fn varint(&mut self) -> Result<i32, &'static str> {
        let raw = self.unsigned(32)? as u32;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    pub(super) fn varlong(&mut self) -> Result<i64, &'static str> {
        let raw = self.unsigned(64)?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// A length and so many bytes; -1 is null.
    pub(super) fn nullable(&mut self) -> Result<Option<&'a [u8]>, &'static str> {
        match self.varint()? {
            -1 => Ok(None),
            len => self.take(usize::try_from(len).map_err(|_| "a length is negative")?).map(Some),
        }
    }
}

fn zigzag32(value: i32) -> u64 {
    u64::from(((value << 1) ^ (value >> 31)) as u32)
}

fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn unsigned_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

pub(super) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_unsigned(out, zigzag32(value));
}

pub(super) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, zigzag64(value));
}

/// Bytes that [`put_varint`] writes: 1 to 5.
pub(super) fn varint_len(value: i32) -> usize {
    unsigned_len(zigzag32(value))
}

/// Bytes that [`put_varlong`] writes: 1 to 10.
pub(super) fn varlong_len(value: i64) -> usize {
    unsigned_len(zigzag64(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read32(bytes: &[u8]) -> Result<(i32, usize), &'static str> {
        let mut input = Input { bytes };
        input.varint().map(|v| (v, bytes.len() - input.bytes.len()))
    }

    fn read64(bytes: &[u8]) -> Result<(i64, usize), &'static str> {
        let mut input = Input { bytes };
        input.varlong().map(|v| (v, bytes.len() - input.bytes.len()))
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(small in any::<i32>(), shift in 0..32u32, large in any::<i64>(), far in 0..64u32) {
            let (small, large) = (small >> shift, large >> far);
            let mut out = Vec::new();
            put_varint(&mut out, small);
            prop_assert_eq!((read32(&out), out.len()), (Ok((small, out.len())), varint_len(small)));
            out.clear();
            put_varlong(&mut out, large);
            prop_assert_eq!((read64(&out), out.len()), (Ok((large, out.len())), varlong_len(large)));
        }
    }

    #[test]
    fn known_values_have_their_bytes() {
        for (value, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[126]),
            (-64, &[127]),
            (64, &[0x80, 1]),
            (150, &[0xac, 2]),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
        }
        assert_eq!([i32::MIN, i32::MAX].map(varint_len), [5, 5]);
        assert_eq!([i64::MIN, i64::MAX].map(varlong_len), [10, 10]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let fits = "a number does not fit";
        assert_eq!(read32(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok((i32::MIN, 5)));
        assert_eq!(read32(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(fits));
        assert_eq!(read32(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), Err(fits));
        assert_eq!(read64(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Ok((i64::MIN, 10)));
        assert_eq!(read64(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x03]), Err(fits));
        assert_eq!(read64(&[0x80; 11]), Err(fits));
        assert_eq!(read32(&[0x80, 0x80]), Err("it is cut off"));
        assert_eq!(read32(&[]), Err("it is cut off"));
    }
}
