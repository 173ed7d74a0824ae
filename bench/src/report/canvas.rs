//! A picture of 900 by 480 pixels: the SVG backend of the crate `plotters`, with the common style of all plots.
//! The viewer chooses the font, so the width of text is only estimated.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::{
    Circle, DrawingArea, EmptyElement, FontTransform, IntoDrawingArea, IntoFont, PathElement, RGBColor,
    Rectangle, SVGBackend, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle};

pub(super) const WIDTH: i32 = 900;
pub(super) const HEIGHT: i32 = 480;

/// The background colour. Without one, the text could not be read on a dark page.
const BACKGROUND_COLOR: RGBColor = RGBColor(253, 253, 251);
const FRAME_COLOR: RGBColor = RGBColor(222, 222, 216);
pub(super) const TEXT_COLOR: RGBColor = RGBColor(34, 38, 43);
pub(super) const MUTED_COLOR: RGBColor = RGBColor(98, 104, 112);
pub(super) const GRID_COLOR: RGBColor = RGBColor(230, 230, 225);

/// Which point of a text is at its position.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TextAnchor {
    Left,
    Center,
    Right,
    /// From bottom to top, beginning at its position.
    Upwards,
}

/// The style of a text.
#[derive(Clone, Copy)]
pub(super) struct TextFormat {
    pub size: f64,
    pub color: RGBColor,
    pub bold: bool,
}

pub(super) struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

impl<'a> Canvas<'a> {
    /// Calls `draw` with an empty canvas, and returns the SVG.
    pub(super) fn render_svg(draw: impl FnOnce(&Canvas<'_>) -> Result<()>) -> Result<String> {
        let mut svg = String::new();
        {
            let size = (WIDTH.unsigned_abs(), HEIGHT.unsigned_abs());
            let canvas = Canvas(SVGBackend::with_string(&mut svg, size).into_drawing_area());
            canvas.0.fill(&BACKGROUND_COLOR).map_err(plot_error)?;
            canvas.draw_frame((0, 0), (WIDTH - 1, HEIGHT - 1), FRAME_COLOR)?;
            draw(&canvas)?;
            canvas.0.present().map_err(plot_error)?;
        }
        Ok(svg)
    }

    pub(super) fn draw_bar(&self, from: (i32, i32), to: (i32, i32), color: RGBColor) -> Result<()> {
        self.0.draw(&Rectangle::new([from, to], color.filled())).map_err(plot_error)
    }

    fn draw_frame(&self, from: (i32, i32), to: (i32, i32), color: RGBColor) -> Result<()> {
        self.0.draw(&Rectangle::new([from, to], color.stroke_width(1))).map_err(plot_error)
    }

    pub(super) fn draw_line(&self, from: (i32, i32), to: (i32, i32), color: RGBColor) -> Result<()> {
        self.0.draw(&PathElement::new(vec![from, to], color.stroke_width(1))).map_err(plot_error)
    }

    pub(super) fn draw_dot(&self, at: (i32, i32), color: RGBColor) -> Result<()> {
        self.0.draw(&(EmptyElement::at(at) + Circle::new((0, 0), 6, color.filled()))).map_err(plot_error)
    }

    /// Writes a text. `at` is on the middle line of the text, or at its beginning if it runs upwards.
    pub(super) fn draw_text(
        &self,
        text: &str,
        at: (i32, i32),
        side: TextAnchor,
        format: TextFormat,
    ) -> Result<()> {
        // The backend expects the height of a line, and divides it by 1.24 to get the size of the font.
        let font = ("sans-serif", format.size * 1.24).into_font();
        let font = if format.bold { font.style(FontStyle::Bold) } else { font };
        let font = if side == TextAnchor::Upwards { font.transform(FontTransform::Rotate270) } else { font };
        let horizontal = match side {
            TextAnchor::Left | TextAnchor::Upwards => HPos::Left,
            TextAnchor::Center => HPos::Center,
            TextAnchor::Right => HPos::Right,
        };
        let style = font.color(&format.color).pos(Pos::new(horizontal, VPos::Center));
        self.0.draw(&Text::new(text.to_owned(), at, style)).map_err(plot_error)
    }
}

/// The estimated width of a text of this font size, in pixels.
pub(super) fn estimated_width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.56
}

/// Breaks a text between words into lines of at most this estimated width.
pub(super) fn wrap_text(text: &str, size: f64, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if estimated_width(&format!("{line} {word}"), size) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn plot_error(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("draw a plot: {error}")
}
