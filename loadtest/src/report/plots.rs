//! Plots of a run, and the page that shows them beside the tables.

use anyhow::anyhow;
use plotters::prelude::*;

use super::{Measurement, Report, Who};

const SIZE: (u32, u32) = (760, 360);
/// A round each; the first is that of the bare writers.
const BARE: RGBColor = RGBColor(120, 120, 120);
const OPERATOR: RGBColor = RGBColor(30, 100, 200);
const BEFORE: RGBColor = RGBColor(200, 110, 30);

/// Lines that stand for one thing.
pub(super) struct Curves {
    pub(super) name: String,
    pub(super) color: RGBColor,
    pub(super) lines: Vec<Vec<(f64, f64)>>,
}

impl Report {
    /// The plots, each an SVG.
    ///
    /// # Errors
    /// When one cannot be drawn.
    pub(super) fn plots(&self) -> anyhow::Result<Vec<String>> {
        let mut plots = Vec::new();
        for scenario in self.scenarios() {
            let curves = [("bare writers", Who::BareWriters, BARE), ("operator", Who::Operator, OPERATOR)]
                .map(|(name, who, color)| self.arrivals(&scenario, who, name, color));
            plots.push(plot(&scenario, ("seconds", "copies seen, %"), &curves)?);
        }
        if self.throughput.len() > 1 {
            plots.push(self.throughput_plot()?);
        }
        Ok(plots)
    }

    /// What was done, each once, in order.
    pub(super) fn scenarios(&self) -> Vec<String> {
        let mut scenarios: Vec<String> = Vec::new();
        for one in &self.measurements {
            if !scenarios.contains(&one.scenario) {
                scenarios.push(one.scenario.clone());
            }
        }
        scenarios
    }

    /// Copies seen over time, a line for each round.
    pub(super) fn arrivals(&self, scenario: &str, who: Who, name: &str, color: RGBColor) -> Curves {
        let line = |one: &Measurement| {
            let percent = |(k, seconds): (usize, &f32)| (f64::from(*seconds), k as f64 + 1.0);
            std::iter::once((0.0, 0.0)).chain(one.arrivals.iter().enumerate().map(percent)).collect()
        };
        let of = self.measurements.iter().filter(|one| one.who == who && one.scenario == scenario);
        Curves { name: name.to_owned(), color, lines: of.map(line).collect() }
    }

    fn throughput_plot(&self) -> anyhow::Result<String> {
        let line = |name: &str, color, line| Curves { name: name.to_owned(), color, lines: vec![line] };
        let first = &self.throughput[0];
        let each = first.copies_per_second / f64::from(first.replicas);
        let by_replicas = |rate: &dyn Fn(&super::Throughput) -> f64| {
            self.throughput.iter().map(|one| (f64::from(one.replicas), rate(one))).collect::<Vec<_>>()
        };
        let mut curves = vec![
            line("operator", OPERATOR, by_replicas(&|one| one.copies_per_second)),
            line("linear", BEFORE, by_replicas(&|one| each * f64::from(one.replicas))),
        ];
        if let Some(bound) = self.bound(first) {
            curves.push(line("bare writers", BARE, by_replicas(&|_| bound)));
        }
        plot("Throughput", ("replicas", "copies/s"), &curves)
    }
}

/// The same done in two runs.
pub(super) fn before_and_after(before: &Report, after: &Report) -> anyhow::Result<Vec<String>> {
    let mut plots = Vec::new();
    for scenario in after.scenarios() {
        let curves = [
            before.arrivals(&scenario, Who::Operator, "before", BEFORE),
            after.arrivals(&scenario, Who::Operator, "after", OPERATOR),
            after.arrivals(&scenario, Who::BareWriters, "bare writers", BARE),
        ];
        if curves[..2].iter().all(|curves| !curves.lines.is_empty()) {
            plots.push(plot(&scenario, ("seconds", "copies seen, %"), &curves)?);
        }
    }
    Ok(plots)
}

fn plot(title: &str, (x, y): (&str, &str), curves: &[Curves]) -> anyhow::Result<String> {
    let mut svg = String::new();
    draw(&mut svg, title, (x, y), curves).map_err(|error| anyhow!("the plot {title:?} cannot be drawn: {error}"))?;
    Ok(svg)
}

fn draw(
    svg: &mut String,
    title: &str,
    (x, y): (&str, &str),
    curves: &[Curves],
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || curves.iter().flat_map(|curves| curves.lines.iter().flatten());
    let most = |coordinate: fn(&(f64, f64)) -> f64| points().map(coordinate).fold(0.0, f64::max).max(1e-3) * 1.05;
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..most(|point| point.0), 0.0..most(|point| point.1))?;
    chart.configure_mesh().x_desc(x).y_desc(y).light_line_style(WHITE).draw()?;
    for Curves { name, color, lines } in curves {
        let color = *color;
        for (number, line) in lines.iter().enumerate() {
            let drawn = chart.draw_series(LineSeries::new(line.iter().copied(), color.stroke_width(2)))?;
            if number == 0 {
                drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
            }
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    drop(chart);
    drop(root);
    Ok(())
}

/// A page of its own: the plots, then the text, which is Markdown.
pub(super) fn document(title: &str, markdown: &str, plots: &[String]) -> String {
    let mut text = String::new();
    pulldown_cmark::html::push_html(
        &mut text,
        pulldown_cmark::Parser::new_ext(markdown, pulldown_cmark::Options::ENABLE_TABLES),
    );
    let plots: String = plots.iter().map(|svg| format!("<figure>{svg}</figure>\n")).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{}</title>\n<style>\nbody {{ font: 15px/1.5 \
         sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }}\ntable {{ border-collapse: collapse }}\ntd, th \
         {{ border: 1px solid #ccc; padding: .2rem .5rem; text-align: left }}\nfigure {{ display: inline-block; margin: .5rem \
         }}\n</style>\n{text}\n<h2>Plots</h2>\n{plots}</html>\n",
        title.replace('&', "&amp;").replace('<', "&lt;")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::page::tests::measurement;

    #[test]
    fn a_run_is_drawn() {
        let measurements = vec![measurement(Who::BareWriters, 1.0), measurement(Who::Operator, 1.2)];
        let report = Report { measurements, ..Report::default() };
        let plots = report.plots().unwrap();
        assert_eq!(plots.len(), 1);
        assert!(plots[0].starts_with("<svg") && plots[0].contains("change, 1,000 copies"), "{}", plots[0]);
        for color in ["#787878", "#1E64C8"] {
            assert_eq!(plots[0].matches(color).count(), 2, "a line and its sign in the legend");
        }
        let page = document("a <b>", &report.page(), &plots);
        assert!(page.contains("<title>a &lt;b></title>") && page.contains("<table>") && page.contains("<svg"));
        assert_eq!(before_and_after(&report, &report).unwrap().len(), 1);
        assert!(before_and_after(&Report::default(), &report).unwrap().is_empty());
    }
}
