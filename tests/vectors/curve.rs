//! Textbook arithmetic on P-256 and P-384, slow and in variable time: the second opinion on a library that takes no
//! private key. It never leaves the tests.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Encoding, Odd, U256, U384, Uint};

/// y^2 = x^3 - 3x + b over a prime field.
pub struct Curve<const LIMBS: usize> {
    field: FixedMontyParams<LIMBS>,
    base: Point<LIMBS>,
}

type Element<const LIMBS: usize> = FixedMontyForm<LIMBS>;

/// An affine point; `None` is the point at infinity.
type Point<const LIMBS: usize> = Option<(Element<LIMBS>, Element<LIMBS>)>;

/// FIPS 186-4 D.1.2.3.
pub fn p256() -> Curve<{ U256::LIMBS }> {
    Curve::new(
        Odd::<U256>::from_be_hex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
        U256::from_be_hex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
        U256::from_be_hex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
    )
}

/// FIPS 186-4 D.1.2.4.
pub fn p384() -> Curve<{ U384::LIMBS }> {
    Curve::new(
        Odd::<U384>::from_be_hex(concat!(
            "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe",
            "ffffffff0000000000000000ffffffff"
        )),
        U384::from_be_hex(concat!(
            "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a38",
            "5502f25dbf55296c3a545e3872760ab7"
        )),
        U384::from_be_hex(concat!(
            "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c0",
            "0a60b1ce1d7e819d7a431d7c90ea0e5f"
        )),
    )
}

impl<const LIMBS: usize> Curve<LIMBS>
where
    Uint<LIMBS>: Encoding,
{
    fn new(prime: Odd<Uint<LIMBS>>, x: Uint<LIMBS>, y: Uint<LIMBS>) -> Self {
        let field = FixedMontyParams::new(prime);
        Self { field, base: Some((Element::new(&x, &field), Element::new(&y, &field))) }
    }

    /// The public value of a private key, x | y.
    pub fn public(&self, private: &[u8]) -> Vec<u8> {
        self.encode(self.times(private, self.base))
    }

    /// A private key times a public value x | y.
    pub fn multiply(&self, private: &[u8], public: &[u8]) -> Vec<u8> {
        let (x, y) = public.split_at(Uint::<LIMBS>::BYTES);
        let element = |bytes| Element::new(&Uint::from_be_slice(bytes), &self.field);
        self.encode(self.times(private, Some((element(x), element(y)))))
    }

    fn encode(&self, point: Point<LIMBS>) -> Vec<u8> {
        let (x, y) = point.expect("a point other than infinity");
        [x, y].iter().flat_map(|element| element.retrieve().to_be_bytes().as_ref().to_vec()).collect()
    }

    fn times(&self, private: &[u8], point: Point<LIMBS>) -> Point<LIMBS> {
        let bits = private.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
        bits.fold(None, |sum, bit| {
            let doubled = self.add(sum, sum);
            if bit { self.add(doubled, point) } else { doubled }
        })
    }

    fn add(&self, left: Point<LIMBS>, right: Point<LIMBS>) -> Point<LIMBS> {
        let (Some((x1, y1)), Some((x2, y2))) = (left, right) else { return left.or(right) };
        let slope = match (x1 == x2, y1 == y2) {
            (false, _) => (y2 - y1) * self.inverse(x2 - x1),
            (true, true) => {
                let three = Element::new(&Uint::from(3u8), &self.field);
                (three * x1 * x1 - three) * self.inverse(y1 + y1)
            }
            (true, false) => return None,
        };
        let x3 = slope * slope - x1 - x2;
        Some((x3, slope * (x1 - x3) - y1))
    }

    /// By Fermat: the element to the power of p - 2.
    fn inverse(&self, element: Element<LIMBS>) -> Element<LIMBS> {
        element.pow(&self.field.modulus().as_ref().wrapping_sub(&Uint::from(2u8)))
    }
}
