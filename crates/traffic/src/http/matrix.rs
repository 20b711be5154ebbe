//! Something to compute: the product of two square matrices, with a sum that must come out.

/// The largest order that is multiplied: 17 million multiplications.
pub const MATRIX_ORDER_MAX: usize = 256;

/// Multiplies two matrices of this order. Gives the sum of all elements of the product; nothing where it is not what the
/// factors say it must be: the sum over k of (column k of the first) times (row k of the second).
pub(crate) fn multiply(order: usize) -> Option<u64> {
    let element = |row: usize, column: usize, seed: u64| (row as u64 * 31 + column as u64 * 17 + seed) % 1009;
    let make =
        |seed| (0..order * order).map(|at| element(at / order, at % order, seed)).collect::<Vec<u64>>();
    let (first, second) = (make(3), make(7));
    let mut sum = 0_u64;
    for row in first.chunks_exact(order) {
        for column in 0..order {
            let products = row.iter().zip(second.chunks_exact(order)).map(|(a, row)| a * row[column]);
            sum += products.sum::<u64>();
        }
    }
    let column_sum = |k: usize| first.chunks_exact(order).map(|row| row[k]).sum::<u64>();
    let row_sums = second.chunks_exact(order).map(|row| row.iter().sum::<u64>());
    let expected: u64 = row_sums.enumerate().map(|(k, row_sum)| column_sum(k) * row_sum).sum();
    (sum == expected).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_is_the_product() {
        // [3] x [7], and [3 20; 34 51] x [7 24; 38 55]: 781 + 1172 + 2176 + 3621.
        assert_eq!(multiply(1), Some(21));
        assert_eq!(multiply(2), Some(7750));
        assert!(multiply(MATRIX_ORDER_MAX).is_some());
    }
}
