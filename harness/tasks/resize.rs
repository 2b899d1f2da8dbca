//! Pillow's bilinear resize of 8-bit images, to the last bit.
//!
//! A triangle filter widened by the scale when shrinking; weights rounded to 22 fractional bits; the horizontal pass
//! first, rounded to 8 bits, then the vertical one; a pass that changes nothing is skipped.

const FRACTION: u32 = 22;

/// `pixels` is `[height, width, channel]` with 1 or 3 channels; the result `[new_height, new_width, channel]`. Sizes are
/// at least 1.
pub fn bilinear(
    pixels: &[u8],
    (height, width): (usize, usize),
    channels: usize,
    new: (usize, usize),
) -> Vec<u8> {
    assert_eq!(
        pixels.len(),
        height * width * channels,
        "[height, width, channel]"
    );
    let wide = match channels {
        _ if new.1 == width => pixels.to_vec(),
        1 => horizontally::<1>(pixels, width, new.1),
        3 => horizontally::<3>(pixels, width, new.1),
        _ => panic!("1 or 3 channels, not {channels}"),
    };
    if new.0 == height {
        wide
    } else {
        vertically(&wide, height, new.1 * channels, new.0)
    }
}

fn horizontally<const CHANNELS: usize>(pixels: &[u8], width: usize, new_width: usize) -> Vec<u8> {
    let taps = taps(width, new_width);
    let rows = pixels.chunks_exact(width * CHANNELS);
    let mut out = Vec::with_capacity(rows.len() * new_width * CHANNELS);
    for row in rows {
        let (row, _) = row.as_chunks::<CHANNELS>();
        for tap in &taps {
            let mut sums = [HALF; CHANNELS];
            for (pixel, weight) in row[tap.first..].iter().zip(&tap.weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += weight * i32::from(value);
                }
            }
            out.extend(sums.map(rounded));
        }
    }
    out
}

/// `row` is the number of values in a row.
fn vertically(pixels: &[u8], height: usize, row: usize, new_height: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(new_height * row);
    let mut sums = vec![HALF; row];
    for tap in taps(height, new_height) {
        sums.fill(HALF);
        for (values, weight) in pixels[tap.first * row..]
            .chunks_exact(row)
            .zip(&tap.weights)
        {
            for (sum, &value) in sums.iter_mut().zip(values) {
                *sum += weight * i32::from(value);
            }
        }
        out.extend(sums.iter().map(|&sum| rounded(sum)));
    }
    out
}

/// Half of the unit that sums are rounded to. Weights add up to 2^22 or a little more, so sums stay below 2^31.
const HALF: i32 = 1 << (FRACTION - 1);

fn rounded(sum: i32) -> u8 {
    (sum >> FRACTION).clamp(0, 255) as u8
}

/// The input places that make one output place, with their weights.
struct Tap {
    first: usize,
    weights: Vec<i32>,
}

fn taps(size: usize, new_size: usize) -> Vec<Tap> {
    let scale = size as f64 / new_size as f64;
    let support = scale.max(1.0);
    let tap = |place: usize| {
        let centre = (place as f64 + 0.5) * scale;
        // Truncation towards zero, as in C.
        let first = ((centre - support + 0.5) as i64).max(0) as usize;
        let end = ((centre + support + 0.5) as i64).min(size as i64) as usize;
        let triangle =
            |x: usize| (1.0 - ((x as f64 - centre + 0.5) * (1.0 / support)).abs()).max(0.0);
        let weights: Vec<f64> = (first..end).map(triangle).collect();
        let total: f64 = weights.iter().sum();
        let fixed = |weight: &f64| {
            let scaled = weight * (1.0 / total) * f64::from(1u32 << FRACTION);
            (scaled + 0.5) as i32
        };
        Tap {
            first,
            weights: weights.iter().map(fixed).collect(),
        }
    };
    (0..new_size).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_the_right_size_stays_as_it_is() {
        assert_eq!(bilinear(&[1, 2, 3, 4], (2, 2), 1, (2, 2)), [1, 2, 3, 4]);
    }

    #[test]
    fn halving_weighs_four_neighbours_of_a_row() {
        // Output 0 has its centre at 1 and reads inputs 0, 1 and 2 with weights 3/7, 3/7 and 1/7.
        assert_eq!(bilinear(&[0, 70, 140, 210], (1, 4), 1, (1, 2)), [50, 160]);
    }

    #[test]
    fn one_pixel_becomes_a_flat_image_of_its_colour() {
        assert_eq!(bilinear(&[9, 8, 7], (1, 1), 3, (2, 1)), [9, 8, 7, 9, 8, 7]);
    }
}
