//! Draws figures as SVG pictures: bars in groups by setting. Each subject has the same colour in all pictures, and
//! Tidings always has the same strong colour.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use plotters::style::RGBColor;

use super::canvas::{
    Canvas, GRID_COLOR, HEIGHT, MUTED_COLOR, TEXT_COLOR, TextAnchor, TextFormat, WIDTH, estimated_width,
    wrap_text,
};
use super::format_number;
use crate::results::{Figure, Plot, Results, Scenario};
use axis::Axis;

mod axis;

const TIDINGS: &str = "Tidings";
const TIDINGS_COLOR: RGBColor = RGBColor(0, 84, 184);
/// Colours that colour-blind readers can distinguish. None is similar to the colour of Tidings.
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

const PLOT_LEFT: i32 = 72;
const PLOT_RIGHT: i32 = WIDTH - 24;
const PLOT_TOP: i32 = 104;
const LINE_HEIGHT: i32 = 15;
const TITLE_FORMAT: TextFormat = TextFormat { size: 19.0, color: TEXT_COLOR, bold: true };
const NAME_FORMAT: TextFormat = TextFormat { size: 13.0, color: TEXT_COLOR, bold: false };
const UNIT_FORMAT: TextFormat = TextFormat { size: 13.0, color: MUTED_COLOR, bold: false };
const LABEL_FORMAT: TextFormat = TextFormat { size: 12.0, color: TEXT_COLOR, bold: false };
const OUTER_LABEL_FORMAT: TextFormat = TextFormat { size: 12.5, color: TEXT_COLOR, bold: true };
const TICK_FORMAT: TextFormat = TextFormat { size: 12.0, color: MUTED_COLOR, bold: false };
const VALUE_FORMAT: TextFormat = TextFormat { size: 11.5, color: TEXT_COLOR, bold: false };

/// Draws every plot into `folder`.
///
/// # Errors
/// When a file cannot be written.
pub fn write_plots(results: &Results, folder: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let colors = subject_colors(results);
    let mut files = Vec::new();
    for scenario in &results.scenarios {
        for plot in scenario.plots.iter().filter(|plot| has_bars(scenario, plot)) {
            let file = folder.join(file_name(scenario, plot));
            let svg = render_plot(scenario, plot, &colors)?;
            std::fs::write(&file, svg).with_context(|| format!("write {}", file.display()))?;
            files.push(file);
        }
    }
    Ok(files)
}

pub(super) fn file_name(scenario: &Scenario, plot: &Plot) -> String {
    format!("{}-{}.svg", scenario.name, plot.name)
}

/// Whether the plot has any figure to draw.
pub(super) fn has_bars(scenario: &Scenario, plot: &Plot) -> bool {
    bar_groups(scenario, plot)
        .iter()
        .any(|group| group.bars.iter().any(|(_, figure)| is_drawable(figure, plot)))
}

fn is_drawable(figure: &Figure, plot: &Plot) -> bool {
    let median = figure.median();
    median.is_finite() && (!plot.logarithmic || median > 0.0)
}

/// The colour of each subject of the run. All pictures use these colours.
pub(super) fn subject_colors(results: &Results) -> BTreeMap<String, RGBColor> {
    let rows = results.scenarios.iter().flat_map(|scenario| &scenario.rows);
    let others: BTreeSet<&str> =
        rows.map(|row| row.subject.as_str()).filter(|name| *name != TIDINGS).collect();
    let others = others.into_iter().zip(COLORS.into_iter().cycle());
    others.chain([(TIDINGS, TIDINGS_COLOR)]).map(|(name, color)| (name.to_owned(), color)).collect()
}

/// The bars of one setting.
struct BarGroup<'a> {
    setting: &'a str,
    bars: Vec<(&'a str, &'a Figure)>,
}

fn bar_groups<'a>(scenario: &'a Scenario, plot: &Plot) -> Vec<BarGroup<'a>> {
    let mut groups: Vec<BarGroup<'_>> = Vec::new();
    for row in &scenario.rows {
        let Some(figure) = row.figures.get(&plot.figure) else { continue };
        let bar = (row.subject.as_str(), figure);
        match groups.iter_mut().find(|group| group.setting == row.setting) {
            Some(group) => group.bars.push(bar),
            None => groups.push(BarGroup { setting: &row.setting, bars: vec![bar] }),
        }
    }
    groups
}

fn render_plot(scenario: &Scenario, plot: &Plot, colors: &BTreeMap<String, RGBColor>) -> Result<String> {
    let groups = bar_groups(scenario, plot);
    let drawn: Vec<&Figure> =
        groups.iter().flat_map(|group| &group.bars).map(|(_, figure)| *figure).collect();
    let drawn: Vec<&Figure> = drawn.into_iter().filter(|figure| is_drawable(figure, plot)).collect();
    let slot = f64::from(PLOT_RIGHT - PLOT_LEFT) / groups.len().max(1) as f64;
    let labels = Labels::from_groups(&groups, slot);
    let values = drawn.iter().flat_map(|figure| [figure.median(), figure.range().0, figure.range().1]);
    // All bars of a picture have the same width, also in groups with fewer bars.
    let max_bars = groups.iter().map(|group| group.bars.len()).max().unwrap_or(1);
    let width = (slot * 0.8 / max_bars as f64).min(72.0);
    let fits =
        |figure: &&Figure| estimated_width(&format_number(figure.median()), VALUE_FORMAT.size) <= width + 6.0;
    let upright = max_bars == 1 || drawn.iter().all(fits);
    // Values that are written upwards need more space above the highest bar.
    let top = if upright { PLOT_TOP } else { PLOT_TOP + 36 };
    let axis = Axis::covering(values, plot.logarithmic, (HEIGHT - 20 - labels.height(), top));
    Canvas::render_svg(|canvas| {
        canvas.draw_text(&plot.title, (24, 30), TextAnchor::Left, TITLE_FORMAT)?;

        draw_legend(canvas, &groups, colors)?;
        let unit =
            if plot.logarithmic { format!("{}, logarithmic", plot.figure) } else { plot.figure.clone() };
        canvas.draw_text(&unit, (24, 84), TextAnchor::Left, UNIT_FORMAT)?;
        for tick in axis.ticks() {
            let y = axis.y_position(tick);
            canvas.draw_line((PLOT_LEFT, y), (PLOT_RIGHT, y), GRID_COLOR)?;
            canvas.draw_text(&tick_label(tick), (PLOT_LEFT - 8, y), TextAnchor::Right, TICK_FORMAT)?;
        }
        for (at, group) in groups.iter().enumerate() {
            let first =
                f64::from(PLOT_LEFT) + slot * (at as f64 + 0.5) - width * group.bars.len() as f64 / 2.0;
            let side = if upright { TextAnchor::Center } else { TextAnchor::Upwards };
            draw_bars(canvas, plot, group, &BarLayout { first, width, side, axis: &axis }, colors)?;
        }
        canvas.draw_line((PLOT_LEFT, axis.bottom()), (PLOT_RIGHT, axis.bottom()), MUTED_COLOR)?;
        labels.draw(canvas, slot, axis.bottom())
    })
}

/// The label of a tick: the number without trailing zeros.
fn tick_label(tick: f64) -> String {
    let text = format_number(tick);
    match text.contains('.') && !text.contains('e') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Draws the legend.
fn draw_legend(
    canvas: &Canvas<'_>,
    groups: &[BarGroup<'_>],
    colors: &BTreeMap<String, RGBColor>,
) -> Result<()> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in groups.iter().flat_map(|group| &group.bars) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let mut x = 30;
    for name in names {
        canvas.draw_dot((x, 58), color_of(colors, name))?;
        canvas.draw_text(
            name,
            (x + 12, 58),
            TextAnchor::Left,
            TextFormat { bold: name == TIDINGS, ..NAME_FORMAT },
        )?;
        x += 34 + estimated_width(name, NAME_FORMAT.size) as i32;
    }
    Ok(())
}

fn color_of(colors: &BTreeMap<String, RGBColor>, name: &str) -> RGBColor {
    colors.get(name).copied().unwrap_or(MUTED_COLOR)
}

/// The positions of a group's bars, in pixels, and the direction of their values.
struct BarLayout<'a> {
    first: f64,
    width: f64,
    side: TextAnchor,
    axis: &'a Axis,
}

fn draw_bars(
    canvas: &Canvas<'_>,
    plot: &Plot,
    group: &BarGroup<'_>,
    place: &BarLayout<'_>,
    colors: &BTreeMap<String, RGBColor>,
) -> Result<()> {
    let BarLayout { first, width, side, axis } = *place;
    for (at, (name, figure)) in group.bars.iter().enumerate() {
        let from = first + width * at as f64;
        let gap = if width > 8.0 { 1 } else { 0 };
        let (left, right) = (from.round() as i32 + gap, (from + width).round() as i32 - gap);
        let middle = i32::midpoint(left, right);
        let mut top = axis.bottom();
        if is_drawable(figure, plot) {
            let y = axis.y_position(figure.median());
            canvas.draw_bar((left, y), (right, axis.bottom()), color_of(colors, name))?;
            let (low, high) = (axis.y_position(figure.range().0), axis.y_position(figure.range().1));
            if low - high > 1 {
                canvas.draw_line((middle, low), (middle, high), TEXT_COLOR)?;
                canvas.draw_line((middle - 3, high), (middle + 4, high), TEXT_COLOR)?;
                canvas.draw_line((middle - 3, low), (middle + 4, low), TEXT_COLOR)?;
            }
            top = y.min(high);
        }
        let above = if side == TextAnchor::Upwards { 5 } else { 9 };
        canvas.draw_text(&format_number(figure.median()), (middle, top - above), side, VALUE_FORMAT)?;
    }
    Ok(())
}

/// The labels below the groups of bars. If all settings have the form `outer: inner`, there are two rows of labels, and
/// neighbouring groups with the same `outer` share its label.
struct Labels {
    inner: Vec<Vec<String>>,
    /// The names of the outer row with their number of groups, from left to right.
    outer: Vec<(String, usize)>,
}

impl Labels {
    fn from_groups(groups: &[BarGroup<'_>], slot: f64) -> Labels {
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
        let inner = names.iter().map(|name| wrap_text(name, LABEL_FORMAT.size, slot - 6.0)).collect();
        Labels { inner, outer }
    }

    fn height(&self) -> i32 {
        let lines = self.inner.iter().map(Vec::len).max().unwrap_or(0) as i32;
        lines * LINE_HEIGHT + if self.outer.is_empty() { 0 } else { 28 }
    }

    fn draw(&self, canvas: &Canvas<'_>, slot: f64, bottom: i32) -> Result<()> {
        for (at, lines) in self.inner.iter().enumerate() {
            let middle = f64::from(PLOT_LEFT) + slot * (at as f64 + 0.5);
            for (number, line) in lines.iter().enumerate() {
                let y = bottom + 14 + LINE_HEIGHT * number as i32;
                canvas.draw_text(line, (middle.round() as i32, y), TextAnchor::Center, LABEL_FORMAT)?;
            }
        }
        let y = bottom + self.height();
        let mut begin = f64::from(PLOT_LEFT);
        for (name, count) in &self.outer {
            let end = begin + slot * *count as f64;
            let middle = f64::midpoint(begin, end).round() as i32;
            canvas.draw_line(
                (begin.round() as i32 + 8, y - 13),
                (end.round() as i32 - 8, y - 13),
                MUTED_COLOR,
            )?;
            canvas.draw_text(name, (middle, y), TextAnchor::Center, OUTER_LABEL_FORMAT)?;
            begin = end;
        }
        Ok(())
    }
}
