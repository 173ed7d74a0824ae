//! A picture of 900 by 480 pixels: plotters' SVG backend, with the common style of all plots.
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

/// A background colour, so that the picture is readable on a dark page as well.
const GROUND: RGBColor = RGBColor(253, 253, 251);
const FRAME: RGBColor = RGBColor(222, 222, 216);
pub(super) const INK: RGBColor = RGBColor(34, 38, 43);
pub(super) const SOFT: RGBColor = RGBColor(98, 104, 112);
pub(super) const GRID: RGBColor = RGBColor(230, 230, 225);

/// The direction of a text from its position.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Center,
    Right,
    /// From bottom to top, beginning at its position.
    Upwards,
}

/// The style of a text.
#[derive(Clone, Copy)]
pub(super) struct Pen {
    pub size: f64,
    pub color: RGBColor,
    pub bold: bool,
}

pub(super) struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

impl<'a> Canvas<'a> {
    /// Draws a picture; returns the SVG.
    pub(super) fn paint(draw: impl FnOnce(&Canvas<'_>) -> Result<()>) -> Result<String> {
        let mut svg = String::new();
        {
            let size = (WIDTH.unsigned_abs(), HEIGHT.unsigned_abs());
            let canvas = Canvas(SVGBackend::with_string(&mut svg, size).into_drawing_area());
            canvas.0.fill(&GROUND).map_err(failed)?;
            canvas.frame((0, 0), (WIDTH - 1, HEIGHT - 1), FRAME)?;
            draw(&canvas)?;
            canvas.0.present().map_err(failed)?;
        }
        Ok(svg)
    }

    pub(super) fn bar(&self, from: (i32, i32), to: (i32, i32), color: RGBColor) -> Result<()> {
        self.0.draw(&Rectangle::new([from, to], color.filled())).map_err(failed)
    }

    fn frame(&self, from: (i32, i32), to: (i32, i32), color: RGBColor) -> Result<()> {
        self.0.draw(&Rectangle::new([from, to], color.stroke_width(1))).map_err(failed)
    }

    pub(super) fn line(&self, from: (i32, i32), to: (i32, i32), color: RGBColor) -> Result<()> {
        self.0.draw(&PathElement::new(vec![from, to], color.stroke_width(1))).map_err(failed)
    }

    pub(super) fn dot(&self, at: (i32, i32), color: RGBColor) -> Result<()> {
        self.0.draw(&(EmptyElement::at(at) + Circle::new((0, 0), 6, color.filled()))).map_err(failed)
    }

    /// Writes a text. `at` is on its middle line, or at its beginning if it runs upwards.
    pub(super) fn text(&self, text: &str, at: (i32, i32), side: Side, pen: Pen) -> Result<()> {
        // The backend interprets the size as that of a line, and divides by this to get that of the font.
        let font = ("sans-serif", pen.size * 1.24).into_font();
        let font = if pen.bold { font.style(FontStyle::Bold) } else { font };
        let font = if side == Side::Upwards { font.transform(FontTransform::Rotate270) } else { font };
        let across = match side {
            Side::Left | Side::Upwards => HPos::Left,
            Side::Center => HPos::Center,
            Side::Right => HPos::Right,
        };
        let style = font.color(&pen.color).pos(Pos::new(across, VPos::Center));
        self.0.draw(&Text::new(text.to_owned(), at, style)).map_err(failed)
    }
}

/// The estimated width of a text of this size.
pub(super) fn width_of(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.56
}

/// Breaks a text between words into lines of at most this estimated width.
pub(super) fn wrapped(text: &str, size: f64, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width_of(&format!("{line} {word}"), size) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("draw a plot: {error}")
}
