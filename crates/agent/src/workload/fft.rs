//! A fast Fourier transform (radix 2, in place: Cooley and Tukey 1965), there and back.

use std::f64::consts::TAU;

/// A complex number: real and imaginary part.
type Complex = (f64, f64);

/// Transforms of one length.
#[derive(Debug)]
pub(super) struct Fft {
    /// The first half of the roots of unity.
    roots: Vec<Complex>,
}

impl Fft {
    /// Transforms of so many points, a power of two.
    pub(super) fn new(points: usize) -> Self {
        let root = |k: usize| (-TAU * k as f64 / points as f64).sin_cos();
        Self { roots: (0..points / 2).map(root).map(|(sin, cos)| (cos, sin)).collect() }
    }

    /// Transforms a signal.
    pub(super) fn forward(&self, signal: &mut [Complex]) {
        reorder(signal);
        let mut half = 1;
        while half < signal.len() {
            let stride = self.roots.len() / half;
            for block in signal.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                let roots = self.roots.iter().step_by(stride);
                for ((a, b), root) in low.iter_mut().zip(high).zip(roots) {
                    let turned = (b.0 * root.0 - b.1 * root.1, b.0 * root.1 + b.1 * root.0);
                    *b = (a.0 - turned.0, a.1 - turned.1);
                    *a = (a.0 + turned.0, a.1 + turned.1);
                }
            }
            half *= 2;
        }
    }

    /// Transforms it back: the forward transform with real and imaginary parts exchanged on the way in and out.
    pub(super) fn backward(&self, signal: &mut [Complex]) {
        let scale = 1.0 / signal.len() as f64;
        signal.iter_mut().for_each(|value| *value = (value.1, value.0));
        self.forward(signal);
        signal.iter_mut().for_each(|value| *value = (value.1 * scale, value.0 * scale));
    }
}

/// Puts each value where its index read backwards in bits says.
fn reorder(signal: &mut [Complex]) {
    let bits = signal.len().trailing_zeros();
    for index in 1..signal.len() {
        let mirrored = index.reverse_bits() >> (usize::BITS - bits);
        if index < mirrored {
            signal.swap(index, mirrored);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pure_tone_is_one_line_of_the_spectrum_and_comes_back() {
        let fft = Fft::new(64);
        let tone: Vec<Complex> = (0..64)
            .map(|i| (TAU * 5.0 * f64::from(i) / 64.0).sin_cos())
            .map(|(sin, cos)| (cos, sin))
            .collect();
        let mut signal = tone.clone();
        fft.forward(&mut signal);
        for (line, value) in signal.iter().enumerate() {
            let expected = if line == 5 { 64.0 } else { 0.0 };
            assert!((value.0 - expected).abs() < 1e-9 && value.1.abs() < 1e-9, "line {line}: {value:?}");
        }
        fft.backward(&mut signal);
        let same = |(a, b): (&Complex, &Complex)| (a.0 - b.0).abs() < 1e-12 && (a.1 - b.1).abs() < 1e-12;
        assert!(signal.iter().zip(&tone).all(same));
    }
}
