//! Pillow's bilinear resize of 8-bit images, to the last bit.
//!
//! A triangle filter widened by the scale when shrinking; weights rounded to 22 fractional bits; the horizontal pass
//! first, rounded to 8 bits, then the vertical one; a pass that changes nothing is skipped.

const FRACTION: u32 = 22;

/// `pixels` is `[height, width, channel]`; the result `[new_height, new_width, channel]`. Sizes are at least 1.
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
    let wide = if new.1 == width {
        pixels.to_vec()
    } else {
        horizontally(pixels, height, width, channels, new.1)
    };
    if new.0 == height {
        wide
    } else {
        vertically(&wide, height, new.1, channels, new.0)
    }
}

fn horizontally(
    pixels: &[u8],
    height: usize,
    width: usize,
    channels: usize,
    new_width: usize,
) -> Vec<u8> {
    let taps = taps(width, new_width);
    let mut out = Vec::with_capacity(height * new_width * channels);
    for y in 0..height {
        let row = &pixels[y * width * channels..];
        for tap in &taps {
            for c in 0..channels {
                out.push(tap.apply(|x| row[x * channels + c]));
            }
        }
    }
    out
}

fn vertically(
    pixels: &[u8],
    height: usize,
    width: usize,
    channels: usize,
    new_height: usize,
) -> Vec<u8> {
    let row = width * channels;
    let mut out = Vec::with_capacity(new_height * row);
    for tap in taps(height, new_height) {
        for x in 0..row {
            out.push(tap.apply(|y| pixels[y * row + x]));
        }
    }
    out
}

/// The input places that make one output place, with their weights.
struct Tap {
    first: usize,
    weights: Vec<i64>,
}

impl Tap {
    fn apply(&self, pixel: impl Fn(usize) -> u8) -> u8 {
        let half = 1 << (FRACTION - 1);
        let places = self.weights.iter().enumerate();
        let sum = places.fold(half, |sum, (i, weight)| {
            sum + weight * i64::from(pixel(self.first + i))
        });
        (sum >> FRACTION).clamp(0, 255) as u8
    }
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
            (scaled + 0.5) as i64
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
