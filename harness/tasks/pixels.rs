//! Images with a class label, as pixels of one size or as the bytes they were encoded in.

use std::ops::ControlFlow;

use harness::seed::SplitMix;
use harness::suite;
use rayon::prelude::*;
use serde::Serialize;

use super::cache::{Cache, Entry, Key, Progress, Tell, Unit, Writer};
use super::crop::{self, Flip};
use super::error::DataError;
use super::joined::Joined;
use super::portion::{Portion, Table};
use super::resize;

/// Size of the images a network reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// 1 for grey levels, 3 for RGB.
    pub channels: usize,
    /// Height and width in pixels.
    pub side: usize,
}

impl Shape {
    /// Bytes of an image.
    pub fn size(self) -> usize {
        self.channels * self.side * self.side
    }
}

#[derive(Serialize)]
struct Source<'a> {
    content: Vec<String>,
    columns: [&'a str; 2],
    classes: i64,
    /// None where images stay encoded.
    shape: Option<Shape>,
}

/// Images of one or more portions, decoded and resized; memory-mapped.
#[derive(Debug)]
pub struct Pixels {
    /// Size of each.
    pub shape: Shape,
    parts: Vec<Entry>,
    places: Joined,
}

impl Pixels {
    /// The images of `portions`, decoded and resized to `shape`; labels are below `classes`.
    pub fn prepare(
        cache: &Cache,
        portions: &[Portion],
        input: &suite::Images,
        shape: Shape,
        classes: i64,
        tell: &mut Tell,
    ) -> Result<Self, DataError> {
        let (parts, places) = prepare(cache, portions, input, classes, Some(shape), tell)?;
        Ok(Self {
            shape,
            parts,
            places,
        })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The image at `place`, `[channel, height, width]`.
    pub fn image(&self, place: usize) -> &[u8] {
        let (part, place) = self.places.find(place);
        let size = self.shape.size();
        &self.parts[part].section::<u8>("pixels")[place * size..][..size]
    }

    /// The class of the image at `place`.
    pub fn label(&self, place: usize) -> i64 {
        let (part, place) = self.places.find(place);
        self.parts[part].section("labels")[place]
    }

    /// The images at `places`, `[batch, channel, height, width]`.
    pub fn batch(&self, places: &[i64]) -> Vec<u8> {
        let mut out = Vec::with_capacity(places.len() * self.shape.size());
        for &place in places {
            out.extend_from_slice(self.image(place as usize));
        }
        out
    }
}

/// Images of one or more portions as they were encoded, to be cropped anew each time; memory-mapped.
#[derive(Debug)]
pub struct Encoded {
    parts: Vec<Entry>,
    places: Joined,
}

impl Encoded {
    /// The images of `portions`, each of which can be decoded; labels are below `classes`.
    pub fn prepare(
        cache: &Cache,
        portions: &[Portion],
        input: &suite::Images,
        classes: i64,
        tell: &mut Tell,
    ) -> Result<Self, DataError> {
        let (parts, places) = prepare(cache, portions, input, classes, None, tell)?;
        Ok(Self { parts, places })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The image at `place`, as PNG or JPEG.
    pub fn image(&self, place: usize) -> &[u8] {
        let (part, place) = self.places.find(place);
        let ends: &[u64] = self.parts[part].section("ends");
        let start = if place == 0 { 0 } else { ends[place - 1] };
        &self.parts[part].section("encoded")[start as usize..ends[place] as usize]
    }

    /// The class of the image at `place`.
    pub fn label(&self, place: usize) -> i64 {
        let (part, place) = self.places.find(place);
        self.parts[part].section("labels")[place]
    }

    /// Random crops of the images at `places`, flipped by chance: `[batch, channel, height, width]`.
    ///
    /// `seed` is that of the epoch. The crop of an image derives from it and the image's place alone, so it is the same
    /// in whatever batch and on whatever thread it is made.
    pub fn crops(&self, places: &[i64], shape: Shape, seed: u64) -> Vec<u8> {
        let mut out = vec![0; places.len() * shape.size()];
        out.par_chunks_mut(shape.size())
            .zip(places)
            .for_each(|(out, &place)| {
                let mut random = SplitMix::new(SplitMix::new(seed ^ place as u64).next());
                let image = open(self.image(place as usize), shape.channels);
                let image = image.expect("an image that could be decoded when it was stored");
                let (part, flip) = crop::random((image.height, image.width), &mut random);
                let pixels = image.part(&part);
                let resized = resized(&pixels, (part.height, part.width), shape);
                planes(&resized, shape, flip, out);
            });
        out
    }
}

/// The entries of `portions`, with pixels of `shape` or as encoded.
fn prepare(
    cache: &Cache,
    portions: &[Portion],
    input: &suite::Images,
    classes: i64,
    shape: Option<Shape>,
    tell: &mut Tell,
) -> Result<(Vec<Entry>, Joined), DataError> {
    let entry = |portion: &Portion| {
        let source = Source {
            content: portion.content()?,
            columns: [&input.image, &input.label],
            classes,
            shape,
        };
        let kind = if shape.is_some() { "pixels" } else { "images" };
        cache.prepared(&Key::new(kind, &source), tell, |writer| {
            write(writer, portion, input, classes, shape)
        })
    };
    let parts: Vec<Entry> = portions.iter().map(entry).collect::<Result<_, _>>()?;
    let sizes = parts.iter().map(|part| part.section::<i64>("labels").len());
    let places = Joined::new(sizes);
    Ok((parts, places))
}

fn write(
    writer: &mut Writer,
    portion: &Portion,
    input: &suite::Images,
    classes: i64,
    shape: Option<Shape>,
) -> Result<(), DataError> {
    let total = portion.rows()?;
    let (mut labels, mut ends, mut end) = (Vec::new(), Vec::new(), 0);
    let section = if shape.is_some() { "pixels" } else { "encoded" };
    writer.section(section)?;
    let each = |table: Table| {
        labels.extend(table.labels(&input.label, classes)?);
        let column = table.images(&input.image)?;
        let encoded = table.encoded(&input.image, &column)?;
        let failed = |row: usize| {
            let path = table.path.to_path_buf();
            let row = table.first_row + row;
            move |source| DataError::Image { path, row, source }
        };
        // Bounds the pixels in memory, whatever the size of a row group.
        for (chunk, images) in encoded.chunks(CHUNK).enumerate() {
            let decoded: Vec<Vec<u8>> = images
                .par_iter()
                .enumerate()
                .map(|(i, bytes)| {
                    let decoded = match shape {
                        Some(shape) => decode(bytes, shape),
                        None => open(bytes, 3).map(|_| Vec::new()),
                    };
                    decoded.map_err(failed(chunk * CHUNK + i))
                })
                .collect::<Result<_, _>>()?;
            for (encoded, pixels) in images.iter().zip(&decoded) {
                if shape.is_some() {
                    writer.extend(section, pixels)?;
                } else {
                    writer.extend(section, encoded)?;
                    end += encoded.len() as u64;
                    ends.push(end);
                }
            }
            writer.tell(Progress::At {
                label: &portion.name,
                done: (labels.len() - encoded.len() + chunk * CHUNK + images.len()) as u64,
                total,
                unit: Unit::Rows,
            });
        }
        Ok(ControlFlow::Continue(()))
    };
    portion.tables(&[&input.image, &input.label], each)?;
    if shape.is_none() {
        writer.whole("ends", &ends)?;
    }
    writer.whole("labels", &labels)
}

/// Images decoded at a time.
const CHUNK: usize = 256;

/// An encoded image as `[channel, height, width]` of `shape`. Alpha is dropped, not blended.
pub fn decode(bytes: &[u8], shape: Shape) -> Result<Vec<u8>, image::ImageError> {
    let image = open(bytes, shape.channels)?;
    let resized = resized(&image.pixels, (image.height, image.width), shape);
    let mut out = vec![0; shape.size()];
    planes(&resized, shape, Flip::No, &mut out);
    Ok(out)
}

/// A decoded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// `[height, width, channel]`.
    pub pixels: Vec<u8>,
    /// In pixels.
    pub height: usize,
    /// In pixels.
    pub width: usize,
}

/// An encoded image in its own size, as grey levels (`channels` 1) or RGB (3). Alpha is dropped, not blended.
pub fn open(bytes: &[u8], channels: usize) -> Result<Decoded, image::ImageError> {
    let decoded = image::load_from_memory(bytes)?;
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let pixels = match (channels, decoded.color().has_color()) {
        (1, true) => {
            let pixels = decoded.into_rgb8();
            pixels.pixels().map(|pixel| grey(pixel.0)).collect()
        }
        (1, false) => decoded.into_luma8().into_raw(),
        _ => decoded.into_rgb8().into_raw(),
    };
    Ok(Decoded {
        pixels,
        height,
        width,
    })
}

impl Decoded {
    /// A part of the image, `[height, width, channel]`.
    fn part(&self, part: &crop::Crop) -> Vec<u8> {
        let channels = self.pixels.len() / (self.height * self.width);
        let mut out = Vec::with_capacity(part.height * part.width * channels);
        for y in part.top..part.top + part.height {
            let start = (y * self.width + part.left) * channels;
            out.extend_from_slice(&self.pixels[start..start + part.width * channels]);
        }
        out
    }
}

fn resized(pixels: &[u8], size: (usize, usize), shape: Shape) -> Vec<u8> {
    resize::bilinear(pixels, size, shape.channels, (shape.side, shape.side))
}

/// `[height, width, channel]` as `[channel, height, width]`.
fn planes(pixels: &[u8], shape: Shape, flip: Flip, out: &mut [u8]) {
    let Shape { channels, side } = shape;
    for (c, plane) in out.chunks_exact_mut(side * side).enumerate() {
        let rows = plane.chunks_exact_mut(side);
        for (to, from) in rows.zip(pixels.chunks_exact(side * channels)) {
            let values = from.iter().skip(c).step_by(channels);
            match flip {
                Flip::No => to.iter_mut().zip(values).for_each(|(to, from)| *to = *from),
                Flip::Yes => to
                    .iter_mut()
                    .rev()
                    .zip(values)
                    .for_each(|(to, from)| *to = *from),
            }
        }
    }
}

/// Pillow's luma of ITU-R 601-2, rounded.
fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_put_channels_apart_and_a_flip_mirrors_rows() {
        let shape = Shape {
            channels: 3,
            side: 2,
        };
        let pixels: Vec<u8> = (0..12).collect();
        let mut out = [0; 12];
        planes(&pixels, shape, Flip::No, &mut out);
        assert_eq!(out, [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
        planes(&pixels, shape, Flip::Yes, &mut out);
        assert_eq!(out, [3, 0, 9, 6, 4, 1, 10, 7, 5, 2, 11, 8]);
    }

    #[test]
    fn a_part_holds_the_rows_and_columns_it_names() {
        let image = Decoded {
            pixels: (0..12).collect(),
            height: 3,
            width: 4,
        };
        let part = crop::Crop {
            top: 1,
            left: 2,
            height: 2,
            width: 2,
        };
        assert_eq!(image.part(&part), [6, 7, 10, 11]);
    }
}
