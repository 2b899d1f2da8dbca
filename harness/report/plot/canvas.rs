//! One drawing as SVG and as PNG. Every line goes to both backends of plotters; text goes into the SVG as text, and into
//! the bitmap as outlines of a font that is part of the program, so that no machine's fonts change a byte.

use std::error::Error;
use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use plotters::prelude::{BitMapBackend, SVGBackend};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
};

/// Pixels of the PNG for one of the picture.
const RESOLUTION: usize = 2;
/// Pixels drawn for one of the PNG; their mean is what smooths edges.
const SAMPLES: usize = 2;
const FINE: i32 = (RESOLUTION * SAMPLES) as i32;

static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    FontRef::try_from_slice(include_bytes!("font/DejaVuSans-subset.ttf"))
        .expect("the font is part of the program")
});

/// Both pictures while they are drawn, in pixels of the SVG.
pub(super) struct Canvas<'a> {
    svg: SVGBackend<'a>,
    bitmap: BitMapBackend<'a>,
}

impl<'a> Canvas<'a> {
    /// A picture of this size; `pixels` holds the bitmap and has the length that [`pixels`] gives.
    pub fn new(svg: &'a mut String, pixels: &'a mut [u8], size: (u32, u32)) -> Canvas<'a> {
        let fine = (size.0 * FINE as u32, size.1 * FINE as u32);
        Canvas {
            svg: SVGBackend::with_string(svg, size),
            bitmap: BitMapBackend::with_buffer(pixels, fine),
        }
    }
}

/// Room for the bitmap of a picture of this size.
pub(super) fn pixels((width, height): (u32, u32)) -> Vec<u8> {
    vec![0; 3 * (width * height) as usize * (FINE * FINE) as usize]
}

/// The PNG of a bitmap.
pub(super) fn encode(
    fine: &[u8],
    (width, height): (u32, u32),
) -> Result<Vec<u8>, png::EncodingError> {
    let (width, height) = (width as usize * RESOLUTION, height as usize * RESOLUTION);
    let mut smooth = Vec::with_capacity(3 * width * height);
    let at = |x: usize, y: usize, c: usize| u32::from(fine[3 * (y * width * SAMPLES + x) + c]);
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                let mut sum = 0;
                for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    sum += at(SAMPLES * x + dx, SAMPLES * y + dy, c);
                }
                smooth.push(((sum + 2) / 4) as u8);
            }
        }
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&smooth)?;
    writer.finish()?;
    Ok(file)
}

/// How wide a text is in pixels, at a size as plotters states it.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let (font, mut x, mut before) = (FONT.as_scaled(scale(em(size))), 0.0, None);
    for id in text.chars().map(|c| font.glyph_id(c)) {
        x += before.map_or(0.0, |before| font.kern(before, id)) + font.h_advance(id);
        before = Some(id);
    }
    f64::from(x)
}

/// Pixels of an em; plotters' SVG takes this part of a size.
fn em(size: f64) -> f64 {
    size / 1.24
}

/// ab_glyph scales by the height of a line, not by the em.
fn scale(em: f64) -> PxScale {
    let units = FONT.units_per_em().unwrap_or(2048.0);
    PxScale::from(em as f32 * FONT.height_unscaled() / units)
}

type Drawn = Result<(), DrawingErrorKind<Broken>>;

/// A backend's own error.
#[derive(Debug)]
pub(super) struct Broken(String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Broken {}

fn broken(error: impl std::fmt::Display) -> DrawingErrorKind<Broken> {
    DrawingErrorKind::DrawingError(Broken(error.to_string()))
}

/// A style for the finer grid of the bitmap.
struct Finer<'a, S>(&'a S);

impl<S: BackendStyle> BackendStyle for Finer<'_, S> {
    fn color(&self) -> BackendColor {
        self.0.color()
    }

    fn stroke_width(&self) -> u32 {
        self.0.stroke_width() * FINE as u32
    }
}

/// A place on the finer grid.
fn finer((x, y): BackendCoord) -> BackendCoord {
    (x * FINE, y * FINE)
}

impl DrawingBackend for Canvas<'_> {
    type ErrorType = Broken;

    fn get_size(&self) -> (u32, u32) {
        self.svg.get_size()
    }

    fn ensure_prepared(&mut self) -> Drawn {
        self.svg.ensure_prepared().map_err(broken)?;
        self.bitmap.ensure_prepared().map_err(broken)
    }

    fn present(&mut self) -> Drawn {
        self.svg.present().map_err(broken)?;
        self.bitmap.present().map_err(broken)
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn {
        self.draw_rect(point, (point.0 + 1, point.1 + 1), &color, true)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        self.svg.draw_rect(from, to, style, fill).map_err(broken)?;
        self.bitmap
            .draw_rect(finer(from), finer(to), &Finer(style), fill)
            .map_err(broken)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        let path: Vec<BackendCoord> = path.into_iter().collect();
        self.svg
            .draw_path(path.iter().copied(), style)
            .map_err(broken)?;
        let fine = path.into_iter().map(finer);
        self.bitmap.draw_path(fine, &Finer(style)).map_err(broken)
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        centre: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Drawn {
        self.svg
            .draw_circle(centre, radius, style, fill)
            .map_err(broken)?;
        self.bitmap
            .draw_circle(finer(centre), radius * FINE as u32, &Finer(style), fill)
            .map_err(broken)
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Drawn {
        let corners: Vec<BackendCoord> = corners.into_iter().collect();
        self.svg
            .fill_polygon(corners.iter().copied(), style)
            .map_err(broken)?;
        let fine = corners.into_iter().map(finer);
        self.bitmap
            .fill_polygon(fine, &Finer(style))
            .map_err(broken)
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Drawn {
        self.svg.draw_text(text, style, at).map_err(broken)?;
        let fine = em(style.size()) * f64::from(FINE);
        // What the SVG says: 0.5ex below the middle, 0.76em below the top, 0.5ex above the bottom.
        let half_x = 0.547 / 2.0 * fine;
        let down = match style.anchor().v_pos {
            VPos::Top => 0.76 * fine,
            VPos::Center => half_x,
            VPos::Bottom => -half_x,
        };
        let long = width(text, style.size()) * f64::from(FINE);
        let across = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => -long / 2.0,
            HPos::Right => -long,
        };
        let (at, turned, colour) = (finer(at), style.transform(), style.color());
        for glyph in glyphs(text, fine, (across as f32, down as f32)) {
            let Some(outline) = FONT.outline_glyph(glyph) else {
                continue;
            };
            let corner = outline.px_bounds().min;
            let mut result = Ok(());
            outline.draw(|x, y, covered| {
                let own = (x as i32 + corner.x as i32, y as i32 + corner.y as i32);
                let (x, y) = turned.transform(own.0, own.1);
                if result.is_ok() {
                    let colour = colour.mix(f64::from(covered.min(1.0)));
                    result = self.bitmap.draw_pixel((at.0 + x, at.1 + y), colour);
                }
            });
            result.map_err(broken)?;
        }
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Broken>> {
        let long = width(text, style.size()).ceil() as u32;
        Ok((long, em(style.size()).ceil() as u32))
    }
}

/// The glyphs of a line of text that starts at `at` on its baseline.
fn glyphs(text: &str, em: f64, at: (f32, f32)) -> Vec<Glyph> {
    let scale = scale(em);
    let (font, mut x, mut before) = (FONT.as_scaled(scale), at.0, None);
    let mut placed = Vec::new();
    for id in text.chars().map(|c| font.glyph_id(c)) {
        x += before.map_or(0.0, |before| font.kern(before, id));
        placed.push(id.with_scale_and_position(scale, point(x, at.1)));
        x += font.h_advance(id);
        before = Some(id);
    }
    placed
}
