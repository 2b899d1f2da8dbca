//! Random crops and flips of images, drawn as torchvision's `RandomResizedCrop` and `RandomHorizontalFlip` draw them.

use harness::seed::SplitMix;

/// Share of the image's area that a crop takes.
const SCALE: (f64, f64) = (0.08, 1.0);
/// Width over height of a crop.
const RATIO: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);
/// Crops tried before the one in the centre is taken.
const TRIES: usize = 10;

/// A part of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Rows above it.
    pub top: usize,
    /// Columns left of it.
    pub left: usize,
    /// Its rows.
    pub height: usize,
    /// Its columns.
    pub width: usize,
}

/// Whether an image is mirrored left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flip {
    /// As it is.
    No,
    /// Mirrored.
    Yes,
}

/// A random crop of an image of this height and width, and whether it is flipped, each with probability 1/2.
///
/// Area and logarithm of the ratio are uniform, and so is the place; a crop that does not fit is drawn again.
pub fn random((height, width): (usize, usize), random: &mut SplitMix) -> (Crop, Flip) {
    let area = (height * width) as f64;
    let mut found = None;
    for _ in 0..TRIES {
        let target = area * uniform(SCALE, random);
        let ratio = uniform((RATIO.0.ln(), RATIO.1.ln()), random).exp();
        // Python rounds halves to even.
        let w = (target * ratio).sqrt().round_ties_even() as usize;
        let h = (target / ratio).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            found = Some(Crop {
                top: random.below((height - h + 1) as u64) as usize,
                left: random.below((width - w + 1) as u64) as usize,
                height: h,
                width: w,
            });
            break;
        }
    }
    let crop = found.unwrap_or_else(|| centre(height, width));
    let flip = if random.below(2) == 0 {
        Flip::No
    } else {
        Flip::Yes
    };
    (crop, flip)
}

/// The largest crop in the centre whose ratio is allowed.
fn centre(height: usize, width: usize) -> Crop {
    let ratio = width as f64 / height as f64;
    let rounded = |size: f64| size.round_ties_even().max(1.0) as usize;
    let (h, w) = match ratio {
        _ if ratio < RATIO.0 => (rounded(width as f64 / RATIO.0), width),
        _ if ratio > RATIO.1 => (height, rounded(height as f64 * RATIO.1)),
        _ => (height, width),
    };
    Crop {
        top: (height - h) / 2,
        left: (width - w) / 2,
        height: h,
        width: w,
    }
}

fn uniform((low, high): (f64, f64), random: &mut SplitMix) -> f64 {
    let unit = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
    low + (high - low) * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_fit_and_keep_to_area_and_ratio() {
        let mut stream = SplitMix::new(1);
        let (mut flips, mut areas) = (0, 0.0);
        for _ in 0..4000 {
            let (crop, flip) = random((300, 400), &mut stream);
            assert!(crop.top + crop.height <= 300 && crop.left + crop.width <= 400);
            let (h, w) = (crop.height as f64, crop.width as f64);
            // Sizes are rounded, which moves both a little.
            assert!((0.075..=1.005).contains(&(h * w / 120_000.0)), "{crop:?}");
            assert!((0.74..=1.35).contains(&(w / h)), "{crop:?}");
            flips += usize::from(flip == Flip::Yes);
            areas += h * w / 120_000.0;
        }
        assert!((1850..2150).contains(&flips), "{flips} of 4000");
        // 0.4331 by a simulation of torchvision's own rule; below the 0.54 of all areas, since large crops often do not
        // fit. The mean of 4000 has a standard deviation of 0.004.
        let mean = areas / 4000.0;
        assert!((mean - 0.4331).abs() < 0.015, "{mean}");
    }

    #[test]
    fn an_image_that_no_crop_fits_gives_its_centre() {
        // The smallest area is 80 of 1000 pixels, 8 wide at least; the image is one row.
        let (crop, _) = random((1, 1000), &mut SplitMix::new(3));
        assert_eq!(
            crop,
            Crop {
                top: 0,
                left: 499,
                height: 1,
                width: 1
            }
        );
        assert_eq!(
            centre(100, 30),
            Crop {
                top: 30,
                left: 0,
                height: 40,
                width: 30
            }
        );
        assert_eq!(
            centre(30, 100),
            Crop {
                top: 0,
                left: 30,
                height: 30,
                width: 40
            }
        );
        assert_eq!(
            centre(30, 35),
            Crop {
                top: 0,
                left: 0,
                height: 30,
                width: 35
            }
        );
    }
}
