//! Pictures of figures: bars in groups by setting. Each subject has the same colour in all pictures, and Tidings always
//! has the same strong colour.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use plotters::style::RGBColor;

use super::canvas::{Canvas, GRID, HEIGHT, INK, Pen, SOFT, Side, WIDTH, width_of, wrapped};
use super::number;
use crate::results::{Figure, Plot, Results, Scenario};
use axis::Axis;

mod axis;

const OURS: &str = "Tidings";
const OUR_COLOR: RGBColor = RGBColor(0, 84, 184);
/// Colours that colour-blind readers can distinguish; none is near that of Tidings.
const COLORS: [RGBColor; 8] = [
    RGBColor(230, 159, 0),
    RGBColor(138, 141, 145),
    RGBColor(0, 140, 110),
    RGBColor(204, 121, 167),
    RGBColor(213, 94, 0),
    RGBColor(150, 130, 40),
    RGBColor(122, 81, 149),
    RGBColor(70, 70, 70),
];

const LEFT: i32 = 72;
const RIGHT: i32 = WIDTH - 24;
const TOP: i32 = 104;
const LINE: i32 = 15;
const TITLE: Pen = Pen { size: 19.0, color: INK, bold: true };
const NAME: Pen = Pen { size: 13.0, color: INK, bold: false };
const UNIT: Pen = Pen { size: 13.0, color: SOFT, bold: false };
const LABEL: Pen = Pen { size: 12.0, color: INK, bold: false };
const OUTER: Pen = Pen { size: 12.5, color: INK, bold: true };
const TICK: Pen = Pen { size: 12.0, color: SOFT, bold: false };
const VALUE: Pen = Pen { size: 11.5, color: INK, bold: false };

/// Draws every plot into `folder`.
///
/// # Errors
/// When a file cannot be written.
pub fn plots(results: &Results, folder: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let colors = colors(results);
    let mut files = Vec::new();
    for scenario in &results.scenarios {
        for plot in scenario.plots.iter().filter(|plot| is_drawn(scenario, plot)) {
            let file = folder.join(file_name(scenario, plot));
            let svg = picture(scenario, plot, &colors)?;
            std::fs::write(&file, svg).with_context(|| format!("write {}", file.display()))?;
            files.push(file);
        }
    }
    Ok(files)
}

pub(super) fn file_name(scenario: &Scenario, plot: &Plot) -> String {
    format!("{}-{}.svg", scenario.name, plot.name)
}

/// Whether any of its figures was measured.
pub(super) fn is_drawn(scenario: &Scenario, plot: &Plot) -> bool {
    groups(scenario, plot).iter().any(|group| group.bars.iter().any(|(_, figure)| is_bar(figure, plot)))
}

fn is_bar(figure: &Figure, plot: &Plot) -> bool {
    let median = figure.median();
    median.is_finite() && (!plot.logarithmic || median > 0.0)
}

/// Colours in the order of names, so that all pictures of a run agree.
pub(super) fn colors(results: &Results) -> BTreeMap<String, RGBColor> {
    let rows = results.scenarios.iter().flat_map(|scenario| &scenario.rows);
    let others: BTreeSet<&str> = rows.map(|row| row.subject.as_str()).filter(|name| *name != OURS).collect();
    let others = others.into_iter().zip(COLORS.into_iter().cycle());
    others.chain([(OURS, OUR_COLOR)]).map(|(name, color)| (name.to_owned(), color)).collect()
}

/// The bars of one setting.
struct Group<'a> {
    setting: &'a str,
    bars: Vec<(&'a str, &'a Figure)>,
}

fn groups<'a>(scenario: &'a Scenario, plot: &Plot) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for row in &scenario.rows {
        let Some(figure) = row.figures.get(&plot.figure) else { continue };
        let bar = (row.subject.as_str(), figure);
        match groups.iter_mut().find(|group| group.setting == row.setting) {
            Some(group) => group.bars.push(bar),
            None => groups.push(Group { setting: &row.setting, bars: vec![bar] }),
        }
    }
    groups
}

fn picture(scenario: &Scenario, plot: &Plot, colors: &BTreeMap<String, RGBColor>) -> Result<String> {
    let groups = groups(scenario, plot);
    let drawn: Vec<&Figure> =
        groups.iter().flat_map(|group| &group.bars).map(|(_, figure)| *figure).collect();
    let drawn: Vec<&Figure> = drawn.into_iter().filter(|figure| is_bar(figure, plot)).collect();
    let slot = f64::from(RIGHT - LEFT) / groups.len().max(1) as f64;
    let labels = Labels::of(&groups, slot);
    let values = drawn.iter().flat_map(|figure| [figure.median(), figure.range().0, figure.range().1]);
    // All bars have the same width; a single bar as wide as its group would look like a block.
    let most = groups.iter().map(|group| group.bars.len()).max().unwrap_or(1);
    let width = (slot * 0.8 / most as f64).min(72.0);
    let fits = |figure: &&Figure| width_of(&number(figure.median()), VALUE.size) <= width + 6.0;
    let upright = most == 1 || drawn.iter().all(fits);
    // Values that run upwards need space above the highest bar.
    let top = if upright { TOP } else { TOP + 36 };
    let axis = Axis::of(values, plot.logarithmic, (HEIGHT - 20 - labels.height(), top));
    Canvas::paint(|canvas| {
        canvas.text(&plot.title, (24, 30), Side::Left, TITLE)?;
        legend(canvas, &groups, colors)?;
        let unit =
            if plot.logarithmic { format!("{}, logarithmic", plot.figure) } else { plot.figure.clone() };
        canvas.text(&unit, (24, 84), Side::Left, UNIT)?;
        for tick in axis.ticks() {
            let y = axis.place(tick);
            canvas.line((LEFT, y), (RIGHT, y), GRID)?;
            canvas.text(&round(tick), (LEFT - 8, y), Side::Right, TICK)?;
        }
        for (at, group) in groups.iter().enumerate() {
            let first = f64::from(LEFT) + slot * (at as f64 + 0.5) - width * group.bars.len() as f64 / 2.0;
            let side = if upright { Side::Center } else { Side::Upwards };
            bars(canvas, plot, group, &Place { first, width, side, axis: &axis }, colors)?;
        }
        canvas.line((LEFT, axis.bottom()), (RIGHT, axis.bottom()), SOFT)?;
        labels.draw(canvas, slot, axis.bottom())
    })
}

/// A number without trailing zeros.
fn round(tick: f64) -> String {
    let text = number(tick);
    match text.contains('.') && !text.contains('e') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Draws the legend.
fn legend(canvas: &Canvas<'_>, groups: &[Group<'_>], colors: &BTreeMap<String, RGBColor>) -> Result<()> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in groups.iter().flat_map(|group| &group.bars) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let mut x = 30;
    for name in names {
        canvas.dot((x, 58), color_of(colors, name))?;
        canvas.text(name, (x + 12, 58), Side::Left, Pen { bold: name == OURS, ..NAME })?;
        x += 34 + width_of(name, NAME.size) as i32;
    }
    Ok(())
}

fn color_of(colors: &BTreeMap<String, RGBColor>, name: &str) -> RGBColor {
    colors.get(name).copied().unwrap_or(SOFT)
}

/// The position of a group's bars, and the direction of their values.
struct Place<'a> {
    first: f64,
    width: f64,
    side: Side,
    axis: &'a Axis,
}

fn bars(
    canvas: &Canvas<'_>,
    plot: &Plot,
    group: &Group<'_>,
    place: &Place<'_>,
    colors: &BTreeMap<String, RGBColor>,
) -> Result<()> {
    let Place { first, width, side, axis } = *place;
    for (at, (name, figure)) in group.bars.iter().enumerate() {
        let from = first + width * at as f64;
        let gap = if width > 8.0 { 1 } else { 0 };
        let (left, right) = (from.round() as i32 + gap, (from + width).round() as i32 - gap);
        let middle = i32::midpoint(left, right);
        let mut top = axis.bottom();
        if is_bar(figure, plot) {
            let y = axis.place(figure.median());
            canvas.bar((left, y), (right, axis.bottom()), color_of(colors, name))?;
            let (low, high) = (axis.place(figure.range().0), axis.place(figure.range().1));
            if low - high > 1 {
                canvas.line((middle, low), (middle, high), INK)?;
                canvas.line((middle - 3, high), (middle + 4, high), INK)?;
                canvas.line((middle - 3, low), (middle + 4, low), INK)?;
            }
            top = y.min(high);
        }
        let above = if side == Side::Upwards { 5 } else { 9 };
        canvas.text(&number(figure.median()), (middle, top - above), side, VALUE)?;
    }
    Ok(())
}

/// The labels below the groups. If all settings have the form `this: that` there are two rows, with each `this` once.
struct Labels {
    inner: Vec<Vec<String>>,
    /// Names and numbers of groups, from left to right.
    outer: Vec<(String, usize)>,
}

impl Labels {
    fn of(groups: &[Group<'_>], slot: f64) -> Labels {
        let split: Option<Vec<(&str, &str)>> =
            groups.iter().map(|group| group.setting.split_once(": ")).collect();
        let mut outer: Vec<(String, usize)> = Vec::new();
        let names: Vec<&str> = match &split {
            Some(parts) => {
                for (name, _) in parts {
                    match outer.last_mut() {
                        Some((last, count)) if last == name => *count += 1,
                        _ => outer.push(((*name).to_owned(), 1)),
                    }
                }
                parts.iter().map(|(_, name)| *name).collect()
            }
            None => groups.iter().map(|group| group.setting).collect(),
        };
        let inner = names.iter().map(|name| wrapped(name, LABEL.size, slot - 6.0)).collect();
        Labels { inner, outer }
    }

    fn height(&self) -> i32 {
        let lines = self.inner.iter().map(Vec::len).max().unwrap_or(0) as i32;
        lines * LINE + if self.outer.is_empty() { 0 } else { 28 }
    }

    fn draw(&self, canvas: &Canvas<'_>, slot: f64, bottom: i32) -> Result<()> {
        for (at, lines) in self.inner.iter().enumerate() {
            let middle = f64::from(LEFT) + slot * (at as f64 + 0.5);
            for (number, line) in lines.iter().enumerate() {
                let y = bottom + 14 + LINE * number as i32;
                canvas.text(line, (middle.round() as i32, y), Side::Center, LABEL)?;
            }
        }
        let y = bottom + self.height();
        let mut begin = f64::from(LEFT);
        for (name, count) in &self.outer {
            let end = begin + slot * *count as f64;
            let middle = f64::midpoint(begin, end).round() as i32;
            canvas.line((begin.round() as i32 + 8, y - 13), (end.round() as i32 - 8, y - 13), SOFT)?;
            canvas.text(name, (middle, y), Side::Center, OUTER)?;
            begin = end;
        }
        Ok(())
    }
}
