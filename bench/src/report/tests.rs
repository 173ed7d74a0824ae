//! Tests of reports and pictures.

use super::*;
use crate::results::{Bound, Plot, Scenario, Target};

fn results() -> Results {
    let mut scenario = Scenario {
        name: "fanout".into(),
        title: "One to many".into(),
        method: "As it is.".into(),
        notes: vec!["A note.".into()],
        plots: vec![Plot {
            name: "rate".into(),
            title: "Deliveries".into(),
            figure: "deliveries".into(),
            logarithmic: false,
        }],
        ..Scenario::default()
    };
    for (subject, factor) in [("Tidings", 3.0), ("socket.io", 1.0), ("Centrifugo", 2.0)] {
        for (setting, count) in [("100 connections", 1000.0), ("1,000 connections", 2000.0)] {
            for sample in [0.9, 1.0, 1.3] {
                scenario.add(subject, setting, "deliveries", count * factor * sample);
            }
        }
    }
    scenario.add_target("a ratio", 1.8, Bound::AtMost, 1.5);
    scenario.add_target("a rate", 4.0, Bound::AtLeast, 4.0);
    let machine = [("cores".to_owned(), "2".to_owned())].into_iter().collect();
    Results { machine, scenarios: vec![scenario] }
}

fn result_of_target(value: f64, bound: Bound, limit: f64) -> String {
    numbers::target_result(&Target { what: String::new(), value, bound, limit })
}

#[test]
fn missed_target_is_reported_with_its_distance() {
    assert_eq!(result_of_target(1.8, Bound::AtMost, 1.5), "MISSED by 20.0 %");
    assert_eq!(result_of_target(3.0, Bound::AtLeast, 4.0), "MISSED by 25.0 %");
    assert_eq!(result_of_target(4.0, Bound::AtLeast, 4.0), "met");
    assert_eq!(result_of_target(2.0, Bound::AtMost, 0.0), "MISSED by 2.00");
    assert_eq!(result_of_target(f64::NAN, Bound::AtMost, 1.0), "NOT MEASURED");
    let table = tables(&results());
    assert!(table.contains("a ratio is 1.80, at most 1.50: MISSED by 20.0 %"), "{table}");
}

#[test]
fn numbers_have_three_significant_digits() {
    let read =
        [0.0, 0.00001, 0.1234, 1.234, 9.999, 12.34, 99.99, 123.4, 999.6, 1_234_567.0, -1500.0, f64::NAN];
    let expected =
        ["0", "1.0e-5", "0.123", "1.23", "10.0", "12.3", "100", "123", "1,000", "1,234,567", "-1,500", "–"];
    assert_eq!(read.map(format_number), expected);
}

#[test]
fn table_has_medians_and_ranges_by_server_and_setting() {
    let table = tables(&results());
    let row = |setting: &str, subject: &str| {
        table.lines().find(|line| line.contains(setting) && line.contains(subject)).unwrap().to_owned()
    };
    assert!(row(" 100 connections", "Tidings").ends_with("3,000 (2,700–3,900)"), "{table}");
    assert!(row("1,000 connections", "Centrifugo").ends_with("4,000 (3,600–5,200)"), "{table}");
    assert_eq!(table.lines().filter(|line| line.contains("connections")).count(), 6);
    // All rows end in the same column.
    let ends: Vec<usize> =
        table.lines().filter(|line| line.contains("connections")).map(|line| line.chars().count()).collect();
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
}

#[test]
fn stored_run_round_trips_with_unmeasured_figures() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.json");
    let mut written = results();
    written.scenarios[0].add_target("nothing", f64::NAN, Bound::AtMost, 1.0);
    written.scenarios[0].add("Tidings", "100 connections", "none", f64::NAN);
    std::fs::write(&file, to_json(&written).unwrap()).unwrap();
    let read = read_results(&file).unwrap();
    assert_eq!(to_json(&read).unwrap(), to_json(&written).unwrap());
    assert!(read.scenarios[0].targets[2].value.is_nan());
    assert_eq!(read.scenarios[0].median("Tidings", "100 connections", "deliveries"), 3000.0);
}

/// The SVG of the only plot.
fn svg(results: &Results) -> String {
    let folder = tempfile::tempdir().unwrap();
    let files = write_plots(results, folder.path()).unwrap();
    let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["fanout-rate.svg"]);
    std::fs::read_to_string(&files[0]).unwrap()
}

#[test]
fn plot_has_a_bar_for_each_server_and_setting() {
    let results = results();
    let svg = svg(&results);
    let colors = plots::subject_colors(&results);
    for subject in ["Tidings", "socket.io", "Centrifugo"] {
        let color = colors[subject];
        let fill = format!("fill=\"#{:02X}{:02X}{:02X}\"", color.0, color.1, color.2);
        let bars = svg.lines().filter(|line| line.starts_with("<rect") && line.contains(&fill)).count();
        assert_eq!(bars, 2, "{subject} {fill} in {svg}");
    }
    for text in ["Deliveries", "deliveries", "3,000", "socket.io", "1,000 connections"] {
        let is_text =
            |part: &str| part.trim_start_matches(|c| c != '>').trim_start_matches(">\n").starts_with(text);
        assert!(svg.split("<text").skip(1).any(is_text), "no text {text:?} in {svg}");
    }
}

#[test]
fn bar_heights_match_their_values() {
    let mut results = results();
    results.scenarios[0].rows.retain(|row| row.setting == "100 connections");
    let svg = svg(&results);
    let heights: Vec<f64> = ["#0054B8", "#8A8D91"]
        .iter()
        .map(|color| {
            let bar = svg.lines().find(|line| line.starts_with("<rect") && line.contains(color)).unwrap();
            let (_, height) = bar.split_once("height=\"").unwrap();
            height.split('"').next().unwrap().parse().unwrap()
        })
        .collect();
    assert!((heights[0] / heights[1] - 3.0).abs() < 0.05, "{heights:?}");
}

#[test]
fn server_has_the_same_colour_in_all_plots() {
    let mut fewer = results();
    fewer.scenarios[0].rows.retain(|row| row.subject == "Tidings");
    assert_eq!(plots::subject_colors(&fewer)["Tidings"], plots::subject_colors(&results())["Tidings"]);
}

#[test]
fn page_keeps_its_handwritten_text() {
    let generated = generated_part(&results(), "benchmarks");
    let first = replace_generated_part("", &generated).unwrap();
    assert!(first.starts_with("# Benchmarks\n"));
    let by_hand = format!("# Figures\n\nBefore.\n\n{}\nBehind.\n", generated.trim_end());
    let mut newer = results();
    newer.scenarios[0].method = "Otherwise.".into();
    let written = replace_generated_part(&by_hand, &generated_part(&newer, "benchmarks")).unwrap();
    assert!(written.starts_with("# Figures\n\nBefore.\n\n<!--"), "{written}");
    assert!(written.ends_with("-->\nBehind.\n"), "{written}");
    assert!(written.contains("Otherwise.") && !written.contains("As it is."), "{written}");
    // Writing the same results again changes nothing.
    assert_eq!(replace_generated_part(&written, &generated_part(&newer, "benchmarks")).unwrap(), written);
    assert!(replace_generated_part(&written.replacen("<!-- end", "<!-- and", 1), &generated).is_err());
}

#[test]
fn page_contains_targets_methods_pictures_and_limits() {
    let page = generated_part(&results(), "benchmarks/");
    for said in [
        "`./dev bench fanout`",
        "| cores | 2 |",
        "| [fanout](#one-to-many) | a ratio | 1.80 | at most 1.50 | **MISSED by 20.0 %** |",
        "| a rate | 4.00 | at least 4.00 | met |",
        "| 100 connections | Tidings | 3,000 (2,700–3,900) |",
        "![Deliveries](benchmarks/fanout-rate.svg)",
        "- A note.",
        "## Limits of these figures",
    ] {
        assert!(page.contains(said), "no {said:?} in {page}");
    }
}

#[test]
fn unmeasured_plot_is_neither_drawn_nor_linked() {
    let mut results = results();
    for row in &mut results.scenarios[0].rows {
        row.figures.clear();
    }
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(write_plots(&results, folder.path()).unwrap(), Vec::<std::path::PathBuf>::new());
    assert!(!generated_part(&results, "p").contains("fanout-rate.svg"));
}
