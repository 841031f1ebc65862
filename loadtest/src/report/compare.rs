//! Two runs of the same scenario, before and after a change.

use std::fmt::Write as _;

use super::page::number;
use super::{Report, plots};

/// Both runs side by side: as Markdown, and as a page with plots.
///
/// # Errors
/// When a plot cannot be drawn.
pub fn compare(before: &Report, after: &Report) -> anyhow::Result<(String, String)> {
    let mut text = format!("# {}: before and after\n\n", after.scenario);
    for (name, run) in [("before", before), ("after", after)] {
        let around = &run.surroundings;
        let _ = writeln!(text, "- {name}: {}, commit {}, {}", around.started, around.commit, around.processor);
    }
    if before.settings != after.settings {
        text.push_str("\n**The two ran different scenarios: figures may differ for that alone.**\n");
    }
    text.push_str("\n| | before | after | after ÷ before |\n| --- | --- | --- | --- |\n");
    let (old, new) = (before.figures(), after.figures());
    for (name, figure) in &new {
        let Some(was) = old.get(name) else { continue };
        let ratio = if *was == 0.0 { String::new() } else { format!("{:.2}", figure / was) };
        let _ = writeln!(text, "| {name} | {} | {} | {ratio} |", number(*was), number(*figure));
    }
    for (which, one, other) in [("before", &old, &new), ("after", &new, &old)] {
        let only: Vec<&str> = one.keys().filter(|name| !other.contains_key(*name)).map(String::as_str).collect();
        if !only.is_empty() {
            let _ = writeln!(text, "\nOnly {which}: {}.", only.join("; "));
        }
    }
    text.push_str(
        "\nBetween machines, and between hours of one machine, compare ratios to bare writers and not seconds.\n",
    );
    let html = plots::document(
        &format!("{}: before and after", after.scenario),
        &text,
        &plots::before_and_after(before, after)?,
    );
    Ok((text, html))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Who;
    use crate::report::page::tests::measurement;

    #[test]
    fn figures_of_two_runs_stand_side_by_side() {
        let run = |seconds| {
            let measurements = vec![measurement(Who::BareWriters, 1.0), measurement(Who::Operator, seconds)];
            let mut report = Report { measurements, ..Report::default() };
            report.compare();
            report
        };
        let (text, html) = compare(&run(1.6), &run(1.2)).unwrap();
        assert!(text.contains("| change, 1,000 copies: beside bare writers | 1.600 | 1.200 | 0.75 |"), "{text}");
        assert!(!text.contains("different scenarios") && html.contains("<svg"));
        let mut other = run(1.0);
        other.settings = serde_json::json!({ "replicas": 3 });
        other.measurements.clear();
        let (text, _) = compare(&run(1.6), &other).unwrap();
        assert!(text.contains("different scenarios") && text.contains("Only before: "), "{text}");
    }
}
